"""Poolings that learn nothing: the clips of each recording become one vector, over packed ragged clips.

Attention pooling is learnt with a head and lives in `poise.heads.neural`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from poise.store.bags import ModalityBags

_CHUNK_CELLS = 1 << 23


def pool(clips: ModalityBags, pooling: str) -> ModalityBags:
    """One vector for each recording that has clips.

    Parameters
    ----------
    clips : ModalityBags
        Values of shape (n_clips_total, [n_layers,] dim).
    pooling : {"mean", "mean-std", "max"}

    Returns
    -------
    ModalityBags
        Values of shape (n_present, [n_layers,] dim), float64, or twice the dim for ``mean-std``; a recording without
        clips stays empty.
    """
    reduce = POOLERS[pooling]
    full = np.flatnonzero(clips.present)
    counts = clips.n_clips[full]
    starts, offsets = clips.offsets[:-1][full], np.concatenate([[0], np.cumsum(clips.present)]).astype(np.int64)
    n_wide = clips.dim * (2 if pooling == "mean-std" else 1)
    pooled = np.empty((len(full), *clips.values.shape[1:-1], n_wide))
    times = np.column_stack([clips.clip_times[starts, 0], clips.clip_times[starts + counts - 1, 1]])
    # a recording at a time may be many gigabytes less than all at once
    cells = np.concatenate([[0], np.cumsum(counts)]) * int(np.prod(clips.values.shape[1:]))
    first = 0
    while first < len(full):
        last = max(first + 1, int(np.searchsorted(cells, cells[first] + _CHUNK_CELLS, side="right")) - 1)
        rows = clips.values[starts[first] : starts[last - 1] + counts[last - 1]]
        pooled[first:last] = reduce(rows, np.append(starts[first:last] - starts[first], len(rows)))
        first = last
    return ModalityBags(values=pooled, offsets=offsets, clip_times=times)


def pool_mean(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the clips of each recording.

    Parameters
    ----------
    values : ndarray of shape (n_clips_total, [n_layers,] dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
        No recording is empty.

    Returns
    -------
    ndarray of shape (n_recordings, [n_layers,] dim), float64
    """
    counts = np.diff(offsets).reshape(-1, *[1] * (values.ndim - 1))
    return np.add.reduceat(values, offsets[:-1], axis=0, dtype=np.float64) / counts  # (n_recordings, dim)


def pool_mean_std(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean and standard deviation over the clips of each recording, side by side.

    The deviation is the population's (divided by n), so that of a single clip is exactly 0.

    Parameters
    ----------
    values : ndarray of shape (n_clips_total, [n_layers,] dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
        No recording is empty.

    Returns
    -------
    ndarray of shape (n_recordings, [n_layers,] 2 * dim), float64
    """
    mean = pool_mean(values, offsets)
    deviations = values - np.repeat(mean, np.diff(offsets), axis=0)  # (n_clips_total, dim)
    return np.concatenate([mean, np.sqrt(pool_mean(deviations**2, offsets))], axis=-1)  # (n_recordings, 2 * dim)


def pool_max(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest value of each column over the clips of each recording.

    Parameters
    ----------
    values : ndarray of shape (n_clips_total, [n_layers,] dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
        No recording is empty.

    Returns
    -------
    ndarray of shape (n_recordings, [n_layers,] dim), float64
    """
    return np.maximum.reduceat(values, offsets[:-1], axis=0).astype(np.float64)


POOLERS: dict[str, Callable[[NDArray[np.floating], NDArray[np.int64]], NDArray[np.float64]]] = {
    "mean": pool_mean,
    "mean-std": pool_mean_std,
    "max": pool_max,
}
"""Every pooling that learns nothing by name."""
