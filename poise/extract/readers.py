"""Threads that read one file after another, each with a source of clips that it keeps, as a decoding process."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import SimpleQueue

from poise.extract.parts import Item, Part
from poise.extract.workers.prefetch import Event, Prefetcher
from poise.extract.workers.source import ClipSource

MAX_WAITING_BYTES = 64 << 20
"""Prepared clips that wait for an encoder; a VideoMAE clip takes 2.4 MB."""

_PATIENCE_S = 3.0

_Events = Iterator[Event[Part, Item] | None]
_Prefetcher = Prefetcher[Part, Item, ClipSource]


class Readers:
    """Threads that are started with the first file, and end when this is closed or nobody holds it any more.

    They outlive a file because their processes do: Linux ends a process with the thread that started it. In a process
    that was forked from this one there are no such threads: it gets its own, and leaves the others' alone.

    Parameters
    ----------
    make_source : callable
        Makes what one thread reads with; see :func:`poise.extract.workers.process.clip_sources`.
    n_workers : int
        How many.
    """

    def __init__(
        self, make_source: Callable[[threading.Event], AbstractContextManager[ClipSource]], *, n_workers: int
    ) -> None:
        self._make_source = make_source
        self._n_workers = n_workers
        self._jobs: SimpleQueue[Part | None] = SimpleQueue()
        self._prefetcher: _Prefetcher | None = None
        self._pid = os.getpid()
        self._stop = threading.Event()

    @contextmanager
    def reading(self, parts: Sequence[Part]) -> Iterator[_Events]:
        """Read the parts of one file.

        Parameters
        ----------
        parts : sequence of Part
            With one ``stop``, which is set at the end: what is not read by then is given up.

        Yields
        ------
        iterator
            Clips as they come, None when none came for a second, and the end of each part.
        """
        prefetcher = self._started()
        for part in parts:
            self._jobs.put(part)
        left = set(parts)
        try:
            yield _events(prefetcher, left)
        finally:
            for part in parts:
                part.stop.set()
            given_up_at = time.monotonic() + _PATIENCE_S
            for _ in _events(prefetcher, left):
                if time.monotonic() > given_up_at:
                    break

    @property
    def has_events(self) -> bool:
        """Whether a clip is there that was not taken yet."""
        return self._prefetcher is not None and self._prefetcher.has_events

    def close(self) -> None:
        """End the threads and their processes; the next file would start new ones."""
        self._forget_inherited()
        if self._prefetcher is not None:
            _end(self._jobs, self._stop, self._n_workers)
            self._prefetcher.__exit__(None, None, None)
            self._prefetcher = None

    def _forget_inherited(self) -> None:
        """Leave the threads of the process from which this one was forked: its locks may never become free here."""
        if self._pid != os.getpid():
            self._pid, self._prefetcher = os.getpid(), None

    def _started(self) -> _Prefetcher:
        self._forget_inherited()
        if self._prefetcher is None:
            self._jobs, self._stop = SimpleQueue(), threading.Event()
            self._prefetcher = _Prefetcher(
                iter(self._jobs.get, None),
                self._make_source,
                Part.read,
                n_workers=self._n_workers,
                size_of=_size,
                max_size=MAX_WAITING_BYTES,
                stop=self._stop,
            ).__enter__()
            weakref.finalize(self, _end, self._jobs, self._stop, self._n_workers)
        return self._prefetcher


def _events(prefetcher: _Prefetcher, left: set[Part]) -> _Events:
    """What comes of the parts that are left, until none is; what is on its way of a file given up is passed over."""
    if not left:
        return
    for event in prefetcher:
        if event is not None and event.job not in left:
            continue
        if event is not None and event.item is None:
            left.discard(event.job)
        yield event
        if not left:
            return


def _end(jobs: SimpleQueue[Part | None], stop: threading.Event, n_workers: int) -> None:
    """Have the threads end by themselves: this may be called in one of them, when Python tidies up."""
    stop.set()
    for _ in range(n_workers):
        jobs.put(None)


def _size(item: Item) -> int:
    return int(item[0].data.nbytes)
