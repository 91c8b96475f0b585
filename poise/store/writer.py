"""Writing recordings into a feature set: collected, built into a segment in memory, written durably.

HDF5 itself never writes to the disk, since a full disk under an open HDF5 file kills the process.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.store.durable import write_durably
from poise.store.format.layout import Names, check_spec, segment_image, segment_name
from poise.store.format.recordings import table_of
from poise.store.format.segments import MAX_MS
from poise.store.runs import describe_run
from poise.store.schema import RecordingFeatures, Spec, check_key, embedding_shape

MAX_BYTES = 64_000_000
MAX_RECORDINGS = 256
MAX_AGE_S = 30.0


class SegmentWriter:
    """Collects recordings of one feature set and writes them as segments; a context manager.

    A recording is durable once ``on_durable`` was called with its key. A segment is closed at 64 MB,
    256 recordings or 30 s after its first recording, at :meth:`flush` and at the end. What could not be
    written is kept, so that :meth:`flush` can be called again once there is space. Threads may share a writer.

    Parameters
    ----------
    folder : Path
        Folder of the feature set.
    spec : mapping
        Its spec.
    on_durable : callable, optional
        Called with the keys of each segment once it is safe on the disk.
    run : str, optional
        JSON that says which run this is, see :func:`poise.store.runs.describe_run`.

    Raises
    ------
    InvalidFeaturesError
        The spec cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        spec: Spec,
        on_durable: Callable[[Sequence[str]], None] | None = None,
        *,
        run: str | None = None,
    ) -> None:
        check_spec(spec)
        self.folder = folder
        self._spec = spec
        self._dtype = np.dtype(spec["dtype"])
        self._on_durable = on_durable
        self._run = run if run is not None else describe_run()
        self._lock = threading.RLock()
        self._writer = secrets.token_hex(4)
        self._n_written = 0
        self._pending: list[RecordingFeatures] = []
        self._values: list[NDArray[Any]] = []
        self._stored_ms: list[int] = []
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
        features.check(self._spec)
        # a copy in the stored type: a caller may go on using its array
        values = np.array(features.embeddings, dtype=self._dtype).reshape(-1, *embedding_shape(self._spec))
        with self._lock:
            self._start()
            self._pending.append(features)
            self._values.append(values)
            self._stored_ms.append(_now_ms())
            self._n_bytes += values.nbytes
            self.tick()

    def add_name(self, key: str, path: str) -> None:
        """Note that the bytes of a stored recording also go by the name ``path``.

        Raises
        ------
        InvalidFeaturesError
            The key is none, or the path is no text.
        """
        check_key(key, path)
        with self._lock:
            self._start()
            self._names.append((key, path))

    def tick(self) -> None:
        """Write the open segment if it is full or old."""
        with self._lock:
            full = self._n_bytes >= MAX_BYTES or max(len(self._pending), len(self._names)) >= MAX_RECORDINGS
            if full or (self._since and time.monotonic() - self._since >= MAX_AGE_S):
                self.flush()

    def flush(self) -> None:
        """Write what was taken so far.

        Raises
        ------
        StoreWriteError
            The disk is full, or the folder cannot be written; what was taken is kept for another try.
        """
        with self._lock:
            if not self._pending and not self._names:
                return
            image = self._image()
            name = segment_name(image, milliseconds=_now_ms(), writer=self._writer, number=self._n_written)
            write_durably(self.folder / name, image)
            keys = [features.key for features in self._pending]
            self._pending, self._values, self._stored_ms, self._names = [], [], [], []
            self._n_bytes, self._since = 0, 0.0
            self._n_written += 1
            if self._on_durable is not None and keys:
                self._on_durable(keys)

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def _image(self) -> bytes:
        shape = embedding_shape(self._spec)
        times = [features.clip_times for features in self._pending]
        return segment_image(
            self._spec,
            table_of(self._pending, self._values, self._stored_ms, self._run),
            np.concatenate([*self._values, np.empty((0, *shape), self._dtype)]),
            np.concatenate([*times, np.empty((0, 2))]).astype(np.float64),
            names=Names.pack(self._names),
            runs=[self._run],
        )

    def _start(self) -> None:
        self._since = self._since or time.monotonic()


def _now_ms() -> int:
    """Now, as far as a clock that is wrong by centuries can be told."""
    return min(max(time.time_ns() // 1_000_000, 0), MAX_MS)
