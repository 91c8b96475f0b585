"""Sets of neighbouring levels that hold the true one as often as they promise (ordinal split-conformal prediction).

A set grows from the most likely level, each time by the likelier neighbour (Lu, Angelopoulos, Pomerantz 2022,
arXiv:2207.02238). It is deterministic: the same recording gets the same set every time, which costs a little width
against randomised sets. Groups are what is new at serving, so that each counts the same in the calibration (Lee,
Barber, Willett 2023, arXiv:2306.06342).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.8
"""How often a set is to hold the true level. To promise 9 in 10 takes 9 groups, and some 20 before sets get small."""


@dataclass(frozen=True, kw_only=True)
class SetCoverage:
    """What prediction sets did for groups that they were not calibrated on.

    Attributes
    ----------
    level : float
        What was asked for.
    coverage : float
        Share of recordings whose set holds the true level.
    mean_size : float
        Levels in a set.
    singletons : float
        Share of sets of one level.
    n_groups : int
    lowest_group_coverage : float
    sentence : str
        What to make of it.
    """

    level: float
    coverage: float
    mean_size: float
    singletons: float
    n_groups: int
    lowest_group_coverage: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Every number by its name."""
        return asdict(self)


def groups_needed(level: float) -> int:
    """Groups without which a level cannot be promised: 9 for 90 %, 19 for 95 %."""
    return math.ceil(round(level / (1 - level), 9))


def calibrate_sets(
    proba: NDArray[np.float64],
    ranks: NDArray[np.int64],
    level: float = LEVEL,
    *,
    groups: NDArray[np.generic] | None = None,
) -> float:
    """The threshold up to which a set grows.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64
        Of recordings that the model has not learnt from.
    ranks : ndarray of shape (n_recordings,), int64
    level : float
        Share of recordings of new groups whose set shall hold the true level, above 0 and below 1.
    groups : ndarray of shape (n_recordings,), optional
        Each counts the same; by default every recording is one of its own.

    Returns
    -------
    float
        Infinity, for sets of all levels, where there are too few groups to promise anything else.
    """
    number = np.arange(len(ranks)) if groups is None else np.unique(groups, return_inverse=True)[1]
    return _threshold(_own_scores(proba, ranks), number, level)


def predict_sets(proba: NDArray[np.float64], threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest level of each set, both in it.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64
    threshold : float
        From :func:`calibrate_sets`.

    Returns
    -------
    low, high : ndarray of shape (n_recordings,), int64
        Each set has the most likely level.
    """
    inside = grow_sets(proba) <= threshold  # (n_recordings, n_classes)
    return inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)


def grow_sets(proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a set holds before it grows by each level.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64

    Returns
    -------
    ndarray of shape (n_recordings, n_classes), float64
        0 for the most likely level. Of equal neighbours the lower one comes first.
    """
    n, n_classes = proba.shape
    rows = np.arange(n)
    fence = np.pad(proba, ((0, 0), (1, 1)), constant_values=-1.0)  # level k stands in column k + 1
    low = proba.argmax(1) + 1
    high, mass = low.copy(), fence[rows, low]
    before = np.zeros((n, n_classes))
    for _ in range(n_classes - 1):
        down = fence[rows, low - 1] >= fence[rows, high + 1]
        low, high = np.where(down, low - 1, low), np.where(down, high, high + 1)
        new = np.where(down, low, high)
        # equal sums must stay equal, whatever the order of adding
        before[rows, new - 1] = np.round(mass, 12)
        mass = mass + fence[rows, new]
    return before


def cover_groups(
    proba: NDArray[np.float64], ranks: NDArray[np.int64], groups: NDArray[np.generic], *, level: float = LEVEL
) -> SetCoverage | None:
    """Sets of each group, calibrated on the out-of-fold predictions of all other groups.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes) or (n_repeats, n_recordings, n_classes), float64
        Out-of-fold.
    ranks : ndarray of shape (n_recordings,), int64
    groups : ndarray of shape (n_recordings,)
    level : float

    Returns
    -------
    SetCoverage or None
        None with fewer than two groups.
    """
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    flat = proba.reshape(-1, proba.shape[-1])
    repeats = len(flat) // len(ranks)
    truth, number = np.tile(ranks, repeats), np.tile(number, repeats)
    grown = grow_sets(flat)
    own = grown[np.arange(len(truth)), truth]
    limits = np.array([_threshold(own[number != one], number[number != one], level) for one in range(len(names))])
    sizes = (grown <= limits[number][:, None]).sum(1)
    held = own <= limits[number]
    by_group = np.bincount(number, weights=held) / np.bincount(number)
    numbers = {
        "level": level,
        "coverage": float(held.mean()),
        "mean_size": float(sizes.mean()),
        "singletons": float((sizes == 1).mean()),
        "lowest_group_coverage": float(by_group.min()),
    }
    return SetCoverage(n_groups=len(names), sentence=_sentence(numbers, len(names), proba.shape[-1]), **numbers)


def _own_scores(proba: NDArray[np.float64], ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(grow_sets(proba)[np.arange(len(ranks)), ranks])


def _threshold(scores: NDArray[np.float64], number: NDArray[np.int64], level: float) -> float:
    """Weighted quantile of scores: each group has the same mass, and so has the unknown one, at infinity."""
    sizes = np.bincount(number)
    n_groups = np.count_nonzero(sizes)
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / sizes[number[order]]) / (n_groups + 1)
    reached = np.flatnonzero(mass >= level - 1e-9)
    return float(scores[order[reached[0]]]) if len(reached) else math.inf


def _sentence(numbers: dict[str, float], n_groups: int, n_classes: int) -> str:
    level, needed = numbers["level"], groups_needed(numbers["level"])
    if n_groups - 1 < needed:
        return (
            f"With {n_groups} groups no set smaller than all {n_classes} levels can promise {level:.0%} for a new "
            f"group: {needed + 1} groups are needed for this check, {needed} to serve."
        )
    return (
        f"Sets of {numbers['mean_size']:.1f} of {n_classes} levels on average held the true level in "
        f"{numbers['coverage']:.0%} of recordings ({level:.0%} asked), in the worst of {n_groups} groups in "
        f"{numbers['lowest_group_coverage']:.0%}. The promise is for an average over new groups like these: "
        "it fails for a group that differs, such as other speakers, rooms or cameras."
    )
