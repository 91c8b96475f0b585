"""Which stored recording a row of a manifest means: by its bytes, else by its path, else (imported) by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import PurePath

from poise.errors import FeaturesMissingError
from poise.manifest import Manifest
from poise.store.identity import KeyCache
from poise.store.schema import Entry


class RowFinder:
    """Finds the keys of a manifest's rows among the recordings of one feature set.

    A file that is on this machine is known by its bytes alone. Where it is not (a store is mostly read where the
    media are not), the path as the manifest gives it counts.

    Parameters
    ----------
    entries : mapping of str to Entry
        The recordings of the feature set.
    cache : KeyCache
        Keys of files that were hashed before.
    imported : bool
        Match by file name without ending, as imported features know no bytes.
    """

    def __init__(self, entries: Mapping[str, Entry], cache: KeyCache, *, imported: bool) -> None:
        self._entries = entries
        self._cache = cache
        self._imported = imported
        self._by_path: dict[str, dict[str, None]] = {}
        self._by_stem: dict[str, dict[str, None]] = {}
        for key, entry in entries.items():
            for path in entry.paths:
                if imported:
                    self._by_stem.setdefault(PurePath(path).stem, {})[key] = None
                else:
                    self._by_path.setdefault(os.path.normpath(path), {})[key] = None

    def keys(self, manifest: Manifest) -> list[str | None]:
        """Key of every row; None where the feature set does not know the recording.

        Raises
        ------
        FeaturesMissingError
            A row can mean several stored recordings, or several rows mean one imported recording.
        """
        if self._imported:
            return self._keys_by_name(manifest)
        root = os.path.abspath(manifest.root)
        keys = [self._key(manifest, row, os.path.join(root, path)) for row, path in enumerate(manifest.paths)]
        self._cache.save()
        return keys

    def _key(self, manifest: Manifest, row: int, file: str) -> str | None:
        try:
            key = self._cache.key(file)
        except (OSError, ValueError):
            return self._key_by_path(manifest, row)
        return key if key in self._entries else None

    def _key_by_path(self, manifest: Manifest, row: int) -> str | None:
        found = list(self._by_path.get(os.path.normpath(manifest.paths[row]), ()))
        if len(found) > 1:
            raise FeaturesMissingError(
                f"{manifest.line(row)}: {len(found)} different files were extracted under this path, and the file is "
                "not here to tell which is meant. Use a store for each set of recordings, or bring the files along."
            )
        return found[0] if found else None

    def _keys_by_name(self, manifest: Manifest) -> list[str | None]:
        seen: dict[str, int] = {}
        keys: list[str | None] = []
        for row, path in enumerate(manifest.paths):
            name = PurePath(path).name
            # a path without an ending may itself hold a dot
            found = list(self._by_stem.get(name) or self._by_stem.get(PurePath(path).stem) or ())
            if len(found) > 1:
                raise FeaturesMissingError(
                    f"{manifest.line(row)}: {len(found)} imported recordings are named {name!r}. "
                    "Import them into stores of their own, or rename them."
                )
            if found and seen.setdefault(found[0], row) != row:
                raise FeaturesMissingError(
                    f"{manifest.line(row)} and {manifest.line(seen[found[0]])} have the same file name, and imported "
                    "features are matched by it. Give the recordings names of their own."
                )
            keys.append(found[0] if found else None)
        return keys
