"""What is kept of each group: its confusion table and its sum of ranked probability scores.

Every pooled metric of drawn, swapped or left-out groups follows from these, so that no statistic reads predictions
twice. Repeats are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poise.heads.metrics import quadratic_kappa, ranked_probability

Pooled = Literal["qwk", "accuracy", "mae", "rps"]
"""Metrics that follow from what is kept of each group."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupTally:
    """Predictions of some recordings, added up by group.

    Attributes
    ----------
    names : ndarray of shape (n_groups,)
        Rising.
    counts : ndarray of shape (n_groups, n_classes, n_classes), int64
        True level (row) by predicted level (column).
    rps : ndarray of shape (n_groups, 2), float64
        Sum of the ranked probability scores, and how many there are.
    """

    names: NDArray[np.generic]
    counts: NDArray[np.int64]
    rps: NDArray[np.float64]


def tally_groups(
    groups: NDArray[np.generic],
    ranks: NDArray[np.int64],
    predicted: NDArray[np.int64],
    proba: NDArray[np.float64],
) -> GroupTally:
    """Add up predictions by group.

    Parameters
    ----------
    groups : ndarray of shape (n_recordings,)
    ranks : ndarray of shape (n_recordings,), int64
        True ranks.
    predicted : ndarray of shape (n_repeats, n_recordings), int64
    proba : ndarray of shape (n_repeats, n_recordings, n_classes), float64

    Returns
    -------
    GroupTally
        Of the groups that have a recording.
    """
    names, number = np.unique(groups, return_inverse=True)
    repeats, n_classes = len(predicted), proba.shape[-1]
    cell = (number * n_classes + ranks) * n_classes + predicted  # (n_repeats, n_recordings)
    counts = np.bincount(cell.ravel(), minlength=len(names) * n_classes**2)
    sums = np.bincount(number, weights=ranked_probability(proba, ranks).sum(0), minlength=len(names))
    n = repeats * np.bincount(number, minlength=len(names))
    return GroupTally(
        names=names,
        counts=counts.reshape(len(names), n_classes, n_classes),
        rps=np.stack([sums, n], axis=1),
    )


def table_accuracy(tables: NDArray[np.number]) -> NDArray[np.float64]:
    """Share of a confusion table's diagonal, shape (...), from tables of shape (..., n_classes, n_classes)."""
    return np.asarray(np.trace(tables, axis1=-2, axis2=-1) / tables.sum((-2, -1)))


def table_mae(tables: NDArray[np.number]) -> NDArray[np.float64]:
    """Mean absolute difference of ranks, shape (...), from tables of shape (..., n_classes, n_classes)."""
    levels = np.arange(tables.shape[-1])
    return np.asarray((np.abs(levels[:, None] - levels) * tables).sum((-2, -1)) / tables.sum((-2, -1)))


TABLE_METRICS: Mapping[str, Callable[[NDArray[np.number]], NDArray[np.float64]]] = {
    "qwk": quadratic_kappa,
    "accuracy": table_accuracy,
    "mae": table_mae,
}
"""Pooled metrics of confusion tables."""
