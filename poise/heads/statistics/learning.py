"""What more data would bring: which part of the training side to learn from, and the curve through what came of it.

Nothing is fitted to features here. Points of a curve are out-of-fold predictions of the same recordings, learnt from
fewer groups or recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError
from poise.heads.metrics import quadratic_kappa
from poise.heads.statistics.bootstrap import draw_groups, percentiles
from poise.heads.statistics.tally import GroupTally

N_DRAWS = 2_000
_FEWEST_GROUPS = 3
_FEWEST_SIZES = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset:
    """Part of the training side of a fold.

    Attributes
    ----------
    size : int
        Groups, or sources, in it.
    draw : int
    rows : ndarray of int64
        Places among the training rows, rising.
    """

    size: int
    draw: int
    rows: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What is reached with so many groups, or sources, to learn from.

    Attributes
    ----------
    n : int
    qwk, rps : float or None
        Over the predictions of all draws.
    interval : mapping of str to (low, high) or None
        95 %, by drawing scored groups and draws of training groups again.
    n_draws : int
    reason : str
        Why a number is None.
    """

    n: int
    qwk: float | None
    rps: float
    interval: Mapping[str, tuple[float, float] | None]
    n_draws: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Every number by its name; the reason where one is null."""
        return {
            "n": self.n,
            "qwk": self.qwk,
            "rps": self.rps,
            "interval": {name: list(ends) if ends else None for name, ends in self.interval.items()},
            "n_draws": self.n_draws,
            **({"reason": self.reason} if self.reason else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Whether more groups would help, if the curve goes on as ``a + b / n``.

    Attributes
    ----------
    more : int
    rps_now, rps_then : float
        Ranked probability score on the curve at the largest size, and with so many more.
    interval : (float, float)
        95 %, of ``rps_then - rps_now``.
    sentence : str
    """

    more: int
    rps_now: float
    rps_then: float
    interval: tuple[float, float]
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Every number by its name."""
        return {
            "more": self.more,
            "rps_now": self.rps_now,
            "rps_then": self.rps_then,
            "interval": list(self.interval),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Points in order of size, and what they say about more.

    Attributes
    ----------
    points : tuple of CurvePoint
    outlook : Outlook or None
    reason : str
        Why there is no outlook.
    """

    points: tuple[CurvePoint, ...]
    outlook: Outlook | None
    reason: str = ""


def draw_subsets(units: NDArray[np.generic], sizes: Sequence[int], *, n_draws: int, seed: int = 0) -> list[Subset]:
    """Parts of a training side, of whole groups or of whole sources.

    The smaller parts of a draw lie in its larger ones, so that sizes differ by what was added and not by luck.

    Parameters
    ----------
    units : ndarray of shape (n_train,)
        Group of each training row for a curve over groups; its source for one over recordings, as copies add little.
    sizes : sequence of int
        How many groups, or sources.
    n_draws : int
        Of each size; one where all are taken, as there is but one way.
    seed : int
        Another one for each fold.

    Returns
    -------
    list of Subset
        By draw and size.

    Raises
    ------
    SplitError
        There are fewer groups than a size asks for, or a size is below 1.
    """
    names, number = np.unique(units, return_inverse=True)
    wrong = [size for size in sizes if not 1 <= size <= len(names)]
    if wrong:
        raise SplitError(
            f"A part of {wrong[0]} groups cannot be drawn from the {len(names)} of the training side. Expected sizes "
            f"from 1 to {len(names)}; leave larger ones out."
        )
    random, found = np.random.default_rng(seed), []
    for draw in range(n_draws):
        place = random.permutation(len(names))
        # all of them can be taken in one way only
        some = [size for size in sorted(set(sizes)) if draw == 0 or size < len(names)]
        found += [Subset(size=size, draw=draw, rows=np.flatnonzero(place[number] < size)) for size in some]
    return found


