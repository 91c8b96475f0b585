"""Losses of one score and some cutpoints, with their derivatives: proportional odds and all thresholds.

A level k is exceeded where the score lies above the cutpoint k. Everything is over stacks of models and per row of
training data; the sum over rows, penalties and the search for the optimum are for :mod:`poise.heads.exact.newton`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.heads.ordinal import sigmoid

Link = Literal["cumulative", "all-threshold"]


class Derivatives(NamedTuple):
    """Of the loss of each row, with respect to its score and to the cutpoints.

    Attributes
    ----------
    score, score_score : ndarray of shape (n_models, n_rows)
        First and second derivative by the score.
    cut : ndarray of shape (n_models, n_rows, n_cuts)
        First derivative by each cutpoint.
    score_cut : ndarray of shape (n_models, n_rows, n_cuts)
        Mixed second derivative.
    cut_cut : ndarray of shape (n_models, n_rows, n_cuts, 2)
        Second derivative by a cutpoint twice, and by it and the one after.
    """

    score: NDArray[np.float64]
    score_score: NDArray[np.float64]
    cut: NDArray[np.float64]
    score_cut: NDArray[np.float64]
    cut_cut: NDArray[np.float64]


def row_losses(
    link: Link, score: NDArray[np.float64], cuts: NDArray[np.float64], ranks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Minus the logarithm of the likelihood of each row.

    Parameters
    ----------
    link : {"cumulative", "all-threshold"}
        Proportional odds (McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x), or the sum of the logistic losses of
        all thresholds (Rennie, Srebro 2005), which is CORAL's loss for a linear score.
    score : ndarray of shape (n_models, n_rows)
    cuts : ndarray of shape (n_models, n_cuts)
        Rising.
    ranks : ndarray of shape (n_models, n_rows), int64
        Levels 0 .. n_cuts.

    Returns
    -------
    ndarray of shape (n_models, n_rows)
        Infinite where cutpoints do not rise.
    """
    if link == "all-threshold":
        signed = np.where(_exceeded(ranks, cuts), -1.0, 1.0) * (cuts[:, None, :] - score[:, :, None])
        return np.logaddexp(0, -signed).sum(-1)
    upper, lower = _bounds(score, cuts, ranks)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.where(upper > lower, np.log(-np.expm1(np.minimum(lower - upper, 0.0))), -np.inf)
    return np.logaddexp(0, -upper) + np.logaddexp(0, lower) - inside


def differentiate(
    link: Link, score: NDArray[np.float64], cuts: NDArray[np.float64], ranks: NDArray[np.int64]
) -> Derivatives:
    """Derivatives of :func:`row_losses`, with the same parameters."""
    return _DERIVATIVES[link](score, cuts, ranks)


def _exceeded(ranks: NDArray[np.int64], cuts: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ranks[:, :, None] > np.arange(cuts.shape[1])


def _bounds(
    score: NDArray[np.float64], cuts: NDArray[np.float64], ranks: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the cutpoints above and below each row's level are above its score; infinite at the ends."""
    edge = np.full((len(cuts), 1), np.inf)
    fence = np.concatenate([-edge, cuts, edge], axis=1)  # (n_models, n_cuts + 2)
    return (
        np.take_along_axis(fence, ranks + 1, axis=1) - score,
        np.take_along_axis(fence, ranks, axis=1) - score,
    )


def _all_threshold(score: NDArray[np.float64], cuts: NDArray[np.float64], ranks: NDArray[np.int64]) -> Derivatives:
    below = sigmoid(cuts[:, None, :] - score[:, :, None])  # (n_models, n_rows, n_cuts)
    slope = below - ~_exceeded(ranks, cuts)
    curve = below * (1 - below)
    return Derivatives(
        score=-slope.sum(-1),
        score_score=curve.sum(-1),
        cut=slope,
        score_cut=-curve,
        cut_cut=np.stack([curve, np.zeros_like(curve)], axis=-1),
    )


def _cumulative(score: NDArray[np.float64], cuts: NDArray[np.float64], ranks: NDArray[np.int64]) -> Derivatives:
    upper, lower = _bounds(score, cuts, ranks)
    with np.errstate(over="ignore", invalid="ignore"):
        # 1 / (exp(upper - lower) - 1): how fast the share between two cutpoints vanishes as they meet
        narrow = 1 / np.expm1(upper - lower)
    narrow = np.where(np.isfinite(upper) & np.isfinite(lower), narrow, 0.0)
    passed, held = sigmoid(upper), sigmoid(lower)
    curve_up, curve_low = passed * (1 - passed), held * (1 - held)
    meet = narrow * (1 + narrow)
    k = np.arange(cuts.shape[1])
    is_upper = (ranks[:, :, None] == k).astype(np.float64)  # (n_models, n_rows, n_cuts)
    is_lower = (ranks[:, :, None] == k + 1).astype(np.float64)
    both = is_lower * np.roll(is_upper, -1, axis=-1)
    both[..., -1] = 0
    return Derivatives(
        score=(1 - passed) - held,
        score_score=curve_up + curve_low,
        cut=is_upper * (passed - 1 - narrow)[..., None] + is_lower * (held + narrow)[..., None],
        score_cut=-is_upper * curve_up[..., None] - is_lower * curve_low[..., None],
        cut_cut=np.stack(
            [
                is_upper * (curve_up + meet)[..., None] + is_lower * (curve_low + meet)[..., None],
                -both * meet[..., None],
            ],
            axis=-1,
        ),
    )


_DERIVATIVES: dict[Link, Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]], Derivatives]] = {
    "cumulative": _cumulative,
    "all-threshold": _all_threshold,
}
