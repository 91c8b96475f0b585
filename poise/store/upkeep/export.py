"""Exporting feature sets into one self-contained ``.h5`` file, block by block.

HDF5 must not see a write fail (the process would die), so it writes into :class:`_Sink`, which keeps the first error to
itself until HDF5 has closed the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from poise.errors import OutputError
from poise.store.durable import durable_file, remove_leftovers
from poise.store.exported import KIND
from poise.store.folder import EXPORT_SUFFIXES
from poise.store.format.layout import ALIGNMENT, MAX_SPEC_CHARACTERS, write_index
from poise.store.index import FeatureSetIndex
from poise.store.schema import FORMAT_VERSION, canonical_json, embedding_shape
from poise.store.upkeep.rewriting import live_names, repack

_BLOCK_BYTES = 16_000_000


def export(indexes: Sequence[FeatureSetIndex], path: Path, *, replace: bool = False) -> Path:
    """Write feature sets into one file that :meth:`poise.store.store.FeatureStore.open` reads.

    Every recording is held against its digest on the way.

    Parameters
    ----------
    indexes : sequence of FeatureSetIndex
        What to export.
    path : Path
        The file, ending in ``.h5`` or ``.hdf5``.
    replace : bool
        Put it in the place of a file that is there.

    Returns
    -------
    Path
        The file, whole and durable.

    Raises
    ------
    OutputError
        The name does not end in ``.h5`` or is taken, or its folder is not there.
    StoreWriteError
        The disk is full, or the folder cannot be written; then no file is there, or the old one.
    StoreDamagedError
        A recording is not what was stored.
    """
    if path.suffix.lower() not in EXPORT_SUFFIXES:
        raise OutputError(f"{path} does not end in .h5, by which an exported file is known. Give it another name.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent} to put {path.name} in. Make it first.")
    if path.is_dir() or (os.path.lexists(path) and not replace):
        raise OutputError(f"{path} is there already. Use --replace to put the export in its place.")
    names = canonical_json([index.name for index in indexes])
    if len(names) > MAX_SPEC_CHARACTERS:
        raise OutputError(f"{len(indexes)} feature sets are too many for one file. Export some of them with --set.")
    remove_leftovers(path.parent)
    with durable_file(path) as descriptor:
        # claims the space at once: a disk that is too small says so here
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, max(sum(map(_size, indexes)), 1))
        sink = _Sink(descriptor)
        try:
            with h5py.File(sink, "w", **ALIGNMENT) as file:
                file.attrs["kind"] = np.bytes_(KIND)
                file.attrs["format_version"] = FORMAT_VERSION
                file.attrs["feature_sets"] = np.bytes_(names)
                for index in indexes:
                    _write_set(file.create_group(index.name), index.read_plainly(), sink)
        except (OSError, RuntimeError):
            sink.check()
            raise
        sink.check()
    return path


def _write_set(group: h5py.Group, index: FeatureSetIndex, sink: _Sink) -> None:
    index.check_names()
    rows = index.all_rows()
    table, runs = repack(index.contents, rows)
    n_rows, shape = int(table.n_clips.sum()), embedding_shape(index.spec)
    values = group.create_dataset("embeddings", (n_rows, *shape), np.dtype(index.spec["dtype"]), track_times=False)
    times = group.create_dataset("clip_times", (n_rows, 2), np.float64, track_times=False)
    write_index(group, index.spec, table, names=live_names(index), runs=runs)
    clip_bytes = np.dtype(index.spec["dtype"]).itemsize * prod(shape)
    blocks = np.cumsum(table.n_clips) * clip_bytes // _BLOCK_BYTES
    first = 0
    for block in np.split(rows, np.flatnonzero(np.diff(blocks)) + 1) if len(rows) else []:
        index.check(block)
        bags = index.load(block)
        last = first + len(bags.values)
        if last > first:
            values[first:last] = bags.values
            times[first:last] = bags.clip_times
        first = last
        sink.check()


def _size(index: FeatureSetIndex) -> int:
    """About how many bytes a feature set takes."""
    shape, dtype = embedding_shape(index.spec), np.dtype(index.spec["dtype"])
    n_rows = int(index.contents.table.n_clips[index.all_rows()].sum())
    return n_rows * (prod(shape) * dtype.itemsize + 16) + 256 * len(index)


class _Sink(io.RawIOBase):
    """A file for HDF5 in which writing never fails; :meth:`check` tells if it did."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._end = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        n_bytes = len(view)
        try:
            while view and self._error is None:
                n_written = os.pwrite(self._descriptor, view[: 1 << 26], self._position)
                self._position, view = self._position + n_written, view[n_written:]
        except OSError as error:
            self._error = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return n_bytes

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._descriptor, len(view), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        try:
            if self._error is None:
                os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            self._error = error
        return self._end

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
