"""The index of a whole feature set: the indexes of its segments joined, and brought up to date piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poise.store.format.layout import Names
from poise.store.format.ragged import row_offsets, span_rows
from poise.store.format.recordings import RecordingTable
from poise.store.format.segments import Segment, SegmentContents


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SetContents:
    """What several segments say, in the order of their names.

    Attributes
    ----------
    segments : tuple of Segment
        Where the numbers lie.
    n_names : ndarray of shape (n_segments,), int64
        How many of ``names`` each segment brought.
    table : RecordingTable
        Recordings of all segments, segment after segment; ``offsets`` count within the segment.
    names : Names
        Further names, segment after segment.
    runs : tuple of str
        JSON of every run, each once.
    """

    segments: tuple[Segment, ...]
    n_names: NDArray[np.int64]
    table: RecordingTable
    names: Names
    runs: tuple[str, ...]

    @classmethod
    def empty(cls) -> SetContents:
        """What no segments say."""
        table, names = RecordingTable.empty(), Names.pack([])
        return cls(segments=(), n_names=np.empty(0, np.int64), table=table, names=names, runs=())

    def segment_of_rows(self) -> NDArray[np.int64]:
        """Number of the segment that each row of the table lies in, shape (n,)."""
        return np.repeat(np.arange(len(self.segments)), [segment.n_recordings for segment in self.segments])

    def take_segments(self, numbers: NDArray[np.int64]) -> SetContents:
        """Some of the segments, in the order given."""
        counts = np.array([segment.n_recordings for segment in self.segments], dtype=np.int64)
        rows = span_rows(row_offsets(counts)[:-1][numbers], counts[numbers])
        names = span_rows(row_offsets(self.n_names)[:-1][numbers], self.n_names[numbers])
        return SetContents(
            segments=tuple(self.segments[number] for number in numbers.tolist()),
            n_names=self.n_names[numbers],
            table=self.table.take(rows),
            names=self.names.take(names),
            runs=self.runs,
        )


def join_contents(parts: Sequence[SegmentContents]) -> SetContents:
    """The contents of segments that were just read, sorted by their names."""
    return _merge([_single(part) for part in parts])


def update_contents(
    known: SetContents, files: Sequence[tuple[str, int, int]], read: Callable[[str], SegmentContents]
) -> tuple[SetContents, int]:
    """Bring contents up to date with the files of a folder, reading only those that are new or changed.

    Parameters
    ----------
    known : SetContents
        What was known.
    files : sequence of (name, size in bytes, time of the last change in ns)
        Segments that are there now, sorted by name.
    read : callable
        Reads the segment of a name.

    Returns
    -------
    contents : SetContents
    n_changes : int
        How many segments were read, or had gone.
    """
    numbers = {segment.path.name: i for i, segment in enumerate(known.segments)}
    kept: list[int] = []
    new: list[SegmentContents] = []
    for name, n_bytes, mtime_ns in files:
        number = numbers.get(name)
        if number is not None and known.segments[number].stamp == (n_bytes, mtime_ns):
            kept.append(number)
        else:
            new.append(read(name))
    n_changes = len(new) + len(numbers) - len(kept)
    if not n_changes:
        return known, 0
    return _merge([known.take_segments(np.array(kept, dtype=np.int64)), *map(_single, new)]), n_changes


def _single(part: SegmentContents) -> SetContents:
    return SetContents(
        segments=(part.segment,),
        n_names=np.array([len(part.names)], dtype=np.int64),
        table=part.table,
        names=part.names,
        runs=part.runs,
    )


def _merge(parts: Sequence[SetContents]) -> SetContents:
    """Several contents as one, sorted by the names of the segments."""
    if not parts:
        return SetContents.empty()
    runs: dict[str, int] = {}
    tables = []
    for part in parts:
        numbers = np.array([runs.setdefault(run, len(runs)) for run in part.runs], dtype=np.int64)
        tables.append(replace(part.table, runs=numbers[part.table.runs]))
    merged = SetContents(
        segments=tuple(segment for part in parts for segment in part.segments),
        n_names=np.concatenate([part.n_names for part in parts]),
        table=RecordingTable.concatenate(tables),
        names=Names.concatenate([part.names for part in parts]),
        runs=tuple(runs),
    )
    order = np.argsort([segment.path.name for segment in merged.segments], kind="stable")
    return merged if (order == np.arange(len(order))).all() else merged.take_segments(order)
