"""How many threads torch computes with: one where handing work between threads takes longer than the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORTH_IT_CELLS = 1 << 21


@contextmanager
def threads_for(cells: int) -> Iterator[None]:
    """One thread within, unless a step deals with many numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if cells > _WORTH_IT_CELLS else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
