"""How often chance does as well: exact heads fitted to labels that were dealt again, all at once.

Folds do not look at labels and stay the same for the labels as they are and as they are dealt, the penalty is fixed
beforehand, and everything else is learnt anew from each fold's training side: scikit-learn's
``permutation_test_score(groups=...)`` exchanges labels within groups alone, which leaves separable groups as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut
from threadpoolctl import threadpool_limits

from poise.errors import SplitError
from poise.heads.exact.families import Logits, Thresholds
from poise.heads.exact.one_score import fit_one_score
from poise.heads.exact.softmax import fit_softmax
from poise.heads.exact.span import Span
from poise.heads.metrics import quadratic_kappa
from poise.heads.ordinal import decode_median
from poise.heads.scaling import Standardiser
from poise.heads.statistics.deal import count_ways, deal_labels

Family = Literal["cumulative", "all-threshold", "logistic"]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]

N_PERMUTATIONS = 1000
PENALTY = 0.1
"""For rows of unit mean square. At 1 ordinal heads say the middle level of everything, at 0.1 they find more."""

_MOST_LEFT_OUT = 20
_ONE_THREAD_BELOW = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class PermutationTest:
    """How a head does on the labels as they are and on labels dealt again.

    Attributes
    ----------
    observed : float or None
        Quadratic kappa over the out-of-fold predictions of all folds.
    null : ndarray of shape (n_defined,), float64
        The same for each deal where it is defined.
    p : float or None
        ``(1 + b) / (1 + n_permutations)`` (Phipson, Smyth 2010, doi:10.2202/1544-6115.1585), where b counts the deals
        that do at least as well, and those on which kappa is not defined.
    n_permutations, n_ways, n_folds : int
        Deals; different ones that there are, counted to a billion; folds.
    reason : str
        Why a number is None.
    """

    observed: float | None
    null: NDArray[np.float64]
    p: float | None
    n_permutations: int
    n_ways: int
    n_folds: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Numbers as JSON, the null by its middle and its 95th percentile."""
        middle, high = np.quantile(self.null, [0.5, 0.95]).tolist() if len(self.null) else (None, None)
        return {
            "observed": self.observed,
            "p": self.p,
            "null_median": middle,
            "null_high": high,
            "n_permutations": self.n_permutations,
            "n_ways": self.n_ways,
            "n_folds": self.n_folds,
            **({"reason": self.reason} if self.reason else {}),
        }


