"""Calibration: one temperature that makes probabilities as sure as they are right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

LOWEST, HIGHEST = 0.25, 8.0
"""A temperature stays between these: a few recordings may ask for anything."""

_TINY = 1e-12


def fit_temperature(proba: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """The temperature with the least weighted log-loss (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64
        Of recordings that the model has not seen.
    ranks : ndarray of shape (n_recordings,), int64
    weights : ndarray of shape (n_recordings,), float64

    Returns
    -------
    float
        Between 0.25 and 8; above 1 it softens.
    """
    rows = np.arange(len(ranks))

    def loss(log_temperature: float) -> float:
        softened = apply_temperature(proba, float(np.exp(log_temperature)))
        return float(-weights @ np.log(np.maximum(softened[rows, ranks], _TINY)))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply_temperature(proba: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities to the power of ``1 / temperature``, which sum to 1 again.

    Parameters
    ----------
    proba : ndarray of shape (..., n_classes), float64
    temperature : float
        1 changes no bit.
    """
    if temperature == 1:
        return proba
    logits = np.log(np.maximum(proba, _TINY)) / temperature
    softened = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softened = np.where(proba > 0, softened, 0.0)
    return np.asarray(softened / softened.sum(axis=-1, keepdims=True))
