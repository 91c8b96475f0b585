"""A call that may never return, as reading from a mount that hangs: in a thread of its own, given up when it is silent.

A thread cannot be ended from outside: one that was given up ends at its next sign of life, or never.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from poise.extract.workers.channel import SilentError

ResultT = TypeVar("ResultT")

_WAIT_S = 0.2


class StoppedError(Exception):
    """Nobody wants the result any more."""


def call_watched(
    function: Callable[[Callable[[], None]], ResultT], *, stall_s: float, stop: threading.Event
) -> ResultT:
    """Call a function that may hang.

    Parameters
    ----------
    function : callable
        Given a callable that it calls as a sign of life, as often as it likes.
    stall_s : float
        How long it may show none, seconds.
    stop : threading.Event
        Set when nothing more is wanted.

    Returns
    -------
    object
        What the function returned; what it raises is raised here.

    Raises
    ------
    SilentError
        It showed no sign of life for ``stall_s``.
    StoppedError
        ``stop`` was set.
    """
    call = _Call(function)
    threading.Thread(target=call.work, name="poise-watched", daemon=True).start()
    try:
        while not call.is_over.wait(_WAIT_S):
            if stop.is_set():
                raise StoppedError
            if time.monotonic() - call.alive_at > stall_s:
                raise SilentError
    finally:
        call.is_given_up = True
    if call.error is not None:
        raise call.error
    return call.results[0]


class _Call(Generic[ResultT]):
    """What the thread that calls and the one that waits know of each other."""

    def __init__(self, function: Callable[[Callable[[], None]], ResultT]) -> None:
        self._function = function
        self.alive_at = time.monotonic()
        self.is_given_up = False
        self.is_over = threading.Event()
        self.results: list[ResultT] = []
        self.error: Exception | None = None

    def work(self) -> None:
        try:
            self.results.append(self._function(self._beat))
        except Exception as error:  # noqa: BLE001  raised where it is waited for
            self.error = error
        finally:
            self.is_over.set()

    def _beat(self) -> None:
        if self.is_given_up:
            raise StoppedError
        self.alive_at = time.monotonic()
