"""Exact multinomial logistic regression, many models at once over the same rows; of two levels, the logistic one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.exact.newton import minimise

_STACK_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxStack:
    """Models whose logits are ``rows @ coef + intercept``.

    Attributes
    ----------
    coef : ndarray of shape (n_models, n_features, n_levels), float64
        Sums to 0 over the levels, as the intercepts do.
    intercept : ndarray of shape (n_models, n_levels), float64
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]


def fit_softmax(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    *,
    n_levels: int,
) -> SoftmaxStack:
    """The models that minimise the weighted cross-entropy plus ``penalty / 2`` times their squared coefficients.

    The penalty makes the coefficients of an optimum sum to 0 over the levels, so that it is sought among those alone:
    one logit less, and a curvature that can be inverted. Intercepts carry no penalty.

    Parameters
    ----------
    rows, ranks, weights, penalties, n_levels
        As in :func:`poise.heads.exact.one_score.fit_one_score`.

    Returns
    -------
    SoftmaxStack

    Raises
    ------
    StrategyError
        A model did not arrive, which happens where weights or penalties differ by more than float64 holds.
    """
    wide = np.hstack([rows, np.ones((len(rows), 1))])  # the last column's coefficients are the intercepts
    contrasts = _contrasts(n_levels)
    n_columns, n_free = wide.shape[1], n_levels - 1
    params = np.zeros((len(ranks), n_free, n_columns))
    params[:, :, -1] = _prior_logits(ranks, weights, n_levels) @ contrasts
    per_model = 8 * (n_free * wide.size + (n_free * n_columns) ** 2 + 8 * len(rows) * n_levels)
    size = max(1, _STACK_BYTES // per_model)
    for first in range(0, len(ranks), size):
        part = slice(first, first + size)
        stack = _Stack(wide, ranks[part], weights[part], penalties[part], contrasts)
        minimise(stack, params[part].reshape(-1, n_free * n_columns), scale=weights[part].sum(1))
    logits = np.einsum("mfd,lf->mdl", params, contrasts)  # (n_models, n_columns, n_levels)
    return SoftmaxStack(coef=logits[:, :-1], intercept=logits[:, -1])


def _contrasts(n_levels: int) -> NDArray[np.float64]:
    """Orthonormal columns that sum to 0, shape (n_levels, n_levels - 1)."""
    full = np.linalg.qr(np.hstack([np.ones((n_levels, 1)), np.eye(n_levels)[:, :-1]]))[0]
    return np.asarray(full[:, 1:])


def _prior_logits(ranks: NDArray[np.int64], weights: NDArray[np.float64], n_levels: int) -> NDArray[np.float64]:
    mass = np.stack([np.where(ranks == level, weights, 0.0).sum(1) for level in range(n_levels)], axis=1)
    return np.asarray(np.log(mass / mass.sum(1, keepdims=True)))


class _Stack:
    """Parameters of a model are the coefficients of its free logits, one logit after the other."""

    def __init__(
        self,
        wide: NDArray[np.float64],
        ranks: NDArray[np.int64],
        weights: NDArray[np.float64],
        penalties: NDArray[np.float64],
        contrasts: NDArray[np.float64],
    ) -> None:
        self._wide = wide
        self._ranks = ranks
        self._weights = weights
        self._contrasts = contrasts
        self._penalties = np.repeat(penalties[:, None], wide.shape[1], axis=1)  # (n_models, n_columns)
        self._penalties[:, -1] = 0

    def loss(self, problems: NDArray[np.int64], params: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`poise.heads.exact.newton.Stack`."""
        coef = self._shaped(params)
        log_proba = self._log_proba(coef)
        own = np.take_along_axis(log_proba, self._ranks[problems][..., None], axis=2)[..., 0]
        square = (self._penalties[problems][:, None] * coef**2).sum((1, 2))
        return np.asarray(square / 2 - (self._weights[problems] * own).sum(1))

    def derivatives(
        self, problems: NDArray[np.int64], params: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See :class:`poise.heads.exact.newton.Stack`."""
        wide, weights, penalties = self._wide, self._weights[problems], self._penalties[problems]
        coef, contrasts = self._shaped(params), self._contrasts
        proba = np.exp(self._log_proba(coef))  # (n_models, n_rows, n_levels)
        truth = self._ranks[problems][..., None] == np.arange(proba.shape[2])
        slope = (weights[..., None] * (proba - truth)) @ contrasts  # (n_models, n_rows, n_free)
        gradient = slope.transpose(0, 2, 1) @ wide + penalties[:, None] * coef
        n_free, n_columns = coef.shape[1:]
        curvature = np.zeros((len(params), n_free, n_columns, n_free, n_columns))
        mean = proba @ contrasts
        for i in range(n_free):
            for j in range(i + 1):
                bend = proba @ (contrasts[:, i] * contrasts[:, j]) - mean[..., i] * mean[..., j]
                block = wide.T @ ((weights * bend)[..., None] * wide)  # (n_models, n_columns, n_columns)
                curvature[:, i, :, j] = curvature[:, j, :, i] = block
            curvature[:, i, np.arange(n_columns), i, np.arange(n_columns)] += penalties
        flat = params.shape
        return gradient.reshape(flat), curvature.reshape(*flat, flat[1])

    def _shaped(self, params: NDArray[np.float64]) -> NDArray[np.float64]:
        return params.reshape(len(params), -1, self._wide.shape[1])  # (n_models, n_free, n_columns)

    def _log_proba(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = self._wide @ coef.transpose(0, 2, 1) @ self._contrasts.T  # (n_models, n_rows, n_levels)
        shifted = logits - logits.max(axis=2, keepdims=True)
        return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True)))
