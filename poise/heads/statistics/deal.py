"""Which labels may be exchanged under chance: the ways to deal them again, and how many there are.

Copies follow their source. Where every group has one label, groups exchange theirs. Else sources of one group exchange
theirs, and whole groups with equally many sources exchange all they have (multi-level block permutation, Winkler et al.
2015, doi:10.1016/j.neuroimage.2015.05.092).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError

FEWEST_WAYS = 20
"""With fewer, no p-value can be below 0.05."""

MANY_WAYS = 10**9
"""Counting stops here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Deck:
    """Labels of the sources, ordered by group.

    ``group`` and ``rank`` are of shape (n_sources,); ``place`` of shape (n_recordings,) says whose label each has.
    """

    group: NDArray[np.int64]
    rank: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, ranks: NDArray[np.int64], groups: NDArray[np.generic], sources: NDArray[np.generic]) -> _Deck:
        first, place = np.unique(sources, return_index=True, return_inverse=True)[1:]
        number = np.unique(groups, return_inverse=True)[1]
        for what, own in (("label", ranks), ("group", number)):
            unlike = np.flatnonzero(own != own[first[place]])
            if len(unlike):
                raise SplitError(
                    f"Recording {unlike[0]} has another {what} than recording {first[place][unlike[0]]} of the same "
                    f"source. Expected one {what} for a source and its copies; correct the manifest, or group by "
                    "source."
                )
        order = np.argsort(number[first], kind="stable")
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return cls(group=number[first][order], rank=ranks[first][order], place=back[place])

    def hands(self) -> list[NDArray[np.int64]]:
        """Labels of each group."""
        return np.split(self.rank, np.flatnonzero(np.diff(self.group)) + 1)


def deal_labels(
    ranks: NDArray[np.int64],
    groups: NDArray[np.generic],
    sources: NDArray[np.generic],
    *,
    n: int,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Labels dealt again as often as asked.

    Parameters
    ----------
    ranks : ndarray of shape (n_recordings,), int64
    groups : ndarray of shape (n_recordings,)
        What must not cross folds.
    sources : ndarray of shape (n_recordings,)
        Number or name of the recording that each was made from, its own for an original.
    n : int
    seed : int

    Returns
    -------
    ndarray of shape (n, n_recordings), int64
        Every way is as likely as any other; the labels as they are may be among them.

    Raises
    ------
    SplitError
        A copy has another label or group than its source.
    """
    deck, random = _Deck.of(ranks, groups, sources), np.random.default_rng(seed)
    hands = deck.hands()
    if all(len(set(hand.tolist())) == 1 for hand in hands):
        dealt = random.permuted(np.tile([hand[0] for hand in hands], (n, 1)), axis=1)[:, deck.group]
        return np.asarray(dealt[:, deck.place])
    # sorted by group and chance: sources of a group change places among themselves
    dealt = deck.rank[np.argsort(deck.group + random.random((n, len(deck.group))), axis=1)]
    for places in _equal_groups(deck.group):
        order = np.argsort(random.random((n, len(places))), axis=1)
        blocks = dealt[:, places]  # (n, n_blocks, n_sources)
        dealt[:, places] = np.take_along_axis(blocks, order[:, :, None], axis=1)
    return np.asarray(dealt[:, deck.place])


def count_ways(
    ranks: NDArray[np.int64], groups: NDArray[np.generic], sources: NDArray[np.generic], *, most: int = MANY_WAYS
) -> int:
    """How many different labellings :func:`deal_labels` can come to, the present one included.

    Parameters
    ----------
    ranks, groups, sources
        As for :func:`deal_labels`.
    most : int
        Counting stops at this.

    Returns
    -------
    int
        Below :data:`FEWEST_WAYS` there is too little data to tell anything from chance.
    """
    hands = _Deck.of(ranks, groups, sources).hands()
    ways = 1
    for factor in _factors([tuple(sorted(hand.tolist())) for hand in hands]):
        ways *= factor
        if ways >= most:
            return most
    return ways


def _factors(hands: list[tuple[int, ...]]) -> Iterator[int]:
    """Numbers whose product is the number of ways."""
    if all(len(set(hand)) == 1 for hand in hands):
        yield _arrangements(Counter(hand[0] for hand in hands))
        return
    for size in {len(hand) for hand in hands}:
        yield _arrangements(Counter(hand for hand in hands if len(hand) == size))
    for hand in hands:
        yield _arrangements(Counter(hand))


def _arrangements(counts: Counter[int] | Counter[tuple[int, ...]]) -> int:
    """In how many orders things of some kinds can stand."""
    ways, n = 1, 0
    for count in counts.values():
        n += count
        ways *= math.comb(n, count)
    return ways


def _equal_groups(group: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of the sources of the groups of each size, shape (n_blocks, n_sources), where there is more than one."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1])
    sizes = np.diff(np.append(starts, len(group)))
    for size in np.unique(sizes):
        alike = starts[sizes == size]
        if len(alike) > 1:
            yield alike[:, None] + np.arange(size)
