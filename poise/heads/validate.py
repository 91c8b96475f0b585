"""Cross-validation: out-of-fold predictions, where nothing is learnt outside the training side of a fold.

Scores are computed elsewhere, so that the scored labels never come near a fit.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.heads.fitting import decode
from poise.heads.inputs import center_groups, prepare
from poise.heads.parameters import NEURAL_HEADS
from poise.heads.plan import run_tasks
from poise.heads.problem import Problem, weigh_levels
from poise.heads.splits import Fold
from poise.heads.strategy import Strategy
from poise.store.bags import Bags

Prediction = tuple[NDArray[np.float64], NDArray[np.int64]]
PredictFold = Callable[[Fold, NDArray[np.int64]], Prediction]
"""From a fold and the ranks of its training rows to probabilities and ranks of its test rows."""

_STACK_CELLS = 1 << 25


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
    groups: NDArray[np.generic] | None = None,
    columns: Mapping[str, NDArray[np.generic]] | None = None,
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
    groups : ndarray of shape (n_recordings,), optional
        What stays together where a part of a training side is held out to choose settings. By default each recording
        stands alone, as under random folds.
    columns : mapping of str to ndarray of shape (n_recordings,), optional
        Groups that a strategy may centre by.
    on_fold : callable, optional
        Called after each fold.

    Returns
    -------
    OutOfFold

    Raises
    ------
    StrategyError
        The strategy does not fit the features, or centres by a column that is not given.
    """
    settings = strategy.settings
    rows = np.unique(np.concatenate([side for fold in folds for side in (fold.train, fold.test)]))
    inputs = prepare(_center(bags, strategy, columns, rows), settings)
    together = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if strategy.head in NEURAL_HEADS:
        # the first import of torch takes seconds that are not the strategy's
        importlib.import_module("poise.heads.neural.network")
    gathered, started = _Gathered(folds, n_classes), time.perf_counter()
    cells = sum(block.values.size for block in inputs.modalities.values())
    size = max(1, _STACK_CELLS // max(1, cells)) if strategy.head in NEURAL_HEADS else 1

    def make_problem(fold: Fold) -> Problem:
        return Problem(
            inputs=inputs[np.searchsorted(rows, fold.train)],
            ranks=labels[fold.train],
            weights=weigh_levels(labels[fold.train], settings["class_weight"]),
            groups=together[fold.train],
            n_classes=n_classes,
            seed=derive_state(seed, fold.repeat, fold.fold),
        )

    chunks = [folds[first : first + size] for first in range(0, len(folds), size)]
    tasks = (
        ([make_problem(fold) for fold in chunk], [inputs[np.searchsorted(rows, fold.test)] for fold in chunk])
        for chunk in chunks
    )
    for chunk, probabilities in zip(chunks, run_tasks(tasks, settings, n_tasks=len(chunks)), strict=True):
        for fold, proba in zip(chunk, probabilities, strict=True):
            gathered.add(fold, proba, decode(proba, strategy.head))
            if on_fold:
                on_fold()
    return gathered.as_out_of_fold(time.perf_counter() - started)


def _center(
    bags: Bags, strategy: Strategy, columns: Mapping[str, NDArray[np.generic]] | None, rows: NDArray[np.int64]
) -> Bags:
    """The recordings of these rows, centred by group if the strategy says so."""
    used, column = bags if len(rows) == len(bags) else bags[rows], strategy.settings["center"]
    if column == "none":
        return used
    if column not in (columns or {}):
        raise StrategyError(
            f"{strategy}: there is no column {column!r} to centre by. Known: {', '.join(columns or {}) or 'none'}."
        )
    return center_groups(used, (columns or {})[column][rows])


class _Gathered:
    """Predictions of folds, put where their rows belong."""

    def __init__(self, folds: Sequence[Fold], n_classes: int) -> None:
        self.rows = np.unique(np.concatenate([fold.test for fold in folds]))
        shape = (1 + max(fold.repeat for fold in folds), len(self.rows))
        self.proba = np.zeros((*shape, n_classes))
        self.predicted, self.fold = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)

    def add(self, fold: Fold, proba: NDArray[np.float64], predicted: NDArray[np.int64]) -> None:
        place = np.searchsorted(self.rows, fold.test)
        self.proba[fold.repeat, place], self.predicted[fold.repeat, place] = proba, predicted
        self.fold[fold.repeat, place] = fold.fold

    def as_out_of_fold(self, seconds: float) -> OutOfFold:
        return OutOfFold(rows=self.rows, proba=self.proba, predicted=self.predicted, fold=self.fold, seconds=seconds)


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
    gathered, started = _Gathered(folds, n_classes), time.perf_counter()
    for fold in folds:
        gathered.add(fold, *predict_fold(fold, labels[fold.train]))
        if on_fold:
            on_fold()
    return gathered.as_out_of_fold(time.perf_counter() - started)
