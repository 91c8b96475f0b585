"""Poolings that learn nothing: the clips of each recording become one vector, over packed ragged clips.

Attention pooling is learnt with a head and lives in `poise.heads.neural`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.store.bags import ModalityBags


def pool(clips: ModalityBags, pooling: str) -> NDArray[np.float64]:
    """One vector for each recording.

    Parameters
    ----------
    clips : ModalityBags
        Every recording has at least one clip.
    pooling : {"mean", "mean-std"}

    Returns
    -------
    ndarray of shape (n_recordings, dim) or (n_recordings, 2 * dim), float64

    Raises
    ------
    StrategyError
        A recording has no clips, or the pooling is not one of these.
    """
    if not clips.present.all():
        raise StrategyError(
            f"{np.count_nonzero(~clips.present)} of {len(clips)} recordings have no clips to pool. "
            "Leave them out first."
        )
    match pooling:
        case "mean":
            return pool_mean(clips.values, clips.offsets)
        case "mean-std":
            return pool_mean_std(clips.values, clips.offsets)
    raise StrategyError(f"Pooling {pooling!r} is not one that learns nothing. Known: mean, mean-std.")


def pool_mean(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the clips of each recording.

    Parameters
    ----------
    values : ndarray of shape (n_clips_total, dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
        No recording is empty.

    Returns
    -------
    ndarray of shape (n_recordings, dim), float64
    """
    counts = np.diff(offsets)[:, None]
    return np.add.reduceat(values, offsets[:-1], axis=0, dtype=np.float64) / counts  # (n_recordings, dim)


def pool_mean_std(values: NDArray[np.floating], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean and standard deviation over the clips of each recording, side by side.

    The deviation is the population's (divided by n), so that of a single clip is exactly 0.

    Parameters
    ----------
    values : ndarray of shape (n_clips_total, dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
        No recording is empty.

    Returns
    -------
    ndarray of shape (n_recordings, 2 * dim), float64
    """
    mean = pool_mean(values, offsets)
    deviations = values - np.repeat(mean, np.diff(offsets), axis=0)  # (n_clips_total, dim)
    return np.hstack([mean, np.sqrt(pool_mean(deviations**2, offsets))])  # (n_recordings, 2 * dim)
