"""Cross-validation: out-of-fold predictions, where nothing is learnt outside the training side of a fold.

Scores are computed elsewhere, so that the scored labels never come near a fit.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from poise.heads.classifier import ClipClassifier
from poise.heads.splits import Fold
from poise.heads.strategy import NEURAL_HEADS, Strategy
from poise.store.bags import Bags

Prediction = tuple[NDArray[np.float64], NDArray[np.int64]]
PredictFold = Callable[[Fold, NDArray[np.int64]], Prediction]
"""From a fold and the ranks of its training rows to probabilities and ranks of its test rows."""

_ONE_THREAD_BELOW = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfFold:
    """Predictions of every row by models that have not seen it.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int64
        Rows of the manifest, rising.
    proba : ndarray of shape (n_repeats, n_rows, n_classes), float64
    predicted : ndarray of shape (n_repeats, n_rows), int64
        Predicted ranks.
    fold : ndarray of shape (n_repeats, n_rows), int64
        Fold in which a row was predicted.
    seconds : float
        Time spent on fitting and predicting.
    """

    rows: NDArray[np.int64]
    proba: NDArray[np.float64]
    predicted: NDArray[np.int64]
    fold: NDArray[np.int64]
    seconds: float


def cross_validate(
    strategy: Strategy,
    bags: Bags,
    labels: NDArray[np.int64],
    folds: Sequence[Fold],
    *,
    n_classes: int,
    seed: int = 0,
    on_fold: Callable[[], None] | None = None,
) -> OutOfFold:
    """Predict every row by a model that was fitted on the training side of its fold.

    Parameters
    ----------
    strategy : Strategy
    bags : Bags
        Aligned with ``labels``.
    labels : ndarray of shape (n_recordings,), int64
        Ranks 0 .. K-1. Those of a fold's test rows are not read when that fold is predicted.
    folds : sequence of Fold
    n_classes : int
        A level that no training row has gets the probability 0.
    seed : int
        Each fold of each repeat has its own random state, derived from this.
    on_fold : callable, optional
        Called after each fold.

    Returns
    -------
    OutOfFold
    """

    def predict_fold(fold: Fold, train_ranks: NDArray[np.int64]) -> Prediction:
        state = derive_state(seed, fold.repeat, fold.fold)
        model = ClipClassifier.from_strategy(strategy, random_state=state).fit(bags[fold.train], train_ranks)
        test = bags[fold.test]
        proba = np.zeros((len(test), n_classes))
        proba[:, model.classes_] = model.predict_proba(test)
        return proba, model.predict(test)

    if strategy.head in NEURAL_HEADS:
        # the first import of torch takes seconds that are not the strategy's
        importlib.import_module("poise.heads.neural")
    return predict_out_of_fold(predict_fold, labels, folds, n_classes=n_classes, on_fold=on_fold)


def derive_state(seed: int, *path: int) -> int:
    """A random state below 2**31 for one fit, from a seed of any size.

    Parameters
    ----------
    seed : int
        From 0 on.
    *path : int
        What tells the fit from others of the same seed.
    """
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] >> 1)


def predict_out_of_fold(
    predict_fold: PredictFold,
    labels: NDArray[np.int64],
    folds: Sequence[Fold],
    *,
    n_classes: int,
    on_fold: Callable[[], None] | None = None,
) -> OutOfFold:
    """Gather the predictions of anything that learns from the training rows of a fold.

    Parameters
    ----------
    predict_fold : callable
        Is given the fold and the ranks of its training rows, no others.
    labels : ndarray of shape (n_recordings,), int64
    folds : sequence of Fold
    n_classes : int
    on_fold : callable, optional

    Returns
    -------
    OutOfFold
    """
    rows = np.unique(np.concatenate([fold.test for fold in folds]))
    shape = (1 + max(fold.repeat for fold in folds), len(rows))
    proba = np.zeros((*shape, n_classes))
    predicted, number = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    started = time.perf_counter()
    # on a hundred rows, handing work between threads takes longer than the work
    with threadpool_limits(1 if len(rows) < _ONE_THREAD_BELOW else None):
        for fold in folds:
            place = np.searchsorted(rows, fold.test)
            proba[fold.repeat, place], predicted[fold.repeat, place] = predict_fold(fold, labels[fold.train])
            number[fold.repeat, place] = fold.fold
            if on_fold:
                on_fold()
    return OutOfFold(rows=rows, proba=proba, predicted=predicted, fold=number, seconds=time.perf_counter() - started)
