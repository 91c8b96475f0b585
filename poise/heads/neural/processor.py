"""What a stack is trained on: one thread where handing out work takes longer than doing it, or a GPU if it is much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_WORTH_THREADS_CELLS = 1 << 21
_WORTH_GPU_CELLS = 1 << 24


def device_for(cells: int) -> torch.device:
    """The GPU, if there is one and a step deals with very many numbers."""
    return torch.device("cuda" if cells > _WORTH_GPU_CELLS and torch.cuda.is_available() else "cpu")


@contextmanager
def threads_for(cells: int) -> Iterator[None]:
    """One thread within, unless a step deals with many numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if cells > _WORTH_THREADS_CELLS else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
