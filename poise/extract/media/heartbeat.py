"""A sign of life from long work: whoever decodes says now and then that it goes on, and a watchdog may listen."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY_S = 0.5


class _Pulse:
    listener: Callable[[], None] | None = None
    last = 0.0


def beat() -> None:
    """Say that work goes on; cheap, and nothing where nobody listens."""
    if _Pulse.listener is None:
        return
    now = time.monotonic()
    if now - _Pulse.last >= _EVERY_S:
        _Pulse.last = now
        _Pulse.listener()


def listen(listener: Callable[[], None] | None) -> None:
    """Have ``listener`` called at most twice a second while this process works."""
    _Pulse.listener = listener
