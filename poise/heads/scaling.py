"""What is learnt about features before any head: which columns vary, their scale, and the span of the rows.

Everything is weighted, so that a weight of 2 is the same as a row standing there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.state import get_array

CLIP = 6.0
"""Standardised features are kept within this many standard deviations: a column that hardly varied may explode."""

_NEAR_CONSTANT = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Standardiser:
    """Centre and scale of the columns that vary.

    Attributes
    ----------
    center, scale : ndarray of shape (n_kept,), float64
    kept : ndarray of shape (n_kept,), int64
        Columns that vary by more than rounding; all, if none does.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    kept: NDArray[np.int64]

    @classmethod
    def fit(cls, X: NDArray[np.floating], weights: NDArray[np.float64]) -> Standardiser:
        """Learn from rows of shape (n, dim) with their weights of shape (n,); NaN is what a row does not have."""
        counted = weights > 0
        rows, share = X[counted].astype(np.float64), weights[counted] / weights.sum()
        if np.isnan(rows).any():
            return cls.of_moments(*_moments_of_present(rows, share))
        center = share @ rows
        spread = np.sqrt(share @ (rows - center) ** 2)
        return cls.of_moments(center, spread, np.abs(rows).max(axis=0))

    @classmethod
    def of_moments(
        cls, center: NDArray[np.float64], spread: NDArray[np.float64], largest: NDArray[np.float64]
    ) -> Standardiser:
        """From mean, standard deviation and largest size of every column, each of shape (dim,)."""
        varies = spread > _NEAR_CONSTANT * largest
        kept = np.flatnonzero(varies) if varies.any() else np.arange(len(center))
        scale = np.where(varies, spread, 1.0)[kept]
        return cls(center=center[kept], scale=scale, kept=kept)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int) -> Standardiser:
        """Rebuild from what `arrays` gave, for rows of so many features."""
        kept = get_array(arrays, "kept", (None,))
        if not len(kept) or kept.dtype.kind != "i" or kept.min() < 0 or kept.max() >= n_features:
            raise BundleError(f"The model keeps columns that {n_features} features do not have. Train it again.")
        center, scale = (get_array(arrays, name, (len(kept),)) for name in ("center", "scale"))
        if (kept[1:] <= kept[:-1]).any() or (scale <= 0).any():
            raise BundleError(
                "The model's standardisation is damaged: expected rising columns and scales above 0. Train it again."
            )
        return cls(center=center, scale=scale, kept=kept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"center": self.center, "scale": self.scale, "kept": self.kept}

    def transform(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Standardised and clipped columns, shape (n, n_kept), float64; 0, the mean, in place of NaN."""
        columns = X if len(self.kept) == X.shape[1] else X[:, self.kept]
        scaled = np.clip((columns - self.center) / self.scale, -CLIP, CLIP)
        return np.nan_to_num(scaled, copy=False, nan=0.0)


def _moments_of_present(
    rows: NDArray[np.float64], share: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, standard deviation and largest size of each column over the rows that have it; 0 where none has."""
    there = ~np.isnan(rows)
    mass = share @ there
    some = np.where(mass > 0, mass, 1.0)
    filled = np.where(there, rows, 0.0)
    center = share @ filled / some
    spread = np.sqrt(share @ np.where(there, (filled - center) ** 2, 0.0) / some)
    return center, spread, np.abs(filled).max(axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Rotation into the leading principal components, at most the span of the training rows.

    The components keep their relative variances (nothing is whitened) and are scaled together so
    that their mean variance is 1.

    Attributes
    ----------
    center : ndarray of shape (dim,), float32
    components : ndarray of shape (dim, n_components), float32
    """

    center: NDArray[np.float32]
    components: NDArray[np.float32]

    @classmethod
    def fit(cls, X: NDArray[np.float64], weights: NDArray[np.float64], *, n_components: int) -> Projection:
        """Learn from rows of shape (n, dim) with their weights of shape (n,)."""
        share = weights / weights.sum()
        center = share @ X
        rows = np.sqrt(share)[:, None] * (X - center)
        variances, directions = _principal_axes(rows)
        return cls.of_axes(center, variances[:n_components], directions[:, :n_components])

    @classmethod
    def of_axes(
        cls, center: NDArray[np.floating], variances: NDArray[np.float64], directions: NDArray[np.float64]
    ) -> Projection:
        """From the variances along orthonormal directions of shape (dim, n_axes), largest first."""
        # in float32 what lies below is rounding
        kept = np.flatnonzero(variances > 1e-7 * variances.max(initial=0.0))
        if not len(kept):
            kept = np.arange(1)
        scale = np.sqrt(variances[kept].mean()) or 1.0
        return cls(center=center.astype(np.float32), components=(directions[:, kept] / scale).astype(np.float32))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int) -> Projection:
        """Rebuild from what `arrays` gave, for rows of so many features."""
        center, components = (
            get_array(arrays, "center", (n_features,)),
            get_array(arrays, "components", (n_features, None)),
        )
        return cls(center=center.astype(np.float32), components=components.astype(np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"center": self.center, "components": self.components}

    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates of shape (n, n_components), float64."""
        return np.asarray((X - self.center) @ self.components.astype(np.float64))


def _principal_axes(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances, largest first, and orthonormal directions of shape (dim, n_axes)."""
    n, dim = rows.shape
    if dim <= n:
        variances, directions = np.linalg.eigh(rows.T @ rows)
        return variances[::-1], directions[:, ::-1]
    # fewer rows than columns: the small Gram matrix has the same spectrum
    variances, mixes = np.linalg.eigh(rows @ rows.T)
    variances, mixes = variances[::-1], mixes[:, ::-1]
    lengths = np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    return variances, rows.T @ (mixes / lengths)
