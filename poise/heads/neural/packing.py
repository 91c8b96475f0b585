"""Recordings of several training sides as tensors: clips stay packed, and only scores and pooled clips are laid out.

One axis stands for the sides of a stack. Where they have different numbers of recordings, clips or columns, the rest is
0 and counts nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poise.store.format.ragged import row_offsets, span_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """One block of recordings after its reduction.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_layers, dim)
    offsets : ndarray of shape (n_recordings + 1,), int64
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each recording; none where the block is missing."""
        return np.diff(self.offsets)

    def take(self, recordings: NDArray[np.int64]) -> Rows:
        """The rows of some recordings."""
        counts = self.counts[recordings]
        return Rows(values=self.values[span_rows(self.offsets[:-1][recordings], counts)], offsets=row_offsets(counts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Slots:
    """Where clips lie when those of one recording stand side by side.

    Recordings of similar length share a bucket that is as wide as its longest, so that little is padding.

    Attributes
    ----------
    places : tensor of shape (n_sides * n_columns,), int64
        Slot of each packed clip; one past the last for what is no clip.
    values : tensor of shape (n_slots, n_layers * dim)
        The clips themselves, 0 in empty slots.
    buckets : tuple of (first slot, number of recordings, width)
    owners : tensor of shape (n_pooled,), int64
        Place of each bucket's recordings among ``n_sides * n_recordings``.
    """

    places: torch.Tensor
    values: torch.Tensor
    buckets: tuple[tuple[int, int, int], ...]
    owners: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One block of a batch.

    Attributes
    ----------
    columns : tensor of shape (n_sides, n_layers * dim, n_columns)
        Clips if ``slots`` are there, else recordings.
    slots : Slots or None
    present : tensor of shape (n_sides, 1, n_recordings), or None
        1 where a recording has the block; None where all do.
    """

    columns: torch.Tensor
    slots: Slots | None
    present: torch.Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Recordings that a stack of networks sees at once.

    Attributes
    ----------
    n_sides, n_recordings : int
        Recordings of the longest side.
    blocks : dict of str to Block
    """

    n_sides: int
    n_recordings: int
    blocks: dict[str, Block]


def pack(sides: Sequence[Mapping[str, Rows]], *, pools: bool, device: torch.device | None = None) -> Batch:
    """Put the recordings of several sides into one batch.

    Parameters
    ----------
    sides : sequence of mappings of str to Rows
        Blocks of each side, the same names in all.
    pools : bool
        Whether rows are clips that are yet to be pooled.
    device : torch.device, optional
    """
    n = max(len(next(iter(side.values())).counts) for side in sides)
    blocks = {name: _pack_block([side[name] for side in sides], n, pools, device) for name in sides[0]}
    return Batch(n_sides=len(sides), n_recordings=n, blocks=blocks)


def _pack_block(sides: Sequence[Rows], n: int, pools: bool, device: torch.device | None) -> Block:
    n_layers, dim = (max(side.values.shape[axis] for side in sides) for axis in (1, 2))
    n_columns = max(1, *(len(side.values) for side in sides)) if pools else n
    columns = np.zeros((len(sides), n_layers, dim, n_columns), dtype=sides[0].values.dtype)
    present = np.zeros((len(sides), 1, n), dtype=columns.dtype)
    for place, side in enumerate(sides):
        there = np.flatnonzero(side.counts)
        where = np.arange(len(side.values)) if pools else there
        columns[place, :, : side.values.shape[2], where] = side.values
        present[place, 0, there] = 1
    lacking = any(not side.counts.all() for side in sides)
    flat = torch.from_numpy(columns.reshape(len(sides), n_layers * dim, n_columns)).to(device)
    return Block(
        columns=flat,
        slots=_lay_out(sides, flat, n) if pools else None,
        present=torch.from_numpy(present).to(device) if lacking else None,
    )


def _lay_out(sides: Sequence[Rows], columns: torch.Tensor, n: int) -> Slots:
    """Slots of the clips of all sides; no more than half of a bucket is empty."""
    n_columns = columns.shape[2]
    counts = np.concatenate([side.counts for side in sides])
    starts = np.concatenate([side.offsets[:-1] + place * n_columns for place, side in enumerate(sides)])
    owners = np.concatenate([np.arange(len(side.counts)) + place * n for place, side in enumerate(sides)])
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    buckets, firsts, end = [], [], 0
    for first, last in _cut(counts[order]):
        width = int(counts[order[first]])
        buckets.append((end, last - first, width))
        firsts.append(end + width * np.arange(last - first))
        end += width * (last - first)
    places = np.full(len(sides) * n_columns, end)
    if len(order):
        clips = span_rows(starts[order], counts[order])
        places[clips] = span_rows(np.concatenate(firsts), counts[order])
    where = torch.from_numpy(places).to(columns.device)
    values = columns.new_zeros((end + 1, columns.shape[1]))
    values[where] = columns.transpose(1, 2).reshape(-1, columns.shape[1])
    return Slots(
        places=where,
        values=values[:end],
        buckets=tuple(buckets),
        owners=torch.from_numpy(owners[order]).to(columns.device),
    )


def _cut(lengths: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of falling lengths, the shortest more than half of the longest; one run where little is lost by it."""
    if not len(lengths):
        return []
    if len(lengths) * lengths[0] < _EMPTY_SHARE * lengths.sum():
        return [(0, len(lengths))]
    edges = [0]
    while edges[-1] < len(lengths):
        edges.append(int(np.searchsorted(-lengths, -(lengths[edges[-1]] // 2), side="left")))
    return list(itertools.pairwise(edges))


_EMPTY_SHARE = 1.3
