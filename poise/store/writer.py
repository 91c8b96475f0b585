"""Writing recordings into a feature set: collected, built into a segment in memory, written durably.

HDF5 itself never writes to the disk, since a full disk under an open HDF5 file kills the process.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.store.durable import write_durably
from poise.store.schema import FORMAT_VERSION, RecordingFeatures, Spec, canonical_json, fingerprint

MAX_BYTES = 64_000_000
MAX_RECORDINGS = 256
MAX_AGE_S = 30.0

_ALIGNMENT = 4096
_PACKAGES = ("poise", "h5py", "numpy", "torch", "transformers", "av", "librosa")


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
