"""Cluster bootstrap intervals from what is kept of each group. Folds and fitting do not live here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from poise.heads.statistics.tally import TABLE_METRICS

N_DRAWS = 10_000
LEVEL = 0.95
_FEWEST_GROUPS = 3
_CHUNK = 1 << 20
"""Numbers of a chunk of draws."""


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


def bootstrap_groups(
    counts: NDArray[np.integer],
    *,
    rps: NDArray[np.float64] | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Intervals:
    """Intervals of quadratic kappa, accuracy and mean absolute error when whole groups are drawn again.

    Recordings of one speaker are not independent: drawing recordings would make the interval too
    narrow. Drawing groups needs only what is counted of each, so a draw costs one product.

    Parameters
    ----------
    counts : ndarray of shape (n_groups, n_classes, n_classes)
        Confusion table of each group. Groups in which nothing is counted are not drawn.
    rps : ndarray of shape (n_groups, 2), float64, optional
        Sum of the ranked probability scores of each group and their number, for an interval of their mean.
    n_draws : int
    seed : int

    Returns
    -------
    Intervals
        Of 95 %. With fewer than three groups, none.

    References
    ----------
    Field, Welsh (2007). Bootstrapping clustered data. doi:10.1111/j.1467-9868.2007.00593.x
    """
    names = (*TABLE_METRICS, *(() if rps is None else ("rps",)))
    n_groups = int(np.count_nonzero(counts.sum((1, 2))))
    if n_groups < _FEWEST_GROUPS:
        why = f"{n_groups} groups are scored, an interval over groups needs {_FEWEST_GROUPS}"
        return Intervals(values=dict.fromkeys(names), reasons=dict.fromkeys(names, why))
    values: dict[str, tuple[float, float] | None] = {}
    reasons = {}
    for name, drawn in draw_metrics(counts, rps=rps, n_draws=n_draws, seed=seed).items():
        defined = drawn[np.isfinite(drawn)]
        values[name] = percentiles(defined) if 2 * len(defined) >= n_draws else None
        if values[name] is None:
            reasons[name] = "most draws of groups hold one level only"
    return Intervals(values=values, reasons=reasons)


def draw_metrics(
    counts: NDArray[np.integer], *, rps: NDArray[np.float64] | None, n_draws: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Each metric under each draw of groups; the same seed draws the same groups for every strategy.

    Parameters
    ----------
    counts, rps, n_draws, seed
        As for :func:`bootstrap_groups`.

    Returns
    -------
    dict of str to ndarray of shape (n_draws,), float64
        Quadratic kappa is NaN where a draw holds one level only.
    """
    kept = counts.sum((1, 2)) > 0
    n_classes = counts.shape[1]
    flat = counts[kept].reshape(np.count_nonzero(kept), -1).astype(np.float64)  # whole numbers stay exact
    wide = flat if rps is None else np.hstack([flat, rps[kept]])
    sums = np.concatenate([times @ wide for times in draw_groups(len(wide), n_draws=n_draws, seed=seed)])
    tables = sums[:, : n_classes**2].reshape(n_draws, n_classes, n_classes)
    found = {name: metric(tables) for name, metric in TABLE_METRICS.items()}
    if rps is not None:
        found["rps"] = sums[:, -2] / sums[:, -1]
    return found


def draw_groups(n_groups: int, *, n_draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn, chunks of shape (n_chunk, n_groups); memory does not grow with the draws."""
    size = max(1, _CHUNK // n_groups)
    if n_draws <= size:  # every strategy of a comparison asks for the same
        yield _draw_once(n_groups, n_draws, seed)
        return
    random = np.random.default_rng(seed)
    for first in range(0, n_draws, size):
        n = min(size, n_draws - first)
        yield random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(np.float64)


@lru_cache(maxsize=4)
def _draw_once(n_groups: int, n_draws: int, seed: int) -> NDArray[np.float64]:
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_draws)
    found = drawn.astype(np.float64)
    found.flags.writeable = False
    return found


def percentiles(values: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float]:
    """The ends between which the middle share of some values lies."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