def permutation_test(
    X: NDArray[np.floating],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    groups: NDArray[np.generic],
    sources: NDArray[np.generic],
    scored: NDArray[np.bool_],
    *,
    family: Family = "cumulative",
    penalty: float = PENALTY,
    n_folds: int = 5,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> PermutationTest:
    """Whether a head finds more in the labels than in labels dealt again.

    The folds are made here (:func:`blind_folds`), as folds stratified on the labels make chance look worse than it is.

    Parameters
    ----------
    X : ndarray of shape (n_recordings, n_features)
        Pooled features, not standardised.
    ranks : ndarray of shape (n_recordings,), int64
    weights : ndarray of shape (n_recordings,), float64
        Of recordings, and not of labels: they stay where they are.
    groups : ndarray of shape (n_recordings,)
        What must not cross folds.
    sources : ndarray of shape (n_recordings,)
        What each was made from, see :func:`poise.heads.statistics.deal.deal_labels`.
    scored : ndarray of shape (n_recordings,), bool
        Which predictions count; all recordings are learnt from.
    family : {"cumulative", "all-threshold", "logistic"}
        The first two say the median level, the last one the most likely one.
    penalty : float
        For rows of unit mean square, chosen without a look at the labels.
    n_folds : int
        With more than twenty groups; else each is left out once.
    n_permutations : int
    seed : int
        Of the deals and the folds.

    Returns
    -------
    PermutationTest

    Raises
    ------
    SplitError
        There are fewer than two groups, a copy has another label or group than its source, or nothing is left to
        learn from in a fold.
    """
    ways = count_ways(ranks, groups, sources)
    folds = blind_folds(groups, n_folds=n_folds, seed=seed)
    dealt = deal_labels(ranks, groups, sources, n=n_permutations, seed=seed)
    every = np.vstack([ranks, dealt])
    n_levels = int(ranks.max()) + 1
    tables = np.zeros((len(every), n_levels, n_levels), dtype=np.int64)
    # on a hundred rows, handing work between threads takes longer than the work
    with threadpool_limits(1 if len(ranks) < _ONE_THREAD_BELOW else None):
        for train, test in folds:
            kept = test[scored[test]]
            if len(kept):
                told = _predict_fold(X, every, weights, train, kept, family, penalty, n_levels)
                tables += _count(every[:, kept], told, n_levels)
    kappa = quadratic_kappa(tables)
    observed, null = float(kappa[0]), kappa[1:][np.isfinite(kappa[1:])]
    defined = bool(np.isfinite(observed))
    passed = int(np.count_nonzero(null >= observed - 1e-12)) + n_permutations - len(null)
    return PermutationTest(
        observed=observed if defined else None,
        null=null,
        p=(1 + passed) / (1 + n_permutations) if defined else None,
        n_permutations=n_permutations,
        n_ways=ways,
        n_folds=len(folds),
        reason="" if defined else "all that is scored and all that is said of it is of one level",
    )


def blind_folds(groups: NDArray[np.generic], *, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Folds that keep groups together and know nothing of labels.

    Parameters
    ----------
    groups : ndarray of shape (n_recordings,)
    n_folds : int
        With more than twenty groups; else each is left out once.
    seed : int

    Returns
    -------
    list of (train, test)

    Raises
    ------
    SplitError
        There are fewer than two groups.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise SplitError(
            f"The {len(groups)} recordings are of {n_groups} group, so none can be held out. Expected two or more; "
            "group by another column."
        )
    if n_groups <= _MOST_LEFT_OUT:
        return list(LeaveOneGroupOut().split(groups, groups=groups))
    return list(GroupKFold(n_folds, shuffle=True, random_state=seed).split(groups, groups=groups))


def _predict_fold(
    X: NDArray[np.floating],
    every: NDArray[np.int64],
    weights: NDArray[np.float64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    family: Family,
    penalty: float,
    n_levels: int,
) -> NDArray[np.int64]:
    """Ranks of the test rows as each deal's model says, shape (n_deals, n_test)."""
    train = train[weights[train] > 0]
    if not len(train):
        raise SplitError(
            "A fold has no recording with a weight above 0 to learn from. Expected some in two groups or more; check "
            "the weights, or group by another column."
        )
    scaling = Standardiser.fit(X[train], weights[train])
    length = np.sqrt(len(scaling.kept))
    span = Span.of(scaling.transform(X[train]) / length)
    rows = span.project(scaling.transform(X[test]) / length)
    ranks, told = every[:, train], np.empty((len(every), len(test)), dtype=np.int64)
    levels = (ranks[:, :, None] == np.arange(n_levels)).any(1)  # (n_deals, n_levels)
    for present in np.unique(levels, axis=0):
        # deals whose training side has the same levels are fitted together
        some, names = np.flatnonzero((levels == present).all(1)), np.flatnonzero(present)
        if len(names) == 1:
            told[some] = names[0]
            continue
        models = _fit(family, span.train, np.searchsorted(names, ranks[some]), weights[train], penalty, len(names))
        proba = models.predict_proba(rows)
        told[some] = names[_decode(family, proba)]
    return told


def _fit(
    family: Family,
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalty: float,
    n_levels: int,
) -> Thresholds | Logits:
    """One model for each row of ranks."""
    weights, penalties = np.broadcast_to(weights, ranks.shape), np.full(len(ranks), penalty)
    if family == "logistic":
        free = fit_softmax(rows, ranks, weights, penalties, n_levels=n_levels)
        return Logits(coef=free.coef, intercept=free.intercept)
    found = fit_one_score(family, rows, ranks, weights, penalties, n_levels=n_levels)
    return Thresholds(coef=found.coef[:, None, :], cuts=found.cuts)


def _decode(family: Family, proba: NDArray[np.float64]) -> NDArray[np.int64]:
    if family == "logistic":
        return np.asarray(proba.argmax(-1))
    return decode_median(proba.reshape(-1, proba.shape[-1])).reshape(proba.shape[:-1])


def _count(ranks: NDArray[np.int64], told: NDArray[np.int64], n_levels: int) -> NDArray[np.int64]:
    """Confusion table of each deal, shape (n_deals, n_levels, n_levels)."""
    deal = np.arange(len(ranks))[:, None]
    cell = (deal * n_levels + ranks) * n_levels + told
    return np.bincount(cell.ravel(), minlength=len(ranks) * n_levels**2).reshape(-1, n_levels, n_levels)
