"""Telling how far something long has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the number of steps done, the number of all, and what is being done."""


class StepCounter:
    """Counts steps and tells the progress callback.

    Parameters
    ----------
    progress : callable or None
    total : int
        Steps that are expected; no more are ever told.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step(self, text: str) -> None:
        """One more step is done."""
        self._done = min(self._done + 1, self._total)
        if self._progress:
            self._progress(self._done, self._total, text)

    def finish(self, text: str) -> None:
        """All is done, even if it took fewer steps."""
        if self._progress:
            self._progress(self._total, self._total, text)
