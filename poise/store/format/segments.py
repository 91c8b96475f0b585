"""Segments: HDF5 files that hold the embeddings of some recordings of one feature set, and never change.

The layout is written down in ``docs/file-format.md``. Writing them lives in :mod:`poise.store.writer`.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import threading
import weakref
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreChangedError, StoreDamagedError
from poise.store.format.hdf5 import (
    LayoutError,
    child_group,
    column,
    contiguous,
    data_offset,
    int_attribute,
    open_hdf5,
    text_attribute,
)
from poise.store.format.layout import Names
from poise.store.format.ragged import run_starts, span_rows
from poise.store.format.recordings import OUTCOMES, Digests, RecordingTable, as_digests
from poise.store.format.texts import Texts
from poise.store.schema import FORMAT_VERSION, Spec, embedding_shape, fingerprint

NAME = re.compile(r"seg-(\d{13})-([0-9a-f]{8})-(\d{6})-([0-9a-f]{64})\.h5")
"""``seg-MILLISECONDS-WRITER-NUMBER-SHA256.h5``"""

MAX_MS = 9_999_999_999_999
"""The last moment, in the year 2286, that the name of a segment can tell."""


_MAX_MAPPED = 256
_MAPPED: deque[weakref.ref[Segment]] = deque()
_MAPPING = threading.Lock()


def name_before(name: str) -> tuple[int, str, int]:
    """Milliseconds, writer and number of the name that comes right before another segment's, see :data:`NAME`."""
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a segment")
    place = (int(match[1]) << 32 | int(match[2], 16)) * 1_000_000 + int(match[3])
    place, number = divmod(max(place - 1, 0), 1_000_000)
    return place >> 32, f"{place & 0xFFFFFFFF:08x}", number


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Where the numbers of some recordings lie: a place in a file, mapped when they are first asked for.

    Attributes
    ----------
    path : Path
        The file.
    n_bytes, mtime_ns : int
        Size and time of the last change of the file when its index was read.
    n_recordings, n_rows : int
        Number of recordings, and of clips.
    shape : tuple of int
        Shape of one clip's embedding.
    dtype : numpy.dtype
        Type of the embeddings.
    data_offset, times_offset : int
        Where embeddings and clip times begin in the file.
    mapped : bool
        Whether numbers are read by mapping the file, or with plain reads.
    """

    path: Path
    n_bytes: int
    mtime_ns: int
    n_recordings: int
    n_rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data_offset: int
    times_offset: int
    mapped: bool = True

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of the last change, by which a changed file is noticed."""
        return self.n_bytes, self.mtime_ns

    @property
    def digest(self) -> str | None:
        """The sha256 that the file's name says; None for an exported file."""
        match = NAME.fullmatch(self.path.name)
        return match[4] if match else None

    def embeddings(self, start: int, stop: int) -> NDArray[Any]:
        """Embeddings of the clips ``start:stop``, shape (n_clips, [n_layers,] dim), read-only."""
        width = self.dtype.itemsize * prod(self.shape)
        found = self._read(self.data_offset, width, start, stop, item=self.dtype.itemsize)
        return found.view(self.dtype).reshape(stop - start, *self.shape)

    def clip_times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Start and end in seconds of the clips ``start:stop``, shape (n_clips, 2), read-only."""
        return self._read(self.times_offset, 16, start, stop, item=8).view(np.float64).reshape(stop - start, 2)

    def copy_rows(
        self,
        sources: NDArray[np.int64],
        targets: NDArray[np.int64],
        counts: NDArray[np.int64],
        values: NDArray[Any],
        times: NDArray[np.float64],
    ) -> None:
        """Copy the clips of some recordings into packed arrays.

        Parameters
        ----------
        sources, targets, counts : ndarray of shape (n,), int64
            First row here, first row there, and number of rows of each recording.
        values, times : ndarray
            Where to.
        """
        if not len(counts):
            return
        # mapped for this copy alone: a mapping holds a file descriptor, and there may be thousands of segments
        here = self
        if self.mapped and "_bytes" not in self.__dict__:
            here = replace(self)
            here.__dict__["_bytes"] = self._map()
        # recordings that follow each other here and there are one piece
        breaks = np.union1d(run_starts(sources - targets, np.zeros_like(counts)), run_starts(targets, counts))
        lengths = np.add.reduceat(counts, breaks)
        pieces = zip(sources[breaks].tolist(), targets[breaks].tolist(), lengths.tolist(), strict=True)
        for source, target, count in pieces:  # slices of embeddings copy faster than lists of rows
            values[target : target + count] = here.embeddings(source, source + count)
        if len(breaks) == 1:
            times[target : target + count] = here.clip_times(source, source + count)
        else:
            first, last = int(sources.min()), int((sources + counts).max())
            times[span_rows(targets, counts)] = here.clip_times(first, last)[span_rows(sources - first, counts)]

    def _read(self, offset: int, width: int, start: int, stop: int, *, item: int) -> NDArray[np.uint8]:
        if stop <= start:
            return np.empty(0, np.uint8)
        first, last = offset + start * width, offset + stop * width
        if not self.mapped:
            return self._plain_read(first, last)
        found = self._bytes[first:last]
        # HDF5 aligns what is larger than 1 kB; smaller numbers at an odd place are copied to an even one
        return found if first % item == 0 else found.copy()

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        found = self._map()
        with _MAPPING:
            _MAPPED.append(weakref.ref(self))
            # arrays that were handed out keep their own mapping alive
            forgotten = _MAPPED.popleft()() if len(_MAPPED) > _MAX_MAPPED else None
        if forgotten is not None:
            forgotten.__dict__.pop("_bytes", None)
        return found

    def _map(self) -> NDArray[np.uint8]:
        with self._opened() as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)

    def _plain_read(self, first: int, last: int) -> NDArray[np.uint8]:
        with self._opened() as file:
            file.seek(first)
            found = np.fromfile(file, dtype=np.uint8, count=last - first)
        if len(found) != last - first:
            raise damaged(self.path, "it ends before its numbers do")
        return found

    def _opened(self) -> Any:
        try:
            file = open(self.path, "rb")  # noqa: SIM115  closed by the caller
            status = os.fstat(file.fileno())
        except OSError as error:
            if os.path.exists(self.path):
                raise
            raise gone(self.path) from error
        if self.digest is None and (status.st_size, status.st_mtime_ns) != self.stamp:
            file.close()
            raise StoreChangedError(f"{self.path} was replaced since it was opened. Open it again.")
        if status.st_size != self.n_bytes:
            file.close()
            raise damaged(self.path, "its size changed since it was opened")
        return file


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentContents:
    """The index of a segment: all that it says but the numbers.

    Attributes
    ----------
    segment : Segment
        Where the numbers lie.
    table : RecordingTable
        What is known of each recording.
    names : Names
        Other names of recordings, stored here or elsewhere.
    runs : tuple of str
        JSON of each run that made some of it.
    """

    segment: Segment
    table: RecordingTable
    names: Names
    runs: tuple[str, ...]


def read_segment(path: Path, spec: Spec, *, group: str | None = None, mapped: bool = True) -> SegmentContents:
    """Read and check the index of a segment.

    Parameters
    ----------
    path : Path
        The file.
    spec : mapping
        Spec of the feature set that it must belong to.
    group : str, optional
        Group that holds it in an exported file.
    mapped : bool
        Whether numbers are to be read by mapping the file.

    Raises
    ------
    StoreDamagedError
        The file is not a segment of this feature set, or its structure is damaged.
    StoreChangedError
        The file is gone.
    """
    try:
        with open_hdf5(path) as file:
            return read_contents(path, file if group is None else child_group(file, group), spec, mapped=mapped)
    except FileNotFoundError as error:
        raise gone(path) from error
    except LayoutError as error:
        raise damaged(path, f"it cannot be read as a segment: {error}") from error


def read_contents(path: Path, root: h5py.Group, spec: Spec, *, mapped: bool = True) -> SegmentContents:
    """Read and check the index of a segment from an open file.

    Raises
    ------
    LayoutError
        It is not the layout of a segment of this feature set.
    """
    version = int_attribute(root, "format_version")
    if version != FORMAT_VERSION:
        raise LayoutError(f"format version {version}, expected {FORMAT_VERSION}")
    made_with = text_attribute(root, "fingerprint")
    if made_with != fingerprint(spec):
        raise LayoutError(f"made with the settings {made_with}, expected {fingerprint(spec)}")
    shape = embedding_shape(spec)
    embeddings = contiguous(root, "embeddings", dtypes=("<f2", "<f4"), ndims=(1 + len(shape),))
    times = contiguous(root, "clip_times", dtypes=("<f8",), ndims=(2,))
    if embeddings.shape[1:] != shape or embeddings.dtype != np.dtype(spec["dtype"]):
        raise LayoutError(f"embeddings {embeddings.shape} {embeddings.dtype}, expected (..., {shape}) {spec['dtype']}")
    if times.shape != (len(embeddings), 2):
        raise LayoutError(f"{len(embeddings)} embeddings and clip times of shape {times.shape}")
    runs = tuple(Texts.from_fixed(column(child_group(root, "runs"), "info", "S")))
    table = _read_table(child_group(root, "recordings"))
    _check_table(table, len(embeddings), runs)
    names = _read_names(child_group(root, "names"))
    status = os.fstat(root.file.id.get_vfd_handle())
    segment = Segment(
        path=path,
        n_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        n_recordings=len(table),
        n_rows=len(embeddings),
        shape=shape,
        dtype=embeddings.dtype,
        data_offset=data_offset(embeddings),
        times_offset=data_offset(times),
        mapped=mapped,
    )
    return SegmentContents(
        segment=segment,
        table=table,
        names=names,
        runs=runs,
    )


def _read_table(group: h5py.Group) -> RecordingTable:
    outcomes = column(group, "outcome", "S")
    codes = np.full(len(outcomes), len(OUTCOMES), dtype=np.uint8)
    for code, outcome in enumerate(OUTCOMES):
        codes[outcomes == outcome.encode()] = code
    return RecordingTable(
        keys=_hexadecimal(group, "key"),
        digests=_hexadecimal(group, "sha256"),
        outcomes=codes,
        offsets=column(group, "offset", "<i8"),
        n_clips=column(group, "n_clips", "<i8"),
        attempts=column(group, "attempts", "<i8"),
        durations_s=column(group, "duration_s", "<f8"),
        stored_ms=column(group, "stored_ms", "<i8"),
        runs=column(group, "run", "<i8"),
        paths=Texts.from_fixed(column(group, "path", "S")),
        reasons=Texts.from_fixed(column(group, "reason", "S")),
        flags=Texts.from_fixed(column(group, "flags", "S")),
    )


def _read_names(group: h5py.Group) -> Names:
    keys, digests = _hexadecimal(group, "key"), _hexadecimal(group, "sha256")
    paths = Texts.from_fixed(column(group, "path", "S"))
    if not len(keys) == len(digests) == len(paths):
        raise LayoutError("columns of different lengths")
    return Names(keys=keys, digests=digests, paths=paths)


def _hexadecimal(group: h5py.Group, name: str) -> Digests:
    texts = column(group, name, "S")
    try:
        return as_digests(bytes.fromhex(texts.tobytes().decode("ascii"))) if len(texts) else as_digests(b"")
    except ValueError as error:
        raise LayoutError(f"{group.name}/{name} is not a column of 64 hexadecimal digits") from error


def _check_table(table: RecordingTable, n_rows: int, runs: tuple[str, ...]) -> None:
    lengths = {len(getattr(table, name)) for name in table.__dataclass_fields__}
    if lengths != {len(table)}:
        raise LayoutError("columns of different lengths")
    if ((table.outcomes == 0) != (table.n_clips > 0)).any() or (table.outcomes >= len(OUTCOMES)).any():
        raise LayoutError("outcomes that do not fit the clips")
    if (table.n_clips < 0).any() or (table.n_clips > n_rows).any():  # sums of larger ones would wrap around
        raise LayoutError("a recording has more clips than there are embeddings, or fewer than none")
    expected = np.cumsum(table.n_clips) - table.n_clips
    if (table.offsets != expected).any() or table.n_clips.sum() != n_rows:
        raise LayoutError("the offsets of its recordings do not fit its embeddings")
    if np.isinf(table.durations_s).any() or (table.durations_s < 0).any():
        raise LayoutError("a duration is not a number of seconds")
    if ((table.stored_ms < 0) | (table.stored_ms > MAX_MS)).any() or (table.attempts < 0).any():
        raise LayoutError("a recording was stored at no time there is, or tried less than never")
    if len(table) and not (table.runs.min() >= 0 and table.runs.max() < len(runs)):
        raise LayoutError("recordings of a run that it does not describe")


def parse_run(text: str) -> dict[str, Any]:
    """What a run says of itself; a text that is no JSON object says nothing."""
    try:
        run = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(run, dict):
        return {}
    kinds = {"versions": dict, "encoder": dict, "columns": list}
    known = {name: value for name, value in run.items() if isinstance(value, kinds.get(name, object))}
    try:
        json.dumps(known, allow_nan=False)
    except ValueError:  # NaN and infinity are no JSON
        return {}
    return known


def damaged(path: Path, what: str) -> StoreDamagedError:
    """The error to raise when a file of a store is not what was written."""
    return StoreDamagedError(f"{path}: {what}. Run `poise store verify` on the store for the whole picture.")


def gone(path: Path) -> StoreChangedError:
    """The error to raise when a file that was there is there no more."""
    return StoreChangedError(
        f"{path} is gone: the store was compacted or something was removed while it was read. Open it again; nothing "
        "is lost."
    )
