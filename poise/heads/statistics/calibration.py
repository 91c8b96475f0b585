"""Whether probabilities are what they say, and one number that makes them so: a temperature."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.metrics import N_BINS, bin_confidence

LOWEST, HIGHEST = 0.25, 8.0
"""Bounds of the temperature: with few recordings the best one may be 0 or infinity."""

_STEPS = 60
_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Predictions whose probability lies in ``(low, high]``; the first bin holds 0 too.

    Attributes
    ----------
    low, high : float
    n : int
    confidence, accuracy : float or None
        Mean probability of the predicted level, and how often it is right; None in an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How sure predictions are against how often they are right.

    Attributes
    ----------
    bins : tuple of ReliabilityBin
        Ten of equal width.
    ece : float or None
        Expected calibration error: the mean gap, bins weighted by their predictions; None where nothing is scored.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: float | None

    def to_json(self) -> dict[str, Any]:
        """Bins and error as JSON."""
        return {"bins": [asdict(one) for one in self.bins], "ece": self.ece}


def tabulate_reliability(
    ranks: NDArray[np.int64], predicted: NDArray[np.int64], proba: NDArray[np.float64]
) -> Reliability:
    """Reliability table and expected calibration error (Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602).

    Parameters
    ----------
    ranks : ndarray of shape (n_recordings,), int64
    predicted : ndarray of shape (..., n_recordings), int64
        Of one repeat or of several, which are put together.
    proba : ndarray of shape (..., n_recordings, n_classes), float64

    Returns
    -------
    Reliability
    """
    every = np.broadcast_to(ranks, predicted.shape).ravel()
    n, sure, right = bin_confidence(every, predicted.ravel(), proba.reshape(len(every), proba.shape[-1]))
    bins = tuple(
        ReliabilityBin(
            low=number / N_BINS,
            high=(number + 1) / N_BINS,
            n=int(n[number]),
            confidence=float(sure[number] / n[number]) if n[number] else None,
            accuracy=float(right[number] / n[number]) if n[number] else None,
        )
        for number in range(N_BINS)
    )
    return Reliability(bins=bins, ece=float(np.abs(sure - right).sum() / n.sum()) if n.any() else None)


def fit_temperature(
    proba: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> float:
    """The temperature under which held-out labels are least surprising.

    The weighted log-loss is convex in ``1 / T``, so its slope is followed to 0 by halving.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64
        Of recordings that the model has not learnt from: inner folds of a training side, never a scored fold.
    ranks : ndarray of shape (n_recordings,), int64
    weights : ndarray of shape (n_recordings,), float64, optional

    Returns
    -------
    float
        From 0.25 to 8; 1 where nothing speaks for another one. A recording whose level has the probability 0, which
        no temperature changes, has no say.

    References
    ----------
    Guo et al. (2017). On calibration of modern neural networks. arXiv:1706.04599
    """
    own = proba[np.arange(len(ranks)), ranks]
    weights = np.where(own > 0, 1.0 if weights is None else weights, 0.0)
    logs = np.log(np.maximum(proba, _TINY))
    told = np.log(np.maximum(own, _TINY))

    def slope(inverse: float) -> float:
        """Derivative of the loss by 1 / T."""
        tempered = apply_temperature(proba, 1 / inverse)
        return float(weights @ ((tempered * logs).sum(1) - told))

    cold, hot = 1 / LOWEST, 1 / HIGHEST
    if not weights.any() or abs(slope(cold)) + abs(slope(hot)) <= 1e-12 * weights.sum():
        return 1.0
    if slope(cold) <= 0 or slope(hot) >= 0:
        return LOWEST if slope(cold) <= 0 else HIGHEST
    for _ in range(_STEPS):
        middle = (cold + hot) / 2
        cold, hot = (middle, hot) if slope(middle) > 0 else (cold, middle)
    return 2 / (cold + hot)


def apply_temperature(proba: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities to the power of ``1 / temperature``, each row divided by its sum.

    The most likely level stays the most likely, and a level with the probability 0 keeps it; the median level may move.

    Parameters
    ----------
    proba : ndarray of shape (..., n_classes), float64
    temperature : float
        Above 1 makes less sure, below 1 surer.

    Returns
    -------
    ndarray of shape (..., n_classes), float64
    """
    # divided by the largest, so that no row vanishes
    raised = (proba / proba.max(axis=-1, keepdims=True)) ** (1 / temperature)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