def summarise_curve(
    tallies: Mapping[int, Sequence[GroupTally]],
    *,
    unit: str = "group",
    more: int = 20,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> LearningCurve:
    """Points of a learning curve, their intervals, and the outlook.

    Parameters
    ----------
    tallies : mapping of int to sequence of GroupTally
        For each size, out-of-fold predictions of all scored recordings in each draw of the training groups.
    unit : str
        What sizes count, for the sentence: ``speaker``, ``group``, ``recording``.
    more : int
        How many more the outlook asks about.
    n_draws : int
        Of the bootstrap, the same for all sizes.
    seed : int

    Returns
    -------
    LearningCurve

    Raises
    ------
    SplitError
        Sizes or draws were not scored on the same recordings.
    """
    _check(tallies)
    sizes = np.array(sorted(tallies))
    one = tallies[int(sizes[0])][0]
    drawn = [_draw(tallies[int(size)], n_draws, seed) for size in sizes]
    enough = len(one.names) >= _FEWEST_GROUPS
    points = tuple(
        _point(int(size), tallies[int(size)], draws, enough) for size, draws in zip(sizes, drawn, strict=True)
    )
    why = ""
    if len(sizes) < _FEWEST_SIZES:
        why = f"a curve of {len(sizes)} sizes says nothing about more, it needs {_FEWEST_SIZES}"
    elif not enough:
        why = f"{len(one.names)} groups are scored, an interval over groups needs {_FEWEST_GROUPS}"
    if why:
        return LearningCurve(points=points, outlook=None, reason=why)
    values = np.array([point.rps for point in points])
    return LearningCurve(
        points=points, outlook=_look_ahead(sizes, values, np.stack([draws["rps"] for draws in drawn]), unit, more)
    )


def fit_inverse(
    sizes: NDArray[np.number], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted least squares of ``a + b / n``: what is left with endless data, and what a single one lacks.

    Parameters
    ----------
    sizes : ndarray of shape (n_sizes,)
    values : ndarray of shape (n_sizes, ...), float64
    weights : ndarray of shape (n_sizes,), float64

    Returns
    -------
    a, b : ndarray of shape (...), float64
    """
    root = np.sqrt(weights)
    design = np.stack([np.ones(len(sizes)), 1 / np.asarray(sizes, dtype=np.float64)], axis=1)
    flat = values.reshape(len(sizes), -1)
    a, b = np.linalg.lstsq(root[:, None] * design, root[:, None] * flat, rcond=None)[0]
    return a.reshape(values.shape[1:]), b.reshape(values.shape[1:])


def _check(tallies: Mapping[int, Sequence[GroupTally]]) -> None:
    every = [tally for some in tallies.values() for tally in some]
    if not every or not all(tallies.values()):
        raise SplitError("A learning curve needs predictions of every size. Got none for one; leave that size out.")
    first = every[0]
    for tally in every:
        if not np.array_equal(tally.names, first.names) or not np.array_equal(tally.counts.sum(2), first.counts.sum(2)):
            raise SplitError(
                "The points of a learning curve were not scored on the same recordings. Expected predictions of the "
                "same rows for every size and draw."
            )


def _draw(tallies: Sequence[GroupTally], n_draws: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Both metrics under draws of scored groups, the same for all sizes, and of training groups."""
    n_classes = tallies[0].counts.shape[1]
    wide = np.stack([np.hstack([one.counts.reshape(len(one.counts), -1), one.rps]) for one in tallies], axis=1)
    n_groups, n_parts, n_sums = wide.shape
    parts = np.random.default_rng([seed, n_parts]).multinomial(n_parts, np.full(n_parts, 1 / n_parts), size=n_draws)
    scored = np.concatenate(list(draw_groups(n_groups, n_draws=n_draws, seed=seed)))
    by_part = (scored @ wide.reshape(n_groups, -1)).reshape(n_draws, n_parts, n_sums)
    sums = np.einsum("dp,dps->ds", parts, by_part)
    tables = sums[:, : n_classes**2].reshape(n_draws, n_classes, n_classes)
    return {"qwk": quadratic_kappa(tables), "rps": sums[:, -2] / sums[:, -1]}


def _point(
    size: int, tallies: Sequence[GroupTally], drawn: Mapping[str, NDArray[np.float64]], enough: bool
) -> CurvePoint:
    kappa = float(quadratic_kappa(sum(one.counts.sum(0) for one in tallies)))
    sums = sum(one.rps.sum(0) for one in tallies)
    why = ""
    if not np.isfinite(kappa):
        why = "all that is scored and all that is said of it is of one level"
    elif not enough:
        why = f"{len(tallies[0].names)} groups are scored, an interval over groups needs {_FEWEST_GROUPS}"
    interval = {
        name: percentiles(defined) if enough and len(defined := values[np.isfinite(values)]) else None
        for name, values in drawn.items()
    }
    return CurvePoint(
        n=size,
        qwk=kappa if np.isfinite(kappa) else None,
        rps=float(sums[0] / sums[1]),
        interval=interval,
        n_draws=len(tallies),
        reason=why,
    )


def _look_ahead(
    sizes: NDArray[np.int64], values: NDArray[np.float64], drawn: NDArray[np.float64], unit: str, more: int
) -> Outlook:
    """The curve through the points, and through those of each bootstrap draw (n_sizes, n_draws)."""
    now, then = int(sizes[-1]), int(sizes[-1]) + more
    # what all sizes have in common, the scored groups, does not bend the curve
    spread = (drawn - drawn.mean(0)).var(1)
    weights = 1 / np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-12))
    a, b = fit_inverse(sizes, values, weights)
    change = fit_inverse(sizes, drawn, weights)[1] * (1 / then - 1 / now)
    low, high = percentiles(change)
    rps_now, rps_then = float(a + b / now), float(a + b / then)
    return Outlook(
        more=more,
        rps_now=rps_now,
        rps_then=rps_then,
        interval=(low, high),
        sentence=_sentence(rps_now, rps_then, (low, high), f"{more} more {unit}s", far=more > now),
    )


def _sentence(now: float, then: float, interval: tuple[float, float], more: str, *, far: bool) -> str:
    low, high = interval
    ends = f"(change {low:+.3f} to {high:+.3f})"
    if low <= 0 <= high:
        said = f"Whether {more} would help is unclear {ends}."
    elif high < 0:
        said = f"{more} would lower the ranked probability score from about {now:.3f} to {then:.3f} {ends}."
    else:
        said = f"{more} would not help: the ranked probability score rises with what is learnt from {ends}."
    return f"{said} This goes further than twice what was tried, so take it with care." if far else said
