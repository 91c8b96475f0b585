"""Long work in a thread of its own: how far it is, an end on request, and an end when nobody waits for it any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from poise.errors import CancelledError, PoiseError

ResultT = TypeVar("ResultT")

_log = logging.getLogger("poise.app")


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a job is.

    Attributes
    ----------
    what : str
        What is being done; empty before anything was said.
    done, total : float
        How much of it is done, of how much; a total of 0 where that is not known yet.
    """

    what: str = ""
    done: float = 0.0
    total: float = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1; 0 while the total is not known."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


class Watch:
    """What the work of a job is given: it tells how far it is, and asks whether to go on.

    Parameters
    ----------
    is_wanted : callable
        Whether anybody still waits for the result.
    """

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self._is_wanted = is_wanted
        self._end = threading.Event()
        self.step = Step()

    def tell(self, done: float, total: float, what: str) -> None:
        """Say how far it is."""
        self.step = Step(what=what, done=done, total=total)

    def cancelled(self) -> bool:
        """Whether the result is no longer wanted."""
        return self._end.is_set() or not self._is_wanted()

    def check(self) -> None:
        """Go on only if the result is wanted.

        Raises
        ------
        CancelledError
            It is not.
        """
        if self.cancelled():
            raise CancelledError("Cancelled, as was asked.")

    def cancel(self) -> None:
        """Ask for an end."""
        self._end.set()


class Job(Generic[ResultT]):
    """Work that goes on in a thread of its own; made by :meth:`start`.

    Parameters
    ----------
    work : callable
        Given a :class:`Watch`; returns the result.
    is_wanted : callable
        Whether anybody still waits for the result; by default always.
    """

    def __init__(self, work: Callable[[Watch], ResultT], *, is_wanted: Callable[[], bool] = lambda: True) -> None:
        self._work: Callable[[Watch], ResultT] | None = work
        self._watch = Watch(is_wanted)
        self._over = threading.Event()
        self._results: list[ResultT] = []
        self._began = time.monotonic()
        self.error: BaseException | None = None

    @classmethod
    def start(cls, work: Callable[[Watch], ResultT], *, is_wanted: Callable[[], bool] = lambda: True) -> Self:
        """Begin the work, and return at once."""
        job = cls(work, is_wanted=is_wanted)
        threading.Thread(target=job._run, name="poise-app-job", daemon=True).start()
        return job

    def _run(self) -> None:
        work, self._work = self._work, None  # it may hold an upload, and the job is kept for its result
        try:
            if work is not None:
                self._results.append(work(self._watch))
        except PoiseError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001  told where it is waited for
            _log.exception("A job failed")
            self.error = error
        finally:
            self._over.set()

    @property
    def step(self) -> Step:
        """How far it is."""
        return self._watch.step

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        """Whether there is a result, or an error in its place."""
        return self._over.is_set()

    @property
    def result(self) -> ResultT | None:
        """What the work returned; None before it is over, and where there is an error."""
        return self._results[0] if self._results else None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is over, and say whether it is."""
        return self._over.wait(timeout_s)

    def cancel(self) -> None:
        """Ask the work to end; it does at its next look."""
        self._watch.cancel()
