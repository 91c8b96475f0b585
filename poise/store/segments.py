"""Segments: immutable HDF5 files that hold the embeddings of some recordings of one feature set.

The layout is written down in ``docs/file-format.md``. A segment is built in memory and written by
:func:`poise.store.durable.write_durably`; HDF5 itself never writes to the disk, since a full disk
under an open HDF5 file kills the process.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreDamagedError
from poise.store.durable import write_durably
from poise.store.schema import FORMAT_VERSION, Outcome, RecordingFeatures, Spec, canonical_json, fingerprint

MAX_BYTES = 64_000_000
MAX_RECORDINGS = 256
MAX_AGE_S = 30.0

NAME = re.compile(r"seg-\d{13}-[0-9a-f]{8}-\d{6}-([0-9a-f]{64})\.h5")

_ALIGNMENT = 4096
_COLUMNS = {"key", "path", "offset", "n_clips", "duration_s", "outcome", "reason", "flags", "attempts"}
_PACKAGES = ("poise", "h5py", "numpy", "torch", "transformers", "av", "librosa")


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


class SegmentWriter:
    """Collects recordings of one feature set and writes them as segments; a context manager.

    A recording is durable once ``on_durable`` was called with its key. A segment is closed at 64 MB,
    256 recordings or 30 s after its first recording, at :meth:`flush` and at the end.

    Parameters
    ----------
    folder : Path
        Folder of the feature set.
    spec : mapping
        Its spec.
    on_durable : callable, optional
        Called with the keys of each segment once it is safe on the disk.
    """

    def __init__(self, folder: Path, spec: Spec, on_durable: Callable[[Sequence[str]], None] | None = None) -> None:
        self.folder = folder
        self._spec = spec
        self._on_durable = on_durable
        self._writer = secrets.token_hex(4)
        self._n_written = 0
        self._pending: list[RecordingFeatures] = []
        self._names: list[tuple[str, str]] = []
        self._n_bytes = 0
        self._since = 0.0

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(self, features: RecordingFeatures) -> None:
        """Take one recording; it is written with its segment.

        Raises
        ------
        InvalidFeaturesError
            The embeddings are not finite, out of range or misshapen; nothing was taken.
        StoreWriteError
            The segment that this recording completes cannot be written.
        """
        features.check(self._spec["dtype"])
        self._start()
        self._pending.append(features)
        self._n_bytes += features.embeddings.size * np.dtype(self._spec["dtype"]).itemsize
        self.tick()

    def add_name(self, key: str, path: str) -> None:
        """Note that the bytes of a stored recording also go by the name ``path``."""
        self._start()
        self._names.append((key, path))

    def tick(self) -> None:
        """Write the open segment if it is full or old."""
        full = self._n_bytes >= MAX_BYTES or len(self._pending) >= MAX_RECORDINGS
        if full or (self._since and time.monotonic() - self._since >= MAX_AGE_S):
            self.flush()

    def flush(self) -> None:
        """Write what was taken so far.

        Raises
        ------
        StoreWriteError
            The disk is full, or the folder cannot be written.
        """
        if not self._pending and not self._names:
            return
        data = build_segment(self._spec, self._pending, self._names)
        digest = hashlib.sha256(data).hexdigest()
        name = f"seg-{time.time_ns() // 1_000_000:013d}-{self._writer}-{self._n_written:06d}-{digest}.h5"
        write_durably(self.folder / name, data)
        keys = [features.key for features in self._pending]
        self._pending, self._names, self._n_bytes, self._since = [], [], 0, 0.0
        self._n_written += 1
        if self._on_durable is not None and keys:
            self._on_durable(keys)

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def _start(self) -> None:
        self._since = self._since or time.monotonic()


def build_segment(spec: Spec, recordings: Sequence[RecordingFeatures], names: Sequence[tuple[str, str]] = ()) -> bytes:
    """The bytes of a segment.

    Parameters
    ----------
    spec : mapping
        Spec of the feature set.
    recordings : sequence of RecordingFeatures
        What to put in, in this order.
    names : sequence of (key, path)
        Other names of recordings that are stored in this or another segment.

    Returns
    -------
    bytes
        An HDF5 file.
    """
    dtype = np.dtype(spec["dtype"])
    dim = int(spec["encoder"]["dim"])
    stored = [features for features in recordings if len(features.embeddings)]
    embeddings = np.concatenate([features.embeddings for features in stored] or [np.empty((0, dim))]).astype(dtype)
    times = np.concatenate([features.clip_times for features in stored] or [np.empty((0, 2))]).astype(np.float64)
    file = h5py.File(
        "segment",
        "w",
        driver="core",
        backing_store=False,
        libver=("earliest", "v110"),
        alignment_threshold=1024,
        alignment_interval=_ALIGNMENT,
    )
    with file:
        file.create_dataset("embeddings", data=embeddings, track_times=False)
        file.create_dataset("clip_times", data=times, track_times=False)
        _write_columns(file.create_group("recordings"), _columns(recordings))
        _write_columns(file.create_group("names"), {"key": [n[0] for n in names], "path": [n[1] for n in names]})
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["fingerprint"] = fingerprint(spec)
        file.attrs["spec"] = canonical_json(spec)
        file.attrs["created"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        file.attrs["versions"] = canonical_json(library_versions())
        file.attrs["data_sha256"] = hashlib.sha256(embeddings.tobytes() + times.tobytes()).hexdigest()
        file.flush()
        return cast("bytes", file.id.get_file_image())


def _columns(recordings: Sequence[RecordingFeatures]) -> dict[str, Any]:
    n_clips = np.array([len(features.embeddings) for features in recordings], dtype=np.int64)
    return {
        "key": [features.key for features in recordings],
        "path": [features.path for features in recordings],
        "offset": np.cumsum(n_clips) - n_clips,
        "n_clips": n_clips,
        "duration_s": np.array([features.duration_s for features in recordings], dtype=np.float64),
        "outcome": [features.outcome for features in recordings],
        "reason": [features.reason for features in recordings],
        "flags": [" ".join(features.flags) for features in recordings],
        "attempts": np.array([features.attempts for features in recordings], dtype=np.int64),
    }


def _write_columns(group: h5py.Group, columns: dict[str, Any]) -> None:
    for name, values in columns.items():
        group.create_dataset(
            name, data=_fixed_length(values) if isinstance(values, list) else values, track_times=False
        )


def _fixed_length(texts: Sequence[str]) -> NDArray[np.bytes_]:
    encoded = [text.encode("utf-8", "surrogateescape").replace(b"\0", b"") for text in texts]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=0) or 1}")


def library_versions() -> dict[str, str]:
    """Versions of the installed packages that features and heads depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            continue
    return versions


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
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, StoreDamagedError):
            raise
        raise _damaged(path, f"it cannot be read as a segment: {error}") from error


