"""Dumb baselines that stand first in every leaderboard: what can be had without looking at the features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from poise.heads.splits import Fold
from poise.heads.validate import PredictFold, Prediction


def make_baselines(
    n_classes: int, groups: Mapping[str, NDArray[np.str_]], *, counted: NDArray[np.bool_]
) -> dict[str, PredictFold]:
    """Baselines by name.

    Parameters
    ----------
    n_classes : int
    groups : mapping of str to ndarray of shape (n_recordings,), str
        Columns whose value alone may give the label away.
    counted : ndarray of shape (n_recordings,), bool
        Rows like those that are scored: where originals are, the labels of copies would only shift
        the distribution. Without any on the training side, all count.

    Returns
    -------
    dict of str to callable
        ``majority`` is sure of the commonest level, ``prior`` says the label distribution, and
        ``group-only:COLUMN`` says the labels that the same group has on the training side, leaning
        towards the prior by one recording; a group that is not there gets the prior.
    """

    def majority(fold: Fold, ranks: NDArray[np.int64]) -> Prediction:
        commonest = int(_distribution(ranks[_counting(fold, counted)], n_classes).argmax())
        return _repeat(np.eye(n_classes)[commonest], len(fold.test))

    def prior(fold: Fold, ranks: NDArray[np.int64]) -> Prediction:
        return _repeat(_distribution(ranks[_counting(fold, counted)], n_classes), len(fold.test))

    baselines: dict[str, PredictFold] = {"majority": majority, "prior": prior}
    for column, values in groups.items():
        baselines[f"group-only:{column}"] = _group_only(values, n_classes, counted)
    return baselines


def _group_only(groups: NDArray[np.str_], n_classes: int, counted: NDArray[np.bool_]) -> PredictFold:
    def predict(fold: Fold, ranks: NDArray[np.int64]) -> Prediction:
        overall = _distribution(ranks[_counting(fold, counted)], n_classes)
        proba = np.empty((len(fold.test), n_classes))
        for place, group in enumerate(groups[fold.test]):
            # copies count here: they are how a label leaks from a source to its copy
            same = ranks[groups[fold.train] == group]
            proba[place] = (np.bincount(same, minlength=n_classes) + overall) / (len(same) + 1)
        return proba, proba.argmax(axis=1)

    return predict


def _counting(fold: Fold, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inside = counted[fold.train]
    return inside if inside.any() else ~inside


def _distribution(ranks: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    return np.bincount(ranks, minlength=n_classes) / len(ranks)


def _repeat(proba: NDArray[np.float64], n: int) -> Prediction:
    return np.tile(proba, (n, 1)), np.full(n, proba.argmax())
