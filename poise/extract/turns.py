"""Who may work on a file in this process, how far it is, and whether anybody still wants it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from poise.errors import CancelledError, EncoderError

Progress = Callable[[int, int, str], None]
"""Called with the number of clips that are encoded, of all clips (0 while unknown), and what is being done:
``waiting``, ``loading``, ``decoding`` or ``encoding``."""

Cancelled = Callable[[], bool]
"""Asked about once a second whether the result is no longer wanted; True ends the work."""

_WAIT_S = 0.2


class _Turn:
    """Held by the thread that works on a file."""

    def __init__(self, *, was_forked: bool = False) -> None:
        self.was_forked = was_forked
        self.lock = threading.Lock()
        self.owner: int | None = None


# torch's and the BLAS's numbers of threads belong to the whole process, and one file keeps every core busy
_turn = _Turn()


def _begin_anew() -> None:
    """Free the turn in a process that was forked: the thread that may have had it is not there."""
    global _turn  # noqa: PLW0603
    _turn = _Turn(was_forked=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def was_forked() -> bool:
    """Whether this process was forked from one that had imported this module."""
    return _turn.was_forked


class Teller:
    """Tells how far a file is, and asks whether it is still wanted.

    Parameters
    ----------
    file : Path
        The file.
    progress : callable or None
        See :data:`Progress`.
    cancelled : callable or None
        See :data:`Cancelled`.
    """

    def __init__(self, file: Path, progress: Progress | None, cancelled: Cancelled | None) -> None:
        self._file, self._progress, self._cancelled = file, progress, cancelled

    def tell(self, what: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done.

        Raises
        ------
        CancelledError
            Nobody wants it any more.
        """
        self.check()
        if self._progress is not None:
            self._progress(done, total, what)

    def check(self) -> None:
        """Ask whether the file is still wanted.

        Raises
        ------
        CancelledError
            Nobody wants it any more.
        """
        if self._cancelled is not None and self._cancelled():
            raise CancelledError(f"{self._file}: cancelled, as was asked.")

    def refuse_within(self) -> EncoderError:
        """The error of a file that is asked for while this very thread works on another one."""
        return EncoderError(
            f"{self._file}: asked for in a callback (progress or cancelled) of a file that this thread is working on, "
            "which would wait for itself for ever. Expected one file at a time: ask for this one after the other."
        )


@contextmanager
def one_at_a_time(teller: Teller) -> Iterator[None]:
    """Wait for this process to be free, and have it alone.

    Raises
    ------
    EncoderError
        This thread has it already: a callback of a file asks for another one, and would wait for itself.
    CancelledError
        Nobody wants the file any more.
    """
    turn, me = _turn, threading.get_ident()  # a callback may fork, and then there is another turn
    if turn.owner == me:
        raise teller.refuse_within()
    if not turn.lock.acquire(blocking=False):
        teller.tell("waiting")
        while not turn.lock.acquire(timeout=_WAIT_S):
            teller.check()
    turn.owner = me
    try:
        yield
    finally:
        turn.owner = None
        turn.lock.release()
