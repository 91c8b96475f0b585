"""Compacting: many small segments become few large ones, and rows that do not count are dropped.

The new segment is durable before an old one is removed, so readers and writers may be at work meanwhile, and a
compaction that is killed leaves duplicates, which do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreChangedError
from poise.store.durable import remove_leftovers
from poise.store.folder import StoreFolder
from poise.store.index import FeatureSetIndex
from poise.store.upkeep.rewriting import check_file, live_names, remove_files, rewrite_rows
from poise.store.writer import MAX_BYTES

MAX_ROWS = 16_384
"""Recordings in one compacted segment, at most."""

_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class CompactReport:
    """What compacting did to one feature set.

    Attributes
    ----------
    name : str
        The feature set.
    n_segments_before, n_segments : int
        Segments before and after.
    n_bytes_before, n_bytes : int
        Size of all of them.
    n_dropped : int
        Rows that did not count: duplicates, and failures that were followed by something better.
    """

    name: str
    n_segments_before: int
    n_segments: int
    n_bytes_before: int
    n_bytes: int
    n_dropped: int

    def to_json(self) -> dict[str, Any]:
        """As ``poise store compact --json`` prints it."""
        return asdict(self)


def compact(store: StoreFolder, name: str) -> CompactReport:
    """Merge the small segments of one feature set.

    Parameters
    ----------
    store : StoreFolder
        The store; readers and writers may be at work.
    name : str
        The feature set.

    Raises
    ------
    StoreDamagedError
        A segment is damaged; it is left as it is.
    StoreWriteError
        A segment cannot be written or removed; nothing is lost.
    """
    folder = store.path / name
    remove_leftovers(folder)
    for _ in range(_TRIES - 1):
        try:
            return _compact(store, folder)
        except StoreChangedError:  # another compaction was faster
            continue
    return _compact(store, folder)


def _compact(store: StoreFolder, folder: Path) -> CompactReport:
    index = store.read_index(folder.name).read_plainly()  # what a copy forgot to mention must not go
    segments = index.contents.segments
    before = len(segments), sum(segment.n_bytes for segment in segments)
    n_dropped = sum(_merge(folder, index, group) for group in _groups(index, _worth_rewriting(index)))
    after = store.index(folder.name)
    return CompactReport(
        name=folder.name,
        n_segments_before=before[0],
        n_segments=len(after.contents.segments),
        n_bytes_before=before[1],
        n_bytes=sum(segment.n_bytes for segment in after.contents.segments),
        n_dropped=n_dropped,
    )


def _merge(folder: Path, index: FeatureSetIndex, group: Sequence[int]) -> int:
    """Replace some segments by one, and say how many rows were dropped."""
    segments = [index.contents.segments[number] for number in group]
    winners, segment_of_rows = index.all_rows(), index.contents.segment_of_rows()
    here = np.flatnonzero(np.isin(segment_of_rows, group))
    rows, dropped = np.intersect1d(here, winners), np.setdiff1d(here, winners)
    # what is dropped must be sound where it stays
    kept_in = segment_of_rows[index.rows(index.keys_of(dropped))]
    for number in np.union1d(kept_in, group).tolist():
        check_file(index.contents.segments[number])
    names = live_names(index, group)
    old = [segment.path for segment in segments]
    if len(rows) or len(names):
        new = rewrite_rows(folder, index, rows, names, before=segments[0].path.name)
        old = [path for path in old if path != new]
    remove_files(folder, old)
    return len(dropped)


def _worth_rewriting(index: FeatureSetIndex) -> NDArray[np.int64]:
    """Numbers of segments that are small, or hold rows that do not count."""
    segments = index.contents.segments
    small = [segment.n_bytes < MAX_BYTES // 2 and segment.n_recordings < MAX_ROWS // 2 for segment in segments]
    counting = np.bincount(index.contents.segment_of_rows()[index.all_rows()], minlength=len(segments))
    dead = [segment.n_recordings > count for segment, count in zip(segments, counting, strict=True)]
    return np.flatnonzero(np.array(small, dtype=np.bool_) | np.array(dead, dtype=np.bool_))


def _groups(index: FeatureSetIndex, numbers: NDArray[np.int64]) -> list[list[int]]:
    """Segments to be merged with each other, in their order, as many as one new segment holds."""
    segments = index.contents.segments
    counting = np.bincount(index.contents.segment_of_rows()[index.all_rows()], minlength=len(segments))
    groups: list[list[int]] = [[]]
    n_bytes = n_rows = 0
    for number in numbers.tolist():
        segment = segments[number]
        if groups[-1] and (n_bytes + segment.n_bytes > MAX_BYTES or n_rows + segment.n_recordings > MAX_ROWS):
            groups.append([])
            n_bytes = n_rows = 0
        groups[-1].append(number)
        n_bytes, n_rows = n_bytes + segment.n_bytes, n_rows + segment.n_recordings
    # one segment alone is rewritten only to drop something
    return [g for g in groups if len(g) > 1 or (g and segments[g[0]].n_recordings > counting[g[0]])]
