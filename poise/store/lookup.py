"""Which stored recording a row of a manifest means: by its bytes, else by its path, else (imported) by its name."""

from __future__ import annotations

import os
from pathlib import PurePath

from poise.errors import FeaturesMissingError
from poise.manifest import Manifest
from poise.recipe import copy_key
from poise.store.identity import KeyCache, name_key
from poise.store.index import FeatureSetIndex
from poise.store.paths import normal_path


def find_keys(index: FeatureSetIndex, manifest: Manifest, cache: KeyCache) -> list[str | None]:
    """Key of the stored recording that each row of a manifest means; None where the feature set does not know it.

    A file that is on this machine is known by its bytes alone. Where it is not (a store is mostly read where the
    media are not), the path as the manifest gives it counts. Imported features know no bytes: the file name counts.

    Parameters
    ----------
    index : FeatureSetIndex
        The feature set.
    manifest : Manifest
        The recordings.
    cache : KeyCache
        Keys of files that were hashed before.

    Raises
    ------
    FeaturesMissingError
        A path can mean several stored recordings, or several rows mean one imported recording.
    """
    if index.imported:
        return _by_name(index, manifest)
    root = os.path.abspath(manifest.root)
    keys: list[str | None] = []
    elsewhere: list[int] = []
    folders: dict[str, bool] = {}
    for row in range(len(manifest)):
        text = manifest.file_text(row)
        folder = os.path.dirname(text)
        if folder not in folders:
            folders[folder] = os.path.isdir(os.path.join(root, folder))
        key = _key_of_file(os.path.join(root, text), manifest.recipe(row), cache) if folders[folder] else None
        if key is None:
            elsewhere.append(row)
        keys.append(key if key is not None and key in index else None)
    cache.save()
    for row in elsewhere:
        keys[row] = _key_by_path(index, manifest, row)
    return keys


def _key_of_file(file: str, recipe: str, cache: KeyCache) -> str | None:
    try:
        return copy_key(cache.key(file), recipe)
    except (OSError, ValueError):
        return None


def _key_by_path(index: FeatureSetIndex, manifest: Manifest, row: int) -> str | None:
    found = index.by_path.get(normal_path(manifest.paths[row]), ())
    if len(found) > 1:
        raise FeaturesMissingError(
            f"{manifest.line(row)}: {len(found)} different files were extracted under this path, and the file is "
            "not here to tell which is meant. Use a store for each set of recordings, or bring the files along."
        )
    return found[0] if found else None


def _by_name(index: FeatureSetIndex, manifest: Manifest) -> list[str | None]:
    seen: dict[str, int] = {}
    keys: list[str | None] = []
    for row, path in enumerate(manifest.paths):
        # a path without an ending may itself hold a dot
        names = PurePath(path).name, PurePath(path).stem
        key = next((key for key in map(name_key, names) if key in index), None)
        if key is not None and seen.setdefault(key, row) != row:
            raise FeaturesMissingError(
                f"{manifest.line(row)} and {manifest.line(seen[key])} have the same file name, and imported "
                "features are matched by it. Give the recordings names of their own."
            )
        keys.append(key)
    return keys
