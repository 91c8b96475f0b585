"""What runs on the nodes of a cluster: tasks that have files decoded, and actors that encode their clips.

A file is decoded in a child of the Ray worker, as in a local run, and so may crash, hang or hoard no more than that.
"""

from __future__ import annotations

import pickle
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from poise.errors import NotReadableNowError
from poise.extract.assignments import Assignment, Found, stamp_of
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoding import Batcher, single_threaded_blas
from poise.extract.engines.ray_rows import Broken, ClipOver, ReadOver, Row, Waited, pack, portable, unpack, without_data
from poise.extract.lanes import Lanes
from poise.extract.workers.process import DecodeProcess
from poise.extract.workers.source import Reading

_KEPT_S = 30.0
"""How long a child that decodes is kept without work."""


class NotOnNodeError(NotReadableNowError):
    """A node does not see the file that was hashed."""


@dataclass(frozen=True)
class DecodeSetup:
    """What decoding tasks are told.

    Attributes
    ----------
    encoders : bytes
        Pickle of a dict of modality to Encoder.
    reading : Reading
        How files are read.
    """

    encoders: bytes
    reading: Reading


def decode(table: pa.Table, setup: DecodeSetup) -> Iterator[pa.Table]:
    """The clips of a table of assignments, each of one modality of one recording; a task of Ray Data.

    Parameters
    ----------
    table : pyarrow.Table
        Rows whose content is an :class:`Assignment`.
    setup : DecodeSetup
        How to read.

    Yields
    ------
    pyarrow.Table
        One row for each clip, and a :class:`ReadOver` after those of an assignment.
    """
    for row in unpack(table):
        found, error = Found(), None
        with _child.reading(setup) as source:
            try:
                clips = _here(row.content).read(source, found)
                for number, (_, clip) in enumerate(clips):
                    yield pack([replace(row, number=number, content=clip)])
            except Exception as caught:  # noqa: BLE001
                # whatever a media file does to a decoder ends this recording and not the run
                error = portable(caught)
        yield pack([replace(row, number=-1, content=ReadOver(found, error))])


def _here(assignment: Assignment) -> Assignment:
    """The assignment with the file's stamp on this node; inodes may differ from node to node, all else may not."""
    file, node = assignment.file, platform.node()
    advice = "Every node must see the recordings under the paths that they have where the command runs."
    try:
        stamp = stamp_of(file)
    except OSError as error:
        raise NotOnNodeError(f"{file} cannot be read on {node}: {error.strerror}. {advice}") from error
    if stamp[1:] != assignment.stamp[1:]:
        raise NotOnNodeError(f"{file} is another file on {node}, or has changed. {advice}")
    return replace(assignment, stamp=stamp)


class _Child:
    """The decoding process of this Ray worker: kept from task to task, for it takes seconds to start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._setup: DecodeSetup | None = None
        self._source: DecodeProcess | None = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def reading(self, setup: DecodeSetup) -> Iterator[DecodeProcess]:
        """The child that reads in this way, for one task."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._source is None or self._setup != setup:
                self._end()
                self._setup = setup
                self._source = DecodeProcess(setup.encoders, setup.reading, stop=threading.Event())
            source = self._source
        try:
            yield source
        finally:
            with self._lock:
                self._timer = threading.Timer(_KEPT_S, self._retire)
                self._timer.daemon = True
                self._timer.start()

    def _retire(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # no task has come meanwhile
                self._end()

    def _end(self) -> None:
        if self._source is not None:
            self._source.__exit__(None, None, None)
            self._source = None


_child = _Child()


class EncodeActor:
    """An encoder on a node, loaded once; an actor of Ray Data.

    Parameters
    ----------
    encoder : bytes
        Pickle of an Encoder that is not loaded.
    n_threads : int or None
        Threads of torch on a processor; as many as in a local run, for the last bits of sums depend on it. None leaves
        torch alone.
    """

    def __init__(self, encoder: bytes, n_threads: int | None) -> None:
        self._name = secrets.token_hex(8)
        self._n_threads = n_threads
        self._broken: Exception | None = None
        self._over: list[Row] = []
        try:
            self._load(encoder)
        except Exception as error:  # noqa: BLE001
            # raised here it would be tried again and again; the run is told instead, with the first clip
            self._broken = error
        self._idle_since = time.monotonic()

    def _load(self, pickled: bytes) -> None:
        encoder: Encoder = pickle.loads(pickled)  # noqa: S301  from the run that this actor belongs to
        encoder.arrive()
        encoder.load()
        self._batcher = Batcher[Row](encoder, Lanes(), self._deliver)  # its threads end with the actor

    def __call__(self, table: pa.Table) -> pa.Table:
        """What became of each row: clips are encoded, all others pass."""
        rows = list(unpack(table))
        self._over = [Row(-1, rows[0].modality, -1, Waited(self._name, time.monotonic() - self._idle_since))]
        try:
            self._encode(rows)
        except Exception as error:  # noqa: BLE001  the run ends with it, as a local one does
            self._over.append(Row(-1, rows[0].modality, -1, Broken(portable(error))))
        self._idle_since = time.monotonic()
        return pack(self._over)

    def _encode(self, rows: list[Row]) -> None:
        if self._broken is not None:
            raise self._broken
        if self._n_threads is not None:
            import torch

            torch.set_num_threads(self._n_threads)  # of this thread, and calls come in several
        with single_threaded_blas():
            for row in rows:
                if row.number < 0:
                    self._over.append(row)
                else:
                    self._batcher.add(replace(row, content=None), row.content)
            self._batcher.flush()

    def _deliver(self, row: Row, clip: PreparedClip, result: NDArray[np.float32] | Exception) -> None:
        content: Any = ClipOver(without_data(clip), portable(result) if isinstance(result, Exception) else result)
        self._over.append(replace(row, content=content))