def _read_index(path: Path, file: h5py.File, spec: Spec) -> Segment:
    if int(file.attrs["format_version"]) != FORMAT_VERSION:
        raise _damaged(path, f"format version {file.attrs['format_version']}, expected {FORMAT_VERSION}")
    if file.attrs["fingerprint"] != fingerprint(spec):
        raise _damaged(path, f"made with the settings {file.attrs['fingerprint']}, expected {fingerprint(spec)}")
    embeddings, times = (_contiguous(path, file, name) for name in ("embeddings", "clip_times"))
    table = {name: _column(path, file["recordings"], name) for name in sorted(_COLUMNS)}
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
        names=tuple(zip(*(_texts(_column(path, file["names"], name)) for name in ("key", "path")), strict=True)),
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
    if dataset.dtype.kind != "f" or end > path.stat().st_size:
        raise _damaged(path, f"/{name} has {dataset.shape} {dataset.dtype}, more than the file holds")
    return dataset


def _column(path: Path, group: Any, name: str) -> NDArray[Any]:
    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
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
    lengths = {len(column) for column in (segment.keys, segment.paths, segment.outcomes, segment.offsets)}
    if len(lengths) != 1 or times_shape != (n_rows, 2):
        raise _damaged(segment.path, "columns of different lengths")
    expected = np.cumsum(segment.n_clips) - segment.n_clips
    if (segment.n_clips < 0).any() or (segment.offsets != expected).any() or segment.n_clips.sum() != n_rows:
        raise _damaged(segment.path, "the offsets of its recordings do not fit its embeddings")


def _damaged(path: Path, what: str) -> StoreDamagedError:
    return StoreDamagedError(f"{path}: {what}. Run `poise store verify {path.parent.parent}` for the whole picture.")
