"""The span of the training rows: coordinates in which linear models with an L2 penalty lose nothing.

With fewer rows than columns the optimum of such a model is a mix of the training rows. In an orthonormal basis of
their span it has at most as many coefficients as there are rows, of the same length and with the same predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NOTHING = 1e-12
"""Directions with less than this share of the largest variance are rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """Training rows in an orthonormal basis of their span.

    Attributes
    ----------
    train : ndarray of shape (n_train, n_axes), float64
        Their coordinates; the rows themselves where there are no more columns than rows.
    rows : ndarray of shape (n_train, dim), float64
        The rows.
    mix : ndarray of shape (n_train, n_axes), float64, or None
        The axes as mixes of the rows, ``rows.T @ mix``; None where the columns are the axes.
    """

    train: NDArray[np.float64]
    rows: NDArray[np.float64]
    mix: NDArray[np.float64] | None

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> Span:
        """The span of rows of shape (n_train, dim), by the spectrum of their Gram matrix."""
        if rows.shape[1] <= len(rows):
            return cls(train=rows, rows=rows, mix=None)
        variances, directions = np.linalg.eigh(rows @ rows.T)
        kept = variances > _NOTHING * max(float(variances[-1]), np.finfo(np.float64).tiny)
        if not kept.any():  # nothing but zeros
            kept[-1] = True
        lengths = np.sqrt(np.maximum(variances[kept], np.finfo(np.float64).tiny))
        mix = directions[:, kept] / lengths
        return cls(train=directions[:, kept] * lengths, rows=rows, mix=mix)

    def project(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates of other rows (n, dim): shape (n, n_axes). What lies outside the span counts for nothing."""
        return rows if self.mix is None else rows @ self.rows.T @ self.mix

    def lift(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients for the columns, shape (..., dim), from those for the axes, shape (..., n_axes)."""
        return coef if self.mix is None else (coef @ self.mix.T) @ self.rows
