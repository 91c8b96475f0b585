"""Lanes: threads that encode clips side by side on a processor, each with its share of the cores.

One clip on all cores at once would wait, at the end of every matrix product, for the core that decodes beside it.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

MAX_LANES = 4
"""Clips that are encoded at the same time: each holds its own intermediate results, some 300 MB for 10 s of sound."""

_JOIN_S = 3.0


class _StopLane(BaseException):
    """Ends what a lane is at, between two operations of its model."""


def count_lanes(n_threads: int) -> int:
    """How many lanes ``n_threads`` threads of torch make; all lanes get equally many.

    >>> [count_lanes(n) for n in (1, 2, 4, 7, 16)]
    [1, 2, 4, 3, 4]
    """
    each = -(-n_threads // MAX_LANES)
    return max(1, n_threads // max(1, each))


class Lanes:
    """Threads in which encoders that allow it work; a context manager.

    They share torch's threads, and are started when the first work comes.

    Attributes
    ----------
    n : int
        How many there are; 1 until they are started.
    """

    def __init__(self) -> None:
        self.n = 1
        self._n_threads = 1
        self._work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._change = threading.Condition()
        self._running: dict[int, float] = {}
        self._busy_s = 0.0
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._change:
            self._stopped = True
            self._work.clear()
            for thread in self._running:
                # nobody waits for the result any more: Ctrl-C is not to last as long as a clip
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_StopLane))
            self._change.notify_all()
        for lane in self._threads:
            lane.join(_JOIN_S)
        if self._threads:
            import torch

            torch.set_num_threads(self._n_threads)  # threads that are started later take what was set last

    def submit(self, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Do some work in the lane that is free first."""
        if not self._threads:
            self._start()
        future: Future[ResultT] = Future()
        with self._change:
            self._work.append((future, work))
            self._change.notify()
        return future

    def busy_s(self) -> float:
        """Seconds that the lanes have worked, of all together, up to now."""
        with self._change:
            now = time.monotonic()
            return self._busy_s + sum(now - began for began in self._running.values())

    def _start(self) -> None:
        import torch

        self._n_threads = torch.get_num_threads()
        self.n = count_lanes(self._n_threads)
        self._threads = [
            threading.Thread(target=self._lane, name=f"poise-encode-{number}", daemon=True) for number in range(self.n)
        ]
        for thread in self._threads:
            thread.start()

    def _lane(self) -> None:
        import torch

        torch.set_num_threads(max(1, self._n_threads // self.n))
        me = threading.get_ident()
        try:
            while (item := self._next(me)) is not None:
                future, work = item
                try:
                    result = work()
                except _StopLane:
                    raise
                except BaseException as error:  # noqa: BLE001  raised where the result is asked for
                    self._done(me)
                    future.set_exception(error)
                else:
                    self._done(me)
                    future.set_result(result)
        except _StopLane:
            return

    def _next(self, me: int) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._change:
            self._change.wait_for(lambda: self._work or self._stopped)
            if self._stopped:
                return None
            self._running[me] = time.monotonic()
            return self._work.popleft()

    def _done(self, me: int) -> None:
        with self._change:
            self._busy_s += time.monotonic() - self._running.pop(me)
