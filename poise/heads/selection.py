"""Clip selection: which clips of a recording a head sees. Nothing is learnt here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.store.bags import ModalityBags

_SHORTER_S = 1e-3  # container timestamps are rounded to milliseconds


def select_clips(clips: ModalityBags, selection: str) -> ModalityBags:
    """Some clips of every recording, in order of time.

    Parameters
    ----------
    clips : ModalityBags
    selection : str
        ``all``; ``first:N``, the first N; ``spread:N``, N spread evenly from the first to the last (the middle one for
        one); ``full:N``, the same of the full windows alone, so that a shorter clip at the end goes first;
        ``longest`` or ``longest:N``, those that last longest, the earlier one of two alike. A recording that has no
        more than N clips keeps all.

    Returns
    -------
    ModalityBags
    """
    if selection == "all":
        return clips
    name, _, number = selection.partition(":")
    n = int(number or 1)
    picked = [
        start + _pick(name, n, clips.clip_times[start:stop])
        for start, stop in zip(clips.offsets[:-1], clips.offsets[1:], strict=True)
    ]
    rows = np.concatenate(picked) if picked else np.zeros(0, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in picked])]).astype(np.int64)
    return ModalityBags(values=clips.values[rows], offsets=offsets, clip_times=clips.clip_times[rows])


def _spread(n: int, count: int) -> NDArray[np.int64]:
    """``n`` of ``count`` places: as many whole steps between neighbours as fit, symmetric around the middle."""
    return np.round(np.linspace(0, count - 1, n) if n > 1 else [(count - 1) / 2]).astype(np.int64)


def _pick(name: str, n: int, times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the clips that are kept, rising."""
    count = len(times)
    if count <= n or name == "first":
        return np.arange(min(n, count))
    if name == "spread":
        return _spread(n, count)
    lengths = np.round(times[:, 1] - times[:, 0], 6)
    if name == "full":
        full = np.flatnonzero(~(lengths < np.nanmax(lengths, initial=0.0) - _SHORTER_S))  # unknown ones count as full
        return full[_spread(min(n, len(full)), len(full))]
    return np.sort(np.argsort(-np.nan_to_num(lengths), kind="stable")[:n])
