"""What a network sees of one block: standardised columns, turned into a few principal components; or all as it is.

Learnt from training rows alone. Rows are taken in pieces, so that memory does not grow with a second copy of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.pooling import pool
from poise.heads.scaling import Projection, Standardiser
from poise.heads.state import part_of
from poise.store.bags import ModalityBags

_PIECE_CELLS = 1 << 21
_MOST_ROWS = 8192
"""More rows do not move the leading directions: they are learnt from so many, evenly spaced (layers count as rows)."""

_EXACT_SIDE = 320
_SPARE_AXES = 16
_PASSES = 4
_STRETCH = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduction:
    """Standardisation of every column, of each layer for itself, and components that the layers share.

    Attributes
    ----------
    n_layers : int or None
        None where the block has no axis for layers.
    dim : int
        Length of a vector of the block.
    standardiser : Standardiser or None
        Of ``n_layers * dim`` columns; None of a foreign network, which sees rows as they are.
    projection : Projection or None
        Of ``dim`` columns; one that does not vary is 0. None where there is no standardiser.
    """

    n_layers: int | None
    dim: int
    standardiser: Standardiser | None
    projection: Projection | None

    @classmethod
    def fit(cls, block: ModalityBags, weights: NDArray[np.float64], *, n_components: int) -> Reduction:
        """Learn from the rows of recordings.

        Rows are standardised, each with the weight of its recording. Components are those of recordings: of clips that
        are yet to be pooled, of their means. Components of the clips themselves would mostly say how clips of one
        recording differ, and networks on them were far worse on recordings with a known signal.

        Parameters
        ----------
        block : ModalityBags
            Values of shape (n_rows, [n_layers,] dim). Without rows nothing is learnt, and all vectors become 0.
        weights : ndarray of shape (n_recordings,), float64
            Above 0.
        n_components : int
            At most.
        """
        values = block.values
        if not len(values):
            return cls._of_nothing(values)
        n_columns, dim = int(np.prod(values.shape[1:])), values.shape[-1]
        standardiser = _standardise(values.reshape(-1, n_columns), np.repeat(weights, block.n_clips))
        means, own = pool(block, "mean").values, weights[block.present]
        most = max(n_components, _MOST_ROWS * dim // n_columns)
        picked = np.linspace(0, len(means) - 1, min(len(means), most)).astype(np.int64)
        rows = _transform(standardiser, means[picked].reshape(-1, n_columns)).reshape(-1, dim)
        shares = np.repeat(own[picked] / own[picked].sum(), n_columns // dim) * dim / n_columns
        return cls(
            n_layers=values.shape[1] if values.ndim == 3 else None,
            dim=dim,
            standardiser=standardiser,
            projection=_project(rows, shares, n_components),
        )

    @classmethod
    def _of_nothing(cls, values: NDArray[np.floating]) -> Reduction:
        n_columns, dim = int(np.prod(values.shape[1:])), values.shape[-1]
        nothing = np.zeros(n_columns)
        return cls(
            n_layers=values.shape[1] if values.ndim == 3 else None,
            dim=dim,
            standardiser=Standardiser.of_moments(nothing, nothing, nothing),
            projection=Projection(center=np.zeros(dim, np.float32), components=np.zeros((dim, 1), np.float32)),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_layers: int | None, dim: int) -> Reduction:
        """Rebuild from what `arrays` gave."""
        if not any(name.startswith(("standardiser.", "projection.")) for name in arrays):
            return cls(n_layers=n_layers, dim=dim, standardiser=None, projection=None)
        return cls(
            n_layers=n_layers,
            dim=dim,
            standardiser=Standardiser.from_arrays(part_of(arrays, "standardiser"), n_features=(n_layers or 1) * dim),
            projection=Projection.from_arrays(part_of(arrays, "projection"), n_features=dim),
        )

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to learn from."""
        return self.projection is not None and not self.projection.components.any()

    @property
    def n_components(self) -> int:
        """Length of a vector afterwards."""
        return int(self.projection.components.shape[1]) if self.projection else self.dim

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        parts = {"standardiser": self.standardiser, "projection": self.projection}
        return {f"{part}.{name}": array for part, one in parts.items() if one for name, array in one.arrays().items()}

    def transform(self, values: NDArray[np.floating], *, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Coordinates of shape (n_rows, n_layers or 1, n_components).

        In float64 those of a row are the same whatever stands beside it, but for the last digits.
        """
        n, n_layers = len(values), self.n_layers or 1
        if self.standardiser is None or self.projection is None:
            return values.reshape(n, n_layers, self.dim).astype(dtype)
        found = np.empty((n, n_layers, self.n_components), dtype=dtype)
        center, axes = (array.astype(dtype) for array in (self.projection.center, self.projection.components))
        for piece in _pieces(values.reshape(n, n_layers * self.dim)):
            rows = _transform(self.standardiser, values[piece].reshape(-1, n_layers * self.dim)).astype(dtype)
            rows = rows.reshape(-1, self.dim) - center
            found[piece] = (rows @ axes).reshape(-1, n_layers, self.n_components)
        return found


def _pieces(rows: NDArray[Any]) -> Iterator[slice]:
    size = max(1, _PIECE_CELLS // max(1, rows.shape[1]))
    return (slice(first, first + size) for first in range(0, len(rows), size))


def _standardise(rows: NDArray[np.floating], weights: NDArray[np.float64]) -> Standardiser:
    """As `Standardiser.fit`, piece by piece."""
    share = weights / weights.sum()
    center, variance, largest = (np.zeros(rows.shape[1]) for _ in range(3))
    for piece in _pieces(rows):
        wide = rows[piece].astype(np.float64)
        center += share[piece] @ wide
        np.maximum(largest, np.abs(wide).max(axis=0), out=largest)
    for piece in _pieces(rows):
        wide = rows[piece] - center
        np.square(wide, out=wide)
        variance += share[piece] @ wide
    return Standardiser.of_moments(center, np.sqrt(variance), largest)


def _transform(standardiser: Standardiser, rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Standardised rows, all columns in their places: 0 where a column does not vary."""
    scaled = standardiser.transform(rows).astype(np.float32)
    if scaled.shape[1] == rows.shape[1]:
        return scaled
    wide = np.zeros(rows.shape, dtype=np.float32)
    wide[:, standardiser.kept] = scaled
    return wide


def _project(rows: NDArray[np.float32], shares: NDArray[np.float64], n_components: int) -> Projection:
    """As `Projection.fit`, but of many rows and columns only the leading axes are found; and steeper."""
    if min(rows.shape) <= _EXACT_SIDE or n_components + _SPARE_AXES >= min(rows.shape):
        return _steepen(Projection.fit(rows.astype(np.float64), shares, n_components=n_components), rows, shares)
    center = (shares @ rows).astype(np.float32)
    weighted = np.sqrt(shares / shares.sum()).astype(np.float32)[:, None] * (rows - center)
    variances, directions = leading_axes(weighted, n_components)
    return _steepen(Projection.of_axes(center, variances, directions), rows, shares)


def _steepen(projection: Projection, rows: NDArray[np.float32], shares: NDArray[np.float64]) -> Projection:
    """Stretch components by the fourth root of their variances; the mean variance stays 1.

    AdamW steps equally far along every coordinate, so that it learns the many small components, which are mostly noise,
    as fast as the few large ones. Measured on recordings with a known signal: whitening takes all skill away, and
    stretching lowers the ranked probability score of softmax and corn by a tenth.
    """
    variances = shares @ projection.transform(rows.astype(np.float64)) ** 2
    if not variances.any():
        return projection
    stretch = variances**_STRETCH / np.sqrt(np.mean(variances ** (1 + 2 * _STRETCH)))
    return replace(projection, components=(projection.components * stretch).astype(np.float32))


def leading_axes(rows: NDArray[np.float32], n_axes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances and directions of the leading principal axes, by a few passes over the rows.

    Subspace iteration with a fixed start: Halko, Martinsson, Tropp (2011), Finding structure with randomness,
    SIAM Review 53, doi:10.1137/090771806.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, dim), float32
        Centred.
    n_axes : int

    Returns
    -------
    variances : ndarray of shape (n_axes,), float64
        Largest first.
    directions : ndarray of shape (dim, n_axes), float64
    """
    start = np.random.default_rng(0).standard_normal((rows.shape[1], n_axes + _SPARE_AXES), dtype=np.float32)
    basis = start
    for _ in range(_PASSES):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]  # (dim, n_axes + spare)
    seen = (rows @ basis).astype(np.float64)
    variances, mixes = np.linalg.eigh(seen.T @ seen)
    directions = basis @ mixes[:, ::-1][:, :n_axes]
    # the sign of an axis is arbitrary: its largest entry is positive
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(n_axes)])
    return variances[::-1][:n_axes], directions
