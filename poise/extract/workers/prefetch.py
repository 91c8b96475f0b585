"""Reading ahead: threads that work through jobs and hand their items over in a queue of bounded size.

What the items are is none of its business, nor what reads them: each thread has a reader of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

JobT = TypeVar("JobT")
ItemT = TypeVar("ItemT")
ReaderT = TypeVar("ReaderT")

IDLE_S = 1.0
_JOIN_S = 3.0
_WAIT_S = 0.2


@dataclass(frozen=True)
class Event(Generic[JobT, ItemT]):
    """An item of a job; or, without an item, that the job is over, with the error that ended it."""

    job: JobT
    item: ItemT | None = None
    error: Exception | None = None


class Prefetcher(Generic[JobT, ItemT, ReaderT]):
    """Worker threads over a list of jobs; a context manager and an iterable of events.

    Parameters
    ----------
    jobs : iterable
        What to read, in this order. The next one is asked for, by one worker at a time, when a worker is free.
    make_reader : callable
        Makes what one worker reads with, a context manager; it is given an event that is set when all is to stop.
    read : callable
        Yields the items of one job; called in a worker, with its reader.
    n_workers : int
        Jobs read at the same time.
    size_of : callable
        Size of an item.
    max_size : int
        Size of all items that wait; what bounds the memory. One item may always wait.
    stop : threading.Event, optional
        Set here when all is to stop; for jobs that take long to be found.
    """

    def __init__(
        self,
        jobs: Iterable[JobT],
        make_reader: Callable[[threading.Event], AbstractContextManager[ReaderT]],
        read: Callable[[JobT, ReaderT], Iterator[ItemT]],
        *,
        n_workers: int,
        size_of: Callable[[ItemT], int],
        max_size: int,
        stop: threading.Event | None = None,
    ) -> None:
        self._jobs = iter(jobs)
        self._asking = threading.Lock()
        self._n_at_work = n_workers
        self._make_reader = make_reader
        self._read = read
        self._size_of = size_of
        self._free = max_size
        self._waiting: deque[tuple[Event[JobT, ItemT], int]] = deque()
        self._change = threading.Condition()
        self._failure: Exception | None = None
        self._stop = stop if stop is not None else threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"poise-read-{number}", daemon=True) for number in range(n_workers)
        ]

    def __enter__(self) -> Prefetcher[JobT, ItemT, ReaderT]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._change:
            self._change.notify_all()
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def has_events(self) -> bool:
        """Whether an event is there that was not taken yet."""
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Event[JobT, ItemT] | None]:
        """Events as they come; None when none came for a second."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or not self._n_at_work, timeout=IDLE_S)
                if self._failure is not None:
                    raise self._failure
                event, size = self._waiting.popleft() if self._waiting else (None, 0)
                if event is None and not self._n_at_work:
                    return
                self._free += size
                self._change.notify_all()
            yield event

    def _work(self) -> None:
        try:
            with self._make_reader(self._stop) as reader:
                self._work_with(reader)
        except Exception as error:  # noqa: BLE001  raised where the events are taken
            self._failure = error
        finally:
            with self._change:
                self._n_at_work -= 1
                self._change.notify_all()

    def _work_with(self, reader: ReaderT) -> None:
        while not self._stop.is_set():
            if not self._asking.acquire(timeout=_WAIT_S):
                continue
            try:
                job = next(self._jobs, None)
            finally:
                self._asking.release()
            if job is None:
                return
            self._work_on(job, reader)
            job = None  # the next one may be long in coming, and until then this one would be held

    def _work_on(self, job: JobT, reader: ReaderT) -> None:
        error = None
        try:
            self._read_one(job, reader)
        except Exception as caught:  # noqa: BLE001
            # whatever a media file does to a decoder ends this job and not the run
            error = caught
        self._put(Event(job, error=error), 0)

    def _read_one(self, job: JobT, reader: ReaderT) -> None:
        items = self._read(job, reader)
        with closing(items):  # type: ignore[type-var]
            for item in items:
                if not self._put(Event(job, item), self._size_of(item)):
                    return

    def _put(self, event: Event[JobT, ItemT], size: int) -> bool:
        with self._change:
            self._change.wait_for(lambda: self._stop.is_set() or size <= self._free or not self._waiting)
            if self._stop.is_set():
                return False
            self._free -= size
            self._waiting.append((event, size))
            self._change.notify_all()
        return True
