"""Row numbers of runs of rows: the arithmetic of packed arrays in which each recording has rows of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def span_rows(starts: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Row numbers of several runs of rows, one after the other.

    Parameters
    ----------
    starts, counts : ndarray of shape (n_runs,), int64
        First row and length of each run.

    Returns
    -------
    ndarray of shape (counts.sum(),), int64

    Examples
    --------
    >>> span_rows(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)


def run_starts(starts: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Where a new unbroken run begins in a list of spans, shape (n_runs,); always includes 0 if there is any span.

    Examples
    --------
    >>> run_starts(np.array([0, 2, 9]), np.array([2, 3, 1])).tolist()
    [0, 2]
    """
    breaks = np.flatnonzero(starts[1:] != starts[:-1] + counts[:-1]) + 1
    return np.concatenate([[0], breaks]) if len(starts) else breaks


def row_offsets(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Running sum that begins with 0: run ``i`` of a packed array has the rows ``offsets[i]:offsets[i + 1]``."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
