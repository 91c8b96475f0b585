"""Recordings of different groups whose features are nearly the same: copies that nobody declared.

No label is read here. Files of equal bytes are found by their keys, elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.pooling import pool
from poise.heads.scaling import Standardiser
from poise.store.bags import Bags

NEAR = 0.9
"""Cosine above which two recordings are called near-identical, unless chance or declared copies say otherwise."""

MOST_PAIRS = 100_000
_BY_CHANCE = 0.01
"""How many pairs of unrelated recordings may be called near-identical, on average."""
_KNOWN_SHARE = 0.05
_CHUNK = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class NearDuplicates:
    """Pairs of recordings of different groups that look and sound nearly the same.

    Attributes
    ----------
    pairs : ndarray of shape (n_pairs, 2), int64
        Rows of the bags, the first below the second; the closest pair first, at most 100,000.
    cosines : ndarray of shape (n_pairs,), float64
    threshold : float
        What their cosines are above.
    n_known : int
        Declared copies that were compared with their sources.
    n_known_found : int
        How many of them this threshold would find.
    lowest_known : float or None
        Least cosine of a declared copy with its source.
    """

    pairs: NDArray[np.int64]
    cosines: NDArray[np.float64]
    threshold: float
    n_known: int = 0
    n_known_found: int = 0
    lowest_known: float | None = None


def find_near_duplicates(
    bags: Bags, groups: NDArray[np.generic], *, sources: NDArray[np.int64] | None = None
) -> NearDuplicates:
    """Find pairs of recordings of different groups whose mean embeddings are nearly the same.

    Embeddings are averaged over clips, standardised over all recordings, and compared by the cosine over the
    modalities that both recordings have, each modality with the same weight.

    Parameters
    ----------
    bags : Bags
    groups : ndarray of shape (n_recordings,)
        Recordings of one group are not compared.
    sources : ndarray of shape (n_recordings,), int64, optional
        Row of the recording that each one is a declared copy of. Where the copies are alike less than `NEAR`, the
        threshold is lowered to what finds 95 % of them, but never to what unrelated recordings would reach.

    Returns
    -------
    NearDuplicates

    Notes
    -----
    The time grows with the square of the number of recordings, the memory does not. How alike unrelated recordings
    may be by chance follows from how many dimensions the cosines really have, one over their mean square.
    """
    vectors, norms = _describe(bags)
    number = np.unique(groups, return_inverse=True)[1]
    known = np.zeros(0)
    if sources is not None:
        copies = np.flatnonzero(sources != np.arange(len(bags)))
        known = _cosines_of(vectors, norms, copies, sources[copies])
        known = known[np.isfinite(known)]
    wanted = min(NEAR, float(np.quantile(known, _KNOWN_SHARE))) if len(known) else NEAR
    pairs, cosines, mean_square = _search(vectors, norms, number, max(0.0, wanted))
    threshold = max(wanted, _reached_by_chance(len(bags), mean_square))
    close = np.flatnonzero(cosines > threshold)
    close = close[np.argsort(-cosines[close], kind="stable")][:MOST_PAIRS]
    return NearDuplicates(
        pairs=pairs[close],
        cosines=cosines[close],
        threshold=threshold,
        n_known=len(known),
        n_known_found=int(np.count_nonzero(known > threshold)),
        lowest_known=float(known.min()) if len(known) else None,
    )


def join_pairs(keys: Sequence[str], pairs: NDArray[np.int64]) -> tuple[str, ...]:
    """Keys in which recordings that a pair names are equal, and those that were equal stay so.

    Parameters
    ----------
    keys : sequence of str
    pairs : ndarray of shape (n_pairs, 2), int64
        Places of the keys.
    """
    if not len(pairs):
        return tuple(keys)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, number = np.unique(np.asarray(keys), return_index=True, return_inverse=True)[1:]
    a = np.concatenate([pairs[:, 0], np.arange(len(keys))])
    b = np.concatenate([pairs[:, 1], first[number]])
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(keys), len(keys)))
    parts = connected_components(graph, directed=False)[1]
    return tuple(keys[root] for root in np.unique(parts, return_index=True)[1][parts].tolist())


def _describe(bags: Bags) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardised mean embeddings side by side, 0 where a modality is missing, and the square of each part."""
    parts = []
    for side in bags.modalities.values():
        part = np.zeros((len(bags), side.dim), dtype=np.float32)
        if side.present.any():
            means = pool(side, "mean").values
            means = means.mean(axis=1) if means.ndim == 3 else means  # (n_present, dim)
            scaling = Standardiser.fit(means, np.ones(len(means)))
            part = np.zeros((len(bags), len(scaling.kept)), dtype=np.float32)
            part[side.present] = scaling.transform(means) / np.sqrt(len(scaling.kept))
        parts.append(part)
    squares = np.stack([(part**2).sum(axis=1) for part in parts], axis=1)  # (n_recordings, n_modalities)
    return np.hstack(parts), squares


def _cosines_of(
    vectors: NDArray[np.float32], squares: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cosine of each pair, shape (n_pairs,); NaN where the two have no modality in common."""
    own = (squares[first] * (squares[second] > 0)).sum(axis=1, dtype=np.float64)
    other = (squares[second] * (squares[first] > 0)).sum(axis=1, dtype=np.float64)
    products = np.einsum("ij,ij->i", vectors[first], vectors[second], dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(products / np.sqrt(own * other))


def _search(
    vectors: NDArray[np.float32], squares: NDArray[np.float32], number: NDArray[np.int64], floor: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Pairs of different groups with a cosine above the floor, and the mean square of all such pairs' cosines."""
    has = (squares > 0).astype(np.float32)
    found, cosines, total, count = [], [], 0.0, 0
    for first in range(0, len(vectors), _CHUNK):
        mine = slice(first, first + _CHUNK)
        common = np.sqrt((squares[mine] @ has[first:].T) * (has[mine] @ squares[first:].T))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = (vectors[mine] @ vectors[first:].T) / common  # (n_chunk, n_left)
        apart = np.triu(number[mine, None] != number[first:], k=1) & np.isfinite(cosine)
        total += float((cosine[apart].astype(np.float64) ** 2).sum())
        count += int(np.count_nonzero(apart))
        above, below = np.nonzero(apart & (cosine > floor))
        values = cosine[above, below].astype(np.float64)
        best = np.argsort(-values, kind="stable")[:MOST_PAIRS]
        found.append(np.stack([above[best], below[best]], axis=1) + first)
        cosines.append(values[best])
    if not found:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0), 0.0
    pairs = np.concatenate(found).astype(np.int64)
    return pairs, np.concatenate(cosines), total / count if count else 0.0


def _reached_by_chance(n: int, mean_square: float) -> float:
    """The cosine that the most alike of all pairs of unrelated recordings reach now and then."""
    from scipy.stats import beta

    n_dims = max(2.0, 1 / mean_square) if mean_square > 0 else 2.0
    share = _BY_CHANCE / max(1, n * (n - 1) / 2)
    # half of all directions lie above 0, and the square of a cosine has a beta distribution
    return float(np.sqrt(beta.isf(min(1.0, 2 * share), 0.5, (n_dims - 1) / 2)))
