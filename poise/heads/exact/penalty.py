"""How strongly to penalise: chosen on folds of the training rows that keep groups together, and on nothing else."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from poise.heads.exact.families import FAMILIES
from poise.heads.exact.span import Span
from poise.heads.metrics import ranked_probability
from poise.heads.scaling import Standardiser

PENALTIES = np.geomspace(0.01, 100, 9)
"""What is tried, for rows of unit mean square."""

FALLBACK = 1.0
"""Where nothing can be held out: one group alone, or none whose absence leaves two levels."""

N_FOLDS = 4


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
    """

    penalty: float
    penalties: NDArray[np.float64]
    losses: NDArray[np.float64]


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
) -> PenaltyChoice:
    """The penalty that predicts held-out groups best.

    In each fold everything is learnt anew from its training side: which columns vary, their scale, and the models of
    all penalties at once.

    Parameters
    ----------
    family : {"cumulative", "all-threshold", "frank-hall", "logistic"}
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

    Returns
    -------
    PenaltyChoice
    """
    n_levels = int(ranks.max()) + 1
    total, mass = np.zeros(len(penalties)), 0.0
    for train, test in inner_folds(ranks, groups, n_folds=n_folds, random_state=random_state):
        counted = train[weights[train] > 0]
        present = np.unique(ranks[counted])
        if len(present) < 2:
            continue
        scaling = Standardiser.fit(X[counted], weights[counted])
        length = np.sqrt(len(scaling.kept))
        span = Span.of(scaling.transform(X[counted]) / length)
        fitted = FAMILIES[family](
            span.train, np.searchsorted(present, ranks[counted]), weights[counted], penalties, len(present)
        )
        proba = np.zeros((len(penalties), len(test), n_levels))
        proba[:, :, present] = fitted.predict_proba(span.project(scaling.transform(X[test]) / length))
        total += (ranked_probability(proba, ranks[test]) * weights[test]).sum(1)
        mass += weights[test].sum()
    if not mass:
        return PenaltyChoice(penalty=FALLBACK, penalties=penalties, losses=np.full(len(penalties), np.nan))
    losses = total / mass
    best = np.flatnonzero(losses <= losses.min() * (1 + 1e-9))[-1]
    return PenaltyChoice(penalty=float(penalties[best]), penalties=penalties, losses=losses)


def inner_folds(
    ranks: NDArray[np.int64], groups: NDArray[np.generic], *, n_folds: int, random_state: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows of each fold, groups kept together and levels spread as evenly as that allows.

    None with fewer than two groups. A fold that came out without test rows is left out.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return []
    n = min(n_folds, n_groups)
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=random_state)
    if np.bincount(ranks).max() < n:  # scikit-learn refuses to stratify fewer rows of every level than folds
        splitter = GroupKFold(n, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # it need not be in every fold
        return [(train, test) for train, test in splitter.split(ranks, ranks, groups) if len(test) and len(train)]
