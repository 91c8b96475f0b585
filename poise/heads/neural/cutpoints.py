"""From the score of a regression to probabilities: a slope and cutpoints, learnt where the score was not fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.exact.ridge import fit_cutpoints
from poise.heads.ordinal import proba_from_cumulative, sigmoid
from poise.heads.state import get_array


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutpoints:
    """Level k is exceeded with the probability ``sigmoid(slope * score - cuts[k])``.

    Attributes
    ----------
    slope : float
        From 0 on.
    cuts : ndarray of shape (n_classes - 1,), float64
        Rising.
    """

    slope: float
    cuts: NDArray[np.float64]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_classes: int) -> Cutpoints:
        """Rebuild from what `arrays` gave."""
        slope, cuts = get_array(arrays, "slope", (1,)), get_array(arrays, "cuts", (n_classes - 1,))
        if slope[0] < 0 or (np.diff(cuts) < 0).any():
            raise BundleError(
                f"The model's cutpoints are {cuts.tolist()} with the slope {slope[0]}, expected rising ones and a "
                "slope from 0 on. Train it again."
            )
        return cls(slope=float(slope[0]), cuts=cuts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"slope": np.array([self.slope]), "cuts": self.cuts}

    def decode(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (..., n_classes) from scores of shape (...)."""
        return proba_from_cumulative(sigmoid(self.slope * scores[..., None] - self.cuts))


def fit_cutpoints_of(
    scores: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64], n_classes: int
) -> list[Cutpoints]:
    """Cutpoints for each of several scores of the same recordings, see `poise.heads.exact.ridge.fit_cutpoints`.

    Parameters
    ----------
    scores : ndarray of shape (n_scores, n_recordings), float64
    ranks : ndarray of shape (n_recordings,), int64
        Each level is there.
    weights : ndarray of shape (n_recordings,), float64
        Above 0.
    n_classes : int
    """
    slopes, cuts = fit_cutpoints(scores, ranks, weights, n_classes)
    return [Cutpoints(slope=slope, cuts=own) for slope, own in zip(slopes.tolist(), cuts, strict=True)]
