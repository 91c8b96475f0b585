"""The exact heads by name: how each is fitted for many penalties at once, and what it says of other rows.

A family works in any orthonormal coordinates of the rows; :mod:`poise.heads.exact.span` has those that cost least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poise.heads.exact.one_score import fit_one_score
from poise.heads.exact.ridge import fit_cutpoints, fit_ridge_scores
from poise.heads.exact.softmax import fit_softmax
from poise.heads.exact.span import Span
from poise.heads.ordinal import proba_from_cumulative, sigmoid, softmax


class LinearModels(Protocol):
    """Models of one family over the same rows, one for each penalty."""

    def predict_proba(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (n_models, n_rows, n_levels), from rows of shape (n_rows, n_features)."""

    def lift(self, span: Span, length: float) -> LinearModels:
        """The same models for the columns that the span was made of, ``length`` times as long."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thresholds:
    """Models that say with what probability each level but the last is exceeded.

    Attributes
    ----------
    coef : ndarray of shape (n_models, n_scores, n_features), float64
        One score that the cutpoints share, or a score for each of them.
    cuts : ndarray of shape (n_models, n_levels - 1), float64
    """

    coef: NDArray[np.float64]
    cuts: NDArray[np.float64]

    def predict_proba(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`LinearModels`."""
        scores = rows @ self.coef.transpose(0, 2, 1)  # (n_models, n_rows, n_scores)
        return proba_from_cumulative(sigmoid(scores - self.cuts[:, None, :]))

    def lift(self, span: Span, length: float) -> Thresholds:
        """See :class:`LinearModels`."""
        return Thresholds(coef=span.lift(self.coef) / length, cuts=self.cuts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Logits:
    """Models of a logit for each level.

    Attributes
    ----------
    coef : ndarray of shape (n_models, n_features, n_levels), float64
    intercept : ndarray of shape (n_models, n_levels), float64
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    def predict_proba(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`LinearModels`."""
        return softmax(rows @ self.coef + self.intercept[:, None, :])

    def lift(self, span: Span, length: float) -> Logits:
        """See :class:`LinearModels`."""
        coef = span.lift(self.coef.transpose(0, 2, 1)).transpose(0, 2, 1) / length
        return Logits(coef=coef, intercept=self.intercept)


def fit_cumulative(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    n_levels: int,
    _groups: NDArray[np.generic],
) -> Thresholds:
    """Proportional odds (McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x) for several penalties.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features), float64
    ranks : ndarray of shape (n_rows,), int64
        Levels 0 .. n_levels - 1, each in a row that has a weight.
    weights : ndarray of shape (n_rows,), float64
    penalties : ndarray of shape (n_models,), float64
        Above 0.
    n_levels : int
        2 or more.
    _groups : ndarray of shape (n_rows,)
        Not used; `fit_ridge` leaves groups out.
    """
    found = fit_one_score("cumulative", rows, *_repeat(ranks, weights, len(penalties)), penalties, n_levels=n_levels)
    return Thresholds(coef=found.coef[:, None, :], cuts=found.cuts)


def fit_all_threshold(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    n_levels: int,
    _groups: NDArray[np.generic],
) -> Thresholds:
    """The logistic losses of all thresholds (Rennie, Srebro 2005), which is linear CORAL; as :func:`fit_cumulative`."""
    found = fit_one_score("all-threshold", rows, *_repeat(ranks, weights, len(penalties)), penalties, n_levels=n_levels)
    return Thresholds(coef=found.coef[:, None, :], cuts=found.cuts)


def fit_frank_hall(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    n_levels: int,
    _groups: NDArray[np.generic],
) -> Thresholds:
    """A logistic regression for each threshold (Frank, Hall 2001, doi:10.1007/3-540-44795-4_13)."""
    above = (ranks > np.arange(n_levels - 1)[:, None]).astype(np.int64)  # (n_levels - 1, n_rows)
    n_models, n_cuts = len(penalties), n_levels - 1
    found = fit_one_score(
        "cumulative",
        rows,
        np.tile(above, (n_models, 1)),
        np.broadcast_to(weights, (n_models * n_cuts, len(weights))),
        np.repeat(penalties, n_cuts),
        n_levels=2,
    )
    return Thresholds(coef=found.coef.reshape(n_models, n_cuts, -1), cuts=found.cuts.reshape(n_models, n_cuts))


def fit_multinomial(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    n_levels: int,
    _groups: NDArray[np.generic],
) -> Logits:
    """Multinomial logistic regression, as :func:`fit_cumulative`."""
    found = fit_softmax(rows, *_repeat(ranks, weights, len(penalties)), penalties, n_levels=n_levels)
    return Logits(coef=found.coef, intercept=found.intercept)


def fit_ridge(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    n_levels: int,
    groups: NDArray[np.generic],
) -> Thresholds:
    """Ridge regression on the ranks, its cutpoints learnt from groups left out; as :func:`fit_cumulative`."""
    coef, intercept, unseen = fit_ridge_scores(rows, ranks, weights, penalties, groups)
    slopes, cuts = fit_cutpoints(unseen, ranks, weights, n_levels)
    return Thresholds(coef=(slopes[:, None] * coef)[:, None, :], cuts=cuts - (slopes * intercept)[:, None])


FitLinear = Callable[
    [NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], int, NDArray[np.generic]],
    LinearModels,
]
"""From rows, ranks, weights, penalties, the number of levels and groups."""

FAMILIES: dict[str, FitLinear] = {
    "cumulative": fit_cumulative,
    "all-threshold": fit_all_threshold,
    "frank-hall": fit_frank_hall,
    "logistic": fit_multinomial,
    "ridge": fit_ridge,
}
"""Every family by the name of its head."""


def _repeat(
    ranks: NDArray[np.int64], weights: NDArray[np.float64], n_models: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    shape = (n_models, len(ranks))
    return np.broadcast_to(ranks, shape), np.broadcast_to(weights, shape)
