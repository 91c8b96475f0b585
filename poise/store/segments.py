"""Segments: immutable HDF5 files that hold the embeddings of some recordings of one feature set.

The layout is written down in ``docs/file-format.md``. Writing them lives in :mod:`poise.store.writer`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreDamagedError
from poise.store.schema import FORMAT_VERSION, Outcome, Spec, fingerprint

NAME = re.compile(r"seg-\d{13}-[0-9a-f]{8}-\d{6}-([0-9a-f]{64})\.h5")

_COLUMNS = {"key", "path", "offset", "n_clips", "duration_s", "outcome", "reason", "flags", "attempts"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """The index of one segment, read when the store is opened; the embeddings stay on the disk.

    Attributes
    ----------
    path : Path
        The file.
    keys, paths, outcomes, reasons : tuple of str
        One each for every recording.
    flags : tuple of tuple of str
        Words that qualify each recording.
    offsets, n_clips, attempts : ndarray of shape (n_recordings,), int64
        First row and number of rows of each recording in the embeddings, and how often it was tried.
    durations_s : ndarray of shape (n_recordings,), float64
        Length of each recording; NaN where unknown.
    names : tuple of (str, str)
        Key and path of recordings stored elsewhere whose bytes also go by another name.
    provenance : dict
        When and with which libraries the segment was made.
    """

    path: Path
    keys: tuple[str, ...]
    paths: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    reasons: tuple[str, ...]
    flags: tuple[tuple[str, ...], ...]
    offsets: NDArray[np.int64]
    n_clips: NDArray[np.int64]
    attempts: NDArray[np.int64]
    durations_s: NDArray[np.float64]
    names: tuple[tuple[str, str], ...]
    provenance: dict[str, Any]
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]
    _data_offset: int
    _times_offset: int

    def embeddings(self) -> NDArray[Any]:
        """All embeddings, shape (n_clips_total, [n_layers,] dim), mapped from the disk."""
        return self._map(self._data_offset, self._shape, self._dtype)

    def clip_times(self) -> NDArray[np.float64]:
        """Start and end of every clip, shape (n_clips_total, 2), mapped from the disk."""
        return self._map(self._times_offset, (self._shape[0], 2), np.dtype(np.float64))

    def _map(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        if shape[0] == 0:
            return np.empty(shape, dtype)
        return np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=shape)


def read_segment(path: Path, spec: Spec) -> Segment:
    """Read and check the index of a segment.

    Raises
    ------
    StoreDamagedError
        The file is not a segment of this feature set, or its structure is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return _read_index(path, file, spec)
    except (OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, StoreDamagedError):
            raise
        raise _damaged(path, f"it cannot be read as a segment: {error}") from error


def _read_index(path: Path, file: h5py.File, spec: Spec) -> Segment:
    if int(file.attrs["format_version"]) != FORMAT_VERSION:
        raise _damaged(path, f"format version {file.attrs['format_version']}, expected {FORMAT_VERSION}")
    if file.attrs["fingerprint"] != fingerprint(spec):
        raise _damaged(path, f"made with the settings {file.attrs['fingerprint']}, expected {fingerprint(spec)}")
    embeddings, times = (_contiguous(path, file, name) for name in ("embeddings", "clip_times"))
    recordings, names = (_group(path, file, name) for name in ("recordings", "names"))
    table = {name: _column(path, recordings, name) for name in sorted(_COLUMNS)}
    segment = Segment(
        path=path,
        keys=_texts(table["key"]),
        paths=_texts(table["path"]),
        outcomes=cast("tuple[Outcome, ...]", _texts(table["outcome"])),
        reasons=_texts(table["reason"]),
        flags=tuple(tuple(words.split()) for words in _texts(table["flags"])),
        offsets=table["offset"].astype(np.int64),
        n_clips=table["n_clips"].astype(np.int64),
        attempts=table["attempts"].astype(np.int64),
        durations_s=table["duration_s"].astype(np.float64),
        names=tuple(zip(*(_texts(_column(path, names, name)) for name in ("key", "path")), strict=True)),
        provenance={"created": str(file.attrs["created"]), "versions": json.loads(file.attrs["versions"])},
        _shape=embeddings.shape,
        _dtype=embeddings.dtype,
        _data_offset=embeddings.id.get_offset() or 0,
        _times_offset=times.id.get_offset() or 0,
    )
    _check_index(segment, spec, times.shape)
    return segment


def _contiguous(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset whose bytes lie in this file and nowhere else, so that they can be mapped."""
    link = file.get(name, getlink=True)
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.chunks:
        raise _damaged(path, f"/{name} is not a contiguous dataset of this file")
    end = (dataset.id.get_offset() or 0) + dataset.size * dataset.dtype.itemsize
    wanted = ("<f2", "<f4") if name == "embeddings" else ("<f8",)
    if dataset.ndim < 2 or dataset.dtype.str not in wanted or end > path.stat().st_size:
        raise _damaged(path, f"/{name} has {dataset.shape} {dataset.dtype}, more than the file holds")
    return dataset


def _group(path: Path, file: h5py.File, name: str) -> h5py.Group:
    group = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        raise _damaged(path, f"/{name} is not a group of this file")
    return group


def _column(path: Path, group: h5py.Group, name: str) -> NDArray[Any]:
    link = group.get(name, getlink=True)
    dataset = group[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.ndim != 1:
        raise _damaged(path, f"/recordings/{name} is not a column of this file")
    if dataset.size * dataset.dtype.itemsize > path.stat().st_size:
        raise _damaged(path, f"/recordings/{name} claims more than the file holds")
    return cast("NDArray[Any]", dataset[()])


def _texts(column: NDArray[Any]) -> tuple[str, ...]:
    return tuple(value.decode("utf-8", "surrogateescape") for value in column.tolist())


def _check_index(segment: Segment, spec: Spec, times_shape: tuple[int, ...]) -> None:
    n_rows = segment._shape[0]
    if segment._shape[-1] != int(spec["encoder"]["dim"]) or segment._dtype != np.dtype(spec["dtype"]):
        raise _damaged(
            segment.path,
            f"embeddings {segment._shape} {segment._dtype}, expected (..., {spec['encoder']['dim']}) {spec['dtype']}",
        )
    columns = (
        *(segment.keys, segment.paths, segment.outcomes, segment.reasons, segment.flags),
        *(segment.offsets, segment.n_clips, segment.attempts, segment.durations_s),
    )
    if len({len(column) for column in columns}) != 1 or times_shape != (n_rows, 2):
        raise _damaged(segment.path, "columns of different lengths")
    stored = [outcome == "stored" for outcome in segment.outcomes]
    if not set(segment.outcomes) <= set(get_args(Outcome)) or stored != (segment.n_clips > 0).tolist():
        raise _damaged(segment.path, "outcomes that do not fit the clips")
    expected = np.cumsum(segment.n_clips) - segment.n_clips
    if (segment.n_clips < 0).any() or (segment.offsets != expected).any() or segment.n_clips.sum() != n_rows:
        raise _damaged(segment.path, "the offsets of its recordings do not fit its embeddings")


def _damaged(path: Path, what: str) -> StoreDamagedError:
    return StoreDamagedError(f"{path}: {what}. Run `poise store verify {path.parent.parent}` for the whole picture.")
