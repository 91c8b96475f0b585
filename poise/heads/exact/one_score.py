"""Exact ordinal models of one linear score: proportional odds and all thresholds, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.exact.links import Link, differentiate, row_losses
from poise.heads.exact.newton import minimise

_STACK_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreStack:
    """Models of one score ``rows @ coef`` and rising cutpoints.

    Attributes
    ----------
    coef : ndarray of shape (n_models, n_features), float64
    cuts : ndarray of shape (n_models, n_levels - 1), float64
    """

    coef: NDArray[np.float64]
    cuts: NDArray[np.float64]


def fit_one_score(
    link: Link,
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    *,
    n_levels: int,
) -> ScoreStack:
    """The models that minimise the weighted loss plus ``penalty / 2`` times the squared length of their coefficients.

    Cutpoints carry no penalty. Both losses are convex (Pratt 1981, doi:10.1080/01621459.1981.10477619), so that there
    is one optimum and damped Newton steps reach it from anywhere.

    Parameters
    ----------
    link : {"cumulative", "all-threshold"}
        Loss of a row.
    rows : ndarray of shape (n_rows, n_features) or (n_models, n_rows, n_features), float64
        The same for all models, or each one's own.
    ranks : ndarray of shape (n_models, n_rows), int64
        Levels 0 .. n_levels - 1; in every model each is there in a row that has a weight.
    weights : ndarray of shape (n_models, n_rows), float64
        From 0 on.
    penalties : ndarray of shape (n_models,), float64
        Above 0.
    n_levels : int
        2 or more.

    Returns
    -------
    ScoreStack

    Raises
    ------
    StrategyError
        A model did not arrive, which happens where weights or penalties differ by more than float64 holds.
    """
    n_rows, n_features = rows.shape[-2:]
    params = np.zeros((len(ranks), n_features + n_levels - 1))
    params[:, n_features:] = prior_cuts(ranks, weights, n_levels)
    per_model = 8 * (n_rows * n_features + (n_features + n_levels) ** 2 + 8 * n_rows * n_levels)
    size = max(1, _STACK_BYTES // per_model)
    for first in range(0, len(ranks), size):
        part = slice(first, first + size)
        own = rows if rows.ndim == 2 else rows[part]
        stack = _Stack(link, own, ranks[part], weights[part], penalties[part])
        minimise(stack, params[part], scale=weights[part].sum(1))
    return ScoreStack(coef=params[:, :n_features], cuts=params[:, n_features:])


def prior_cuts(ranks: NDArray[np.int64], weights: NDArray[np.float64], n_levels: int) -> NDArray[np.float64]:
    """Cutpoints that say the label distribution where the score is 0, shape (n_models, n_levels - 1)."""
    mass = np.stack([np.where(ranks == level, weights, 0.0).sum(1) for level in range(n_levels)], axis=1)
    below = np.cumsum(mass, axis=1)[:, :-1]  # (n_models, n_levels - 1)
    return np.asarray(np.log(below) - np.log(mass.sum(1, keepdims=True) - below))


class _Stack:
    """Parameters of a model are its coefficients and then its cutpoints."""

    def __init__(
        self,
        link: Link,
        rows: NDArray[np.float64],
        ranks: NDArray[np.int64],
        weights: NDArray[np.float64],
        penalties: NDArray[np.float64],
    ) -> None:
        self._link = link
        self._rows = rows
        self._ranks = ranks
        self._weights = weights
        self._penalties = penalties

    def loss(self, problems: NDArray[np.int64], params: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`poise.heads.exact.newton.Stack`."""
        rows = self._rows_of(problems)
        coef, cuts = np.split(params, [rows.shape[-1]], axis=1)
        each = row_losses(self._link, _score(rows, coef), cuts, self._ranks[problems])
        weights = self._weights[problems]
        # a row that counts for nothing must not make an infinite loss undefined
        counted = np.where(weights > 0, weights * each, 0.0)
        return np.asarray(counted.sum(1) + self._penalties[problems] / 2 * (coef**2).sum(1))

    def derivatives(
        self, problems: NDArray[np.int64], params: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`poise.heads.exact.newton.Stack`."""
        rows, weights, penalties = self._rows_of(problems), self._weights[problems], self._penalties[problems]
        n, across = rows.shape[-1], np.swapaxes(rows, -1, -2)
        coef, cuts = np.split(params, [n], axis=1)
        found = differentiate(self._link, _score(rows, coef), cuts, self._ranks[problems])
        gradient = np.empty_like(params)
        gradient[:, :n] = _score(across, weights * found.score) + penalties[:, None] * coef
        gradient[:, n:] = (weights[..., None] * found.cut).sum(1)
        curvature = np.empty((*params.shape, params.shape[1]))
        bend = weights * found.score_score
        curvature[:, :n, :n] = across @ (bend[:, :, None] * rows)  # (n_models, n_features, n_features)
        curvature[:, np.arange(n), np.arange(n)] += penalties[:, None]
        curvature[:, :n, n:] = across @ (weights[..., None] * found.score_cut)
        curvature[:, n:, :n] = curvature[:, :n, n:].transpose(0, 2, 1)
        curvature[:, n:, n:] = _between_cuts((weights[..., None, None] * found.cut_cut).sum(1))
        return gradient, curvature

    def _rows_of(self, problems: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._rows if self._rows.ndim == 2 else self._rows[problems]


def _score(rows: NDArray[np.float64], coef: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the last axis of rows that models share or that each has for itself, shape (n_models, n_rows)."""
    if rows.ndim == 2:
        return np.asarray(coef @ rows.T)
    return np.asarray((rows @ coef[..., None])[..., 0])


def _between_cuts(second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric matrix (n_models, n_cuts, n_cuts) whose diagonals are given as (n_models, n_cuts, 2)."""
    k = np.arange(second.shape[1])
    full = np.zeros((*second.shape[:2], len(k)))
    full[:, k, k] = second[:, :, 0]
    full[:, k[:-1], k[1:]] = full[:, k[1:], k[:-1]] = second[:, :-1, 1]
    return full
