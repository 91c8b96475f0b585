"""How strongly to penalise: chosen on folds of the training rows that keep groups together, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.exact.families import FAMILIES
from poise.heads.exact.span import MOST_AXES, Span
from poise.heads.inner import N_FOLDS, inner_folds
from poise.heads.metrics import ranked_probability
from poise.heads.scaling import Standardiser

PENALTIES = np.geomspace(0.01, 100, 9)
"""What is tried, for rows of unit mean square."""

FALLBACK = 1.0
"""Where nothing can be held out: one group alone, or none whose absence leaves two levels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PenaltyChoice:
    """What was tried and what came of it.

    Attributes
    ----------
    penalty : float
        The choice: the largest of those whose loss is the least.
    penalties : ndarray of shape (n_penalties,), float64
    losses : ndarray of shape (n_penalties,), float64
        Weighted mean ranked probability score of held-out rows, divided by the number of levels less one; NaN where
        nothing could be held out.
    held_out : ndarray of shape (n_rows, n_levels), float64, or None
        Probabilities of held-out rows under the choice; NaN in rows that were not. None where nothing was.
    """

    penalty: float
    penalties: NDArray[np.float64]
    losses: NDArray[np.float64]
    held_out: NDArray[np.float64] | None = None


def choose_penalty(
    family: str,
    X: NDArray[np.floating],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    groups: NDArray[np.generic],
    *,
    penalties: NDArray[np.float64] = PENALTIES,
    n_folds: int = N_FOLDS,
    random_state: int = 0,
    most: int = MOST_AXES,
) -> PenaltyChoice:
    """The penalty that predicts held-out groups best.

    In each fold everything is learnt anew from its training side: which columns vary, their scale, and the models of
    all penalties at once.

    Parameters
    ----------
    family : {"cumulative", "all-threshold", "frank-hall", "logistic", "ridge"}
    X : ndarray of shape (n_rows, n_features)
        Pooled features, not standardised.
    ranks : ndarray of shape (n_rows,), int64
        Levels from 0 on, each of which is there.
    weights : ndarray of shape (n_rows,), float64
    groups : ndarray of shape (n_rows,)
        What must not stand on both sides of a fold.
    penalties : ndarray of shape (n_penalties,), float64
        Above 0, rising; for rows of unit mean square.
    n_folds : int
        Fewer if there are fewer groups.
    random_state : int
    most : int
        Principal axes that a model sees, at most.

    Returns
    -------
    PenaltyChoice
    """
    n_levels = int(ranks.max()) + 1
    held_out = np.full((len(penalties), len(ranks), n_levels), np.nan)
    for train, test in inner_folds(ranks, groups, n_folds=n_folds, random_state=random_state):
        counted = train[weights[train] > 0]
        present = np.unique(ranks[counted])
        if len(present) < 2:
            continue
        scaling = Standardiser.fit(X[counted], weights[counted])
        length = np.sqrt(len(scaling.kept))
        span = Span.of(scaling.transform(X[counted]) / length, most=most)
        own = np.searchsorted(present, ranks[counted])
        fitted = FAMILIES[family](span.train, own, weights[counted], penalties, len(present), groups[counted])
        proba = np.zeros((len(penalties), len(test), n_levels))
        proba[:, :, present] = fitted.predict_proba(span.project(scaling.transform(X[test]) / length))
        held_out[:, test] = proba
    told = np.flatnonzero(np.isfinite(held_out[0, :, 0]) & (weights > 0))
    if not len(told):
        return PenaltyChoice(penalty=FALLBACK, penalties=penalties, losses=np.full(len(penalties), np.nan))
    losses = ranked_probability(held_out[:, told], ranks[told]) @ weights[told] / weights[told].sum()
    best = int(np.flatnonzero(losses <= losses.min() * (1 + 1e-9))[-1])
    return PenaltyChoice(penalty=float(penalties[best]), penalties=penalties, losses=losses, held_out=held_out[best])
