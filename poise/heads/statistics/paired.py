"""Whether one strategy is better than others on the same recordings: differences, intervals, p-values that hold.

Two strategies that are equally good are exchangeable, so their predictions may be swapped for a whole group at a time;
how often swapping makes a difference as large as the one found is its p-value (a randomisation test in the manner of
Pitman 1937). Three things make a naive p-value too small, and are allowed for:

* recordings of one group are not independent: groups are swapped and drawn as a whole;
* the models of all folds learnt from nearly the same recordings, whose luck is theirs in common, and which no estimate
  sees (Bengio, Grandvalet 2004, JMLR 5:1089): see :data:`SHARED_TRAINING`;
* the leader leads because it was picked as the best of several: the largest standardised difference of *all* pairs is
  what a corrected difference must stand out from (max-T, Westfall, Young 1993, ISBN 978-0-471-55761-6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError, StrategyError
from poise.heads.statistics.bootstrap import N_DRAWS, draw_metrics, percentiles
from poise.heads.statistics.tally import TABLE_METRICS, GroupTally, Pooled

SHARED_TRAINING = 1.5
"""Variance of a difference over new data sets, divided by that which swapping sees.

In simulations of equal heads (20 to 100 groups, 3 to 60 features, 1 or 5 repeats of 5, 10 or leave-one-group-out folds,
with and without signal) it was 1.1 to 1.9. At 1.5, 1 to 9 % of equal pairs were rejected at 5 %; at 1, 5 to 16 %. The
factor of Nadeau and Bengio, 2 to 2.25 here, rejects 0 to 2 %.
"""

N_SWAPS = 5_000
_FEWEST_GROUPS = 3
_CHUNK = 1 << 21


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How much better the leader is than another strategy.

    Attributes
    ----------
    metric : str
    a, b : str
        The leader and the other.
    difference : float or None
        Metric of a less that of b.
    interval : (float, float) or None
        Cluster bootstrap, 95 %, widened for what the folds have in common.
    p : float or None
        Two-sided, of this pair as if no other had been tried.
    p_corrected : float or None
        Allowing for all strategies compared, of which the leader was picked.
    n_compared : int
        Strategies.
    reason : str
        Why a number is None.
    """

    metric: str
    a: str
    b: str
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_corrected: float | None
    n_compared: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Every number by its name; the reason where one is null."""
        return {
            "metric": self.metric,
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "interval": list(self.interval) if self.interval else None,
            "p": self.p,
            "p_corrected": self.p_corrected,
            "n_compared": self.n_compared,
            **({"reason": self.reason} if self.reason else {}),
        }


def compare_pairs(
    tallies: Mapping[str, GroupTally],
    leader: str,
    *,
    metric: Pooled = "qwk",
    n_draws: int = N_DRAWS,
    n_swaps: int = N_SWAPS,
    seed: int = 0,
) -> list[PairedDifference]:
    """Compare the leader with every other strategy on the same recordings.

    Parameters
    ----------
    tallies : mapping of str to GroupTally
        Of every strategy that was tried, those that lost included: the correction needs them.
    leader : str
        Its name among them.
    metric : {"qwk", "accuracy", "mae", "rps"}
    n_draws : int
        Of groups, for the intervals; the same for all strategies.
    n_swaps : int
        All ways to swap are gone through where there are no more than this.
    seed : int

    Returns
    -------
    list of PairedDifference
        One for each other strategy, in their order.

    Raises
    ------
    StrategyError
        The leader is not among the strategies.
    SplitError
        The strategies were not scored on the same recordings.
    """
    _check(tallies, leader)
    names, n_groups = list(tallies), len(tallies[leader].names)
    sums = np.stack([_sums(tally, metric) for tally in tallies.values()])  # (n_strategies, n_groups, n_sums)
    pairs = np.array(list(combinations(range(len(names)), 2)), dtype=np.int64).reshape(-1, 2)
    values = _metric_of(sums.sum(1), metric)
    p, corrected = _test_pairs(sums, values, pairs, metric, n_swaps, seed)
    drawn = [draw_metrics(one.counts, rps=one.rps, n_draws=n_draws, seed=seed)[metric] for one in tallies.values()]
    first, found = names.index(leader), []
    for other in (number for number in range(len(names)) if number != first):
        place = int(np.flatnonzero((pairs == sorted((first, other))).all(1))[0])
        difference = float(values[first] - values[other])
        defined, why = np.isfinite(difference), ""
        if not defined:
            why = "the scored recordings are all of one level"
        elif n_groups < _FEWEST_GROUPS:
            why = f"{n_groups} groups are scored, a comparison over groups needs {_FEWEST_GROUPS}"
        found.append(
            PairedDifference(
                metric=metric,
                a=leader,
                b=names[other],
                difference=difference if defined else None,
                interval=None if why else _widen(drawn[first] - drawn[other], difference),
                p=None if why else float(p[place]),
                p_corrected=None if why else float(corrected[place]),
                n_compared=len(names),
                reason=why,
            )
        )
    return found


def correct_holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, whatever they have in common (Holm 1979).

    Parameters
    ----------
    p : sequence of float

    Returns
    -------
    list of float
        In the same order.
    """
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return [float(one) for one in corrected]


