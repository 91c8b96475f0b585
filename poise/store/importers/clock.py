"""When the clips of a recording begin and end, from what a table says of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError


def clip_times(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start and end of each clip.

    Parameters
    ----------
    columns : ndarray of shape (n_clips, 0), (n_clips, 1) or (n_clips, 2), float64
        Nothing, the starts, or starts and ends in seconds, all finite.

    Returns
    -------
    ndarray of shape (n_clips, 2), float64
        NaN where nothing is known. Of starts alone each clip ends where the next one begins; the last one is as long
        as the one before, and the end of an only clip is not known.

    Raises
    ------
    ImportFormatError
        A clip ends before it begins, or starts alone do not ascend.

    Examples
    --------
    >>> clip_times(np.array([[0.0], [2.0], [5.0]])).tolist()
    [[0.0, 2.0], [2.0, 5.0], [5.0, 8.0]]
    """
    times = np.full((len(columns), 2), np.nan)
    times[:, : columns.shape[1]] = columns
    if columns.shape[1] == 2:
        wrong = np.flatnonzero(times[:, 1] < times[:, 0])
        if len(wrong):
            start, end = times[wrong[0]]
            raise ImportFormatError(f"clip {wrong[0] + 1} ends at {end} s, before it begins at {start} s")
    elif columns.shape[1] == 1 and len(columns) > 1:
        lengths = np.diff(times[:, 0])
        if (lengths <= 0).any():
            row = int(np.argmax(lengths <= 0))
            raise ImportFormatError(
                f"clip {row + 2} starts at {times[row + 1, 0]} s, not after the one before, at {times[row, 0]} s; sort "
                "by start, or give an end_column too"
            )
        times[:, 1] = times[:, 0] + np.append(lengths, lengths[-1])
        times[:-1, 1] = times[1:, 0]
    return times
