"""Cluster bootstrap intervals from the confusion counts of each group. Folds and fitting do not live here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poise.heads.metrics import quadratic_kappa

N_DRAWS = 2000
LEVEL = 0.95
_FEWEST_GROUPS = 3


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Percentile intervals by metric, and why some have none.

    Attributes
    ----------
    values : mapping of str to (low, high) or None
    reasons : mapping of str to str
    """

    values: Mapping[str, tuple[float, float] | None]
    reasons: Mapping[str, str] = field(default_factory=dict)


def bootstrap_groups(counts: NDArray[np.integer], *, n_draws: int = N_DRAWS, seed: int = 0) -> Intervals:
    """Intervals of quadratic kappa and accuracy when whole groups are drawn again.

    Recordings of one speaker are not independent: drawing recordings would make the interval too
    narrow. Drawing groups needs only how often each group is counted, so a draw costs one product.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_classes, n_classes)
        Confusion table of each group.
    n_draws : int
    seed : int

    Returns
    -------
    Intervals
        With fewer than three groups, none.
    """
    n_groups, n_classes, _ = counts.shape
    if n_groups < _FEWEST_GROUPS:
        why = f"{n_groups} groups are scored, an interval over groups needs {_FEWEST_GROUPS}"
        return Intervals(values=dict.fromkeys(("qwk", "accuracy")), reasons=dict.fromkeys(("qwk", "accuracy"), why))
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_draws)
    tables = (drawn @ counts.reshape(n_groups, -1)).reshape(n_draws, n_classes, n_classes)
    accuracy = np.trace(tables, axis1=1, axis2=2) / tables.sum((1, 2))
    kappa = quadratic_kappa(tables)
    defined = kappa[np.isfinite(kappa)]
    if len(defined) < n_draws / 2:
        why = "most draws of groups hold one level only"
        return Intervals(values={"qwk": None, "accuracy": _percentiles(accuracy)}, reasons={"qwk": why})
    return Intervals(values={"qwk": _percentiles(defined), "accuracy": _percentiles(accuracy)})


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
