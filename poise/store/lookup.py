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

    A file that was hashed before on this machine is known by its bytes, so that a changed file is noticed.
    Otherwise the path as the manifest gives it counts, and only then is a file hashed: a store is mostly
    read where the media are not.

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
        self._by_path: dict[str, str] = {}
        self._by_stem: dict[str, list[str]] = {}
        for key, entry in entries.items():
            for path in entry.paths:
                self._by_path[os.path.normpath(path)] = key
                self._by_stem.setdefault(PurePath(path).stem, []).append(key)

    def keys(self, manifest: Manifest) -> list[str | None]:
        """Key of every row; None where the feature set does not know the recording.

        Raises
        ------
        FeaturesMissingError
            The file name of a row is the name of several imported recordings, or of several rows.
        """
        if self._imported:
            return self._keys_by_name(manifest)
        return [self._key(manifest, row) for row in range(len(manifest))]

    def _key(self, manifest: Manifest, row: int) -> str | None:
        file = manifest.file(row)
        path = os.path.normpath(manifest.paths[row])
        there = file.is_file()
        if (there and self._cache.knows(file)) or (there and path not in self._by_path):
            try:
                key = self._cache.key(file)
            except OSError:
                return self._by_path.get(path)
            return key if key in self._entries else None
        return self._by_path.get(path)

    def _keys_by_name(self, manifest: Manifest) -> list[str | None]:
        seen: dict[str, int] = {}
        keys: list[str | None] = []
        for row, path in enumerate(manifest.paths):
            name = PurePath(path).name
            # a path without an ending may itself hold a dot
            found = self._by_stem.get(name) or self._by_stem.get(PurePath(path).stem) or []
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
