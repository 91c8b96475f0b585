"""When in a recording a prediction came from: the shares of clips, of several modalities on one line of time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from poise.store.bags import Bags

Timeline = list[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""For each recording the spans of its clips, shape (n_clips, 2), and their shares, shape (n_clips,)."""

_DIGITS = 3


def merge_shares(clips: Bags, shares: Mapping[str, NDArray[np.float64]]) -> Timeline:
    """The clips of each recording in order of time, and what each counts over all blocks.

    Parameters
    ----------
    clips : Bags
        What a head sees, as `poise.heads.inputs.see_clips` gives it.
    shares : mapping of str to ndarray of shape (n_clips_total,), float64
        Of each block; over all blocks those of a recording sum to 1.
    """
    found = []
    for row in range(len(clips)):
        spans, counts = [], []
        for name, share in shares.items():
            block = clips.modalities[name]
            own = slice(block.offsets[row], block.offsets[row + 1])
            spans.append(block.clip_times[own])
            counts.append(share[own])
        found.append(_merge(np.concatenate(spans), np.concatenate(counts), sum(len(one) > 0 for one in spans)))
    return found


def _merge(
    spans: NDArray[np.float64], shares: NDArray[np.float64], n_blocks: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if n_blocks < 2 or np.isnan(spans).any():
        return spans, shares
    ticks = np.round(spans, _DIGITS)
    merged, place = np.unique(ticks, axis=0, return_inverse=True)
    return merged, np.bincount(place.ravel(), weights=shares, minlength=len(merged)).astype(np.float64)
