"""Labels against groups and against being a copy: what could give a label away without any features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_DEALS = 9_999


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """How often each group has each level.

    Attributes
    ----------
    column : str
    names : tuple of str
        Groups, rising.
    counts : tuple of tuple of int
        Recordings of each group (row) with each level (column).
    cramers_v : float or None
        Association of group and level, corrected for chance: 0 none, near 1 the group gives the level away.
    single_level : tuple of str
        Groups with two or more recordings, all of one level.
    reason : str
        Why there is no association.
    """

    column: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    cramers_v: float | None
    single_level: tuple[str, ...]
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Every number by its name; the counts by group."""
        return {
            "column": self.column,
            "counts": {name: list(row) for name, row in zip(self.names, self.counts, strict=True)},
            "cramers_v": self.cramers_v,
            "single_level": list(self.single_level),
            **({"reasons": {"cramers_v": self.reason}} if self.reason else {}),
        }


@dataclass(frozen=True, kw_only=True)
class CopyTable:
    """How often copies and originals have each level.

    Attributes
    ----------
    originals, copies : tuple of int
        Recordings of each level.
    p : float or None
        How often labels that are dealt out at random differ as much between copies and originals.
    reason : str
        Why there is no p.
    """

    originals: tuple[int, ...]
    copies: tuple[int, ...]
    p: float | None
    reason: str = ""


def tabulate_groups(column: str, groups: NDArray[np.str_], ranks: NDArray[np.int64], n_classes: int) -> GroupTable:
    """Count levels by group, and say how much a group tells of the level.

    Parameters
    ----------
    column : str
    groups : ndarray of shape (n_recordings,), str
    ranks : ndarray of shape (n_recordings,), int64
    n_classes : int

    Returns
    -------
    GroupTable
    """
    names, number = np.unique(groups, return_inverse=True)
    table = np.bincount(number * n_classes + ranks, minlength=len(names) * n_classes).reshape(len(names), n_classes)
    association, reason = _corrected_v(table)
    single = (table.sum(axis=1) > 1) & (np.count_nonzero(table, axis=1) == 1)
    return GroupTable(
        column=column,
        names=tuple(names.tolist()),
        counts=tuple(tuple(row) for row in table.tolist()),
        cramers_v=association,
        single_level=tuple(names[single].tolist()),
        reason=reason,
    )


def tabulate_copies(is_copy: NDArray[np.bool_], ranks: NDArray[np.int64], n_classes: int, *, seed: int) -> CopyTable:
    """Count levels of originals and copies, and test whether they differ.

    Parameters
    ----------
    is_copy : ndarray of shape (n_recordings,), bool
    ranks : ndarray of shape (n_recordings,), int64
    n_classes : int
    seed : int
        Of the deals.

    Returns
    -------
    CopyTable
    """
    originals, copies = (np.bincount(ranks[side], minlength=n_classes) for side in (~is_copy, is_copy))
    levels = originals + copies
    p, reason = None, ""
    if not originals.any() or not copies.any():
        reason = "there are no copies" if originals.any() else "there are no originals"
    elif np.count_nonzero(levels) < 2:
        reason = "all recordings are of one level"
    else:
        p = _deal_copies(levels, copies, seed)
    return CopyTable(originals=tuple(originals.tolist()), copies=tuple(copies.tolist()), p=p, reason=reason)


def _corrected_v(table: NDArray[np.int64]) -> tuple[float | None, str]:
    """Cramér's V, corrected for bias (Bergsma 2013, doi:10.1016/j.jkss.2012.10.002), or why it has no value."""
    n, (rows, columns) = int(table.sum()), (int(np.count_nonzero(table.sum(axis))) for axis in (1, 0))
    if rows < 2 or columns < 2:
        return None, "all recordings are of one group" if rows < 2 else "all recordings are of one level"
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / n
    excess = (table - expected) ** 2 / np.where(expected > 0, expected, 1)
    spread = max(0.0, float(excess.sum()) / n - (rows - 1) * (columns - 1) / (n - 1))
    least = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns)) - 1
    if least <= 0:
        return None, "nearly every recording is a group of its own"
    return min(1.0, float(np.sqrt(spread / least))), ""


def _deal_copies(levels: NDArray[np.int64], copies: NDArray[np.int64], seed: int) -> float:
    """Exact in its distribution: who is a copy is dealt out again and again, and chi-square compared."""
    dealt = np.random.default_rng(seed).multivariate_hypergeometric(levels, int(copies.sum()), size=N_DEALS)
    expected = levels * (copies.sum() / levels.sum())
    there = levels > 0

    def distance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        # over a level its copies and originals are off by the same number
        return np.asarray(((counts - expected)[..., there] ** 2 / levels[there]).sum(axis=-1))

    as_far = np.count_nonzero(distance(dealt) >= distance(copies) * (1 - 1e-9))
    return (1 + int(as_far)) / (1 + N_DEALS)