def draw_swaps(n_groups: int, *, n_swaps: int, seed: int) -> NDArray[np.float64]:
    """Which groups are swapped (-1) and which are not (1), shape (n, n_groups).

    All ways, the first of which swaps nothing, where they are no more than ``n_swaps``: the last group need not be
    swapped, as swapping all others says the same. Else so many drawn ones, after one that swaps nothing.
    """
    if 2 ** (n_groups - 1) <= n_swaps:
        ways = np.arange(2 ** (n_groups - 1))
        return np.where((ways[:, None] >> np.arange(n_groups)) & 1, -1.0, 1.0)
    drawn = np.random.default_rng([seed, 1]).integers(0, 2, size=(n_swaps + 1, n_groups))
    drawn[0] = 0
    return np.where(drawn, -1.0, 1.0)


def _check(tallies: Mapping[str, GroupTally], leader: str) -> None:
    if leader not in tallies:
        raise StrategyError(f"There is no strategy {leader!r} to compare others with. Expected one of {list(tallies)}.")
    first = tallies[leader]
    for name, tally in tallies.items():
        same = np.array_equal(tally.names, first.names) and tally.counts.shape == first.counts.shape
        if not same or not np.array_equal(tally.counts.sum(2), first.counts.sum(2)):
            raise SplitError(
                f"{name!r} and {leader!r} were not scored on the same recordings: their groups or levels differ. "
                "Expected predictions of the same rows under the same protocol and repeats; compare them again, "
                "together."
            )


def _sums(tally: GroupTally, metric: Pooled) -> NDArray[np.float64]:
    """What the metric needs of each group, shape (n_groups, n_sums)."""
    return tally.rps if metric == "rps" else tally.counts.reshape(len(tally.counts), -1).astype(np.float64)


def _metric_of(sums: NDArray[np.float64], metric: Pooled) -> NDArray[np.float64]:
    """The metric of sums over groups, shape (...), from shape (..., n_sums)."""
    if metric == "rps":
        return np.asarray(sums[..., 0] / sums[..., 1])
    n_classes = int(np.sqrt(sums.shape[-1]))
    return TABLE_METRICS[metric](sums.reshape(*sums.shape[:-1], n_classes, n_classes))


def _test_pairs(
    sums: NDArray[np.float64],
    values: NDArray[np.float64],
    pairs: NDArray[np.int64],
    metric: Pooled,
    n_swaps: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P-value of each pair alone, and against the largest standardised difference of all pairs."""
    swapped = _swap_differences(sums, pairs, metric, draw_swaps(sums.shape[1], n_swaps=n_swaps, seed=seed))
    spread = swapped.std(0)
    # strategies that say the same cannot differ, however they are swapped
    spread = np.where(spread > 1e-12, spread, np.inf)
    standard = np.abs(swapped) / spread
    found = np.abs(values[pairs[:, 0]] - values[pairs[:, 1]]) / np.sqrt(SHARED_TRAINING) / spread - 1e-9
    largest = standard.max(1, initial=0.0)
    return (standard >= found).mean(0), (largest[:, None] >= found).mean(0)


def _swap_differences(
    sums: NDArray[np.float64], pairs: NDArray[np.int64], metric: Pooled, swaps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Difference of each pair after each way to swap groups, shape (n_swaps, n_pairs)."""
    a, b = sums[pairs[:, 0]], sums[pairs[:, 1]]  # (n_pairs, n_groups, n_sums)
    apart = (a - b).transpose(1, 0, 2)
    flat, total = apart.reshape(len(apart), -1), (a + b).sum(1)
    size = max(1, _CHUNK // max(flat.shape[1], 1))
    found = np.empty((len(swaps), len(pairs)))
    for first in range(0, len(swaps), size):
        moved = (swaps[first : first + size] @ flat).reshape(-1, *total.shape)  # (n_chunk, n_pairs, n_sums)
        found[first : first + size] = _metric_of((total + moved) / 2, metric) - _metric_of((total - moved) / 2, metric)
    return found


def _widen(drawn: NDArray[np.float64], difference: float) -> tuple[float, float]:
    """The percentile interval about a difference, as much wider as swapping sees too little."""
    # a draw of one level only has no kappa
    low, high = percentiles(drawn[np.isfinite(drawn)])
    wider = np.sqrt(SHARED_TRAINING)
    return float(difference + wider * (low - difference)), float(difference + wider * (high - difference))
