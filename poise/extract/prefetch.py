"""Reading ahead: threads that work through jobs and hand their items over in a queue of bounded size.

What the items are is none of its business.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

JobT = TypeVar("JobT")
ItemT = TypeVar("ItemT")

IDLE_S = 1.0
_STOP_CHECK_S = 0.05
_JOIN_S = 3.0


@dataclass(frozen=True)
class Event(Generic[JobT, ItemT]):
    """An item of a job; or, without an item, that the job is over, with the error that ended it."""

    job: JobT
    item: ItemT | None = None
    error: Exception | None = None


def default_workers() -> int:
    """One thread for each core but the one that feeds the encoders; 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, max(1, cores - 1))


class Prefetcher(Generic[JobT, ItemT]):
    """Worker threads over a list of jobs; a context manager and an iterable of events.

    Decoders release Python's lock while they work, so threads are enough, and nothing is forked.

    Parameters
    ----------
    jobs : sequence
        What to read, in this order.
    read : callable
        Yields the items of one job; called in a worker.
    n_workers : int
        Jobs read at the same time.
    max_items : int
        Items that may wait; what bounds the memory.
    """

    def __init__(
        self, jobs: Sequence[JobT], read: Callable[[JobT], Iterator[ItemT]], *, n_workers: int, max_items: int
    ) -> None:
        self._n_jobs = len(jobs)
        self._jobs = iter(jobs)
        self._read = read
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._queue: queue.Queue[Event[JobT, ItemT]] = queue.Queue(maxsize=max_items)
        self._threads = [
            threading.Thread(target=self._work, name=f"poise-read-{number}", daemon=True)
            for number in range(min(n_workers, self._n_jobs))
        ]

    def __enter__(self) -> Prefetcher[JobT, ItemT]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def __iter__(self) -> Iterator[Event[JobT, ItemT] | None]:
        """Events as they come; None when none came for a second."""
        left = self._n_jobs
        while left:
            try:
                event = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                yield None
                continue
            left -= event.item is None
            yield event

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                job = next(self._jobs, None)
            if job is None:
                return
            error = None
            try:
                self._read_one(job)
            except Exception as caught:  # noqa: BLE001
                # whatever a media file does to a decoder ends this job and not the run
                error = caught
            self._put(Event(job, error=error))

    def _read_one(self, job: JobT) -> None:
        items = self._read(job)
        with closing(items):  # type: ignore[type-var]
            for item in items:
                if not self._put(Event(job, item)):
                    return

    def _put(self, event: Event[JobT, ItemT]) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(event, timeout=_STOP_CHECK_S)
            except queue.Full:
                continue
            return True
        return False
