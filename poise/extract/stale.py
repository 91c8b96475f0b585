"""Stale recordings: features in the store of bytes that their file no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poise.manifest import Manifest
from poise.store.identity import KeyCache
from poise.store.index import FeatureSetIndex
from poise.store.paths import normal_path


@dataclass(frozen=True, kw_only=True)
class StaleRecording:
    """A recording in the store whose file has other bytes now.

    Attributes
    ----------
    path : str
        The file as the manifest gives it.
    key : str
        Key of the earlier bytes; their features stay in the store until they are removed.
    """

    path: str
    key: str


def find_stale(
    manifest: Manifest, keys: Mapping[int, str], indexes: Iterable[FeatureSetIndex], cache: KeyCache
) -> list[StaleRecording]:
    """Recordings that were stored under a path of the manifest and whose bytes are nowhere to be seen now.

    Parameters
    ----------
    manifest : Manifest
        The recordings.
    keys : mapping of int to str
        Key of each row whose file could be read.
    indexes : iterable of FeatureSetIndex
        Feature sets to look into.
    cache : KeyCache
        Knows which bytes are still in another file: those are not stale, another folder has a file of that name.
    """
    current = set(keys.values())
    found: dict[tuple[int, str], None] = {}
    for index in indexes:
        for row in keys:
            for key in index.by_path.get(normal_path(manifest.paths[row]), ()):
                if key not in current and not cache.is_elsewhere(key, manifest.file(row)):
                    found[row, key] = None
    return [StaleRecording(path=manifest.paths[row], key=key) for row, key in sorted(found)]
