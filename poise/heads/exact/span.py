"""The span of the training rows: coordinates in which linear models with an L2 penalty lose nothing.

With fewer rows than columns the optimum of such a model is a mix of the training rows. In an orthonormal basis of
their span it has at most as many coefficients as there are rows, of the same length and with the same predictions.
Above a limit only the leading principal axes are kept, which is an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_AXES = 256
"""More are not kept unless they are asked for: the cost of a fit grows with their square."""

_NOTHING = 1e-12
"""Directions with less than this share of the largest variance are rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """Training rows in an orthonormal basis of their span.

    Attributes
    ----------
    train : ndarray of shape (n_train, n_axes), float64
        Their coordinates; the rows themselves where there are no more columns than rows and than axes.
    axes : ndarray of shape (dim, n_axes), float64, or None
        Orthonormal columns; None where the columns of the rows are the axes.
    """

    train: NDArray[np.float64]
    axes: NDArray[np.float64] | None

    @classmethod
    def of(cls, rows: NDArray[np.float64], *, most: int = MOST_AXES) -> Span:
        """The span of rows of shape (n_train, dim), or its ``most`` leading principal axes."""
        n, dim = rows.shape
        if dim <= min(n, most):
            return cls(train=rows, axes=None)
        # the smaller of the two Gram matrices has the whole spectrum
        variances, directions = np.linalg.eigh(rows @ rows.T if n <= dim else rows.T @ rows)
        kept = np.flatnonzero(variances > _NOTHING * max(float(variances[-1]), np.finfo(np.float64).tiny))[-most:]
        if not len(kept):  # nothing but zeros
            kept = np.array([len(variances) - 1])
        directions = directions[:, kept]
        if n > dim:
            return cls(train=rows @ directions, axes=directions)
        lengths = np.sqrt(np.maximum(variances[kept], np.finfo(np.float64).tiny))
        return cls(train=directions * lengths, axes=rows.T @ (directions / lengths))

    def project(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates of other rows (n, dim): shape (n, n_axes). What lies outside the span counts for nothing."""
        return rows if self.axes is None else rows @ self.axes

    def lift(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients for the columns, shape (..., dim), from those for the axes, shape (..., n_axes)."""
        return coef if self.axes is None else coef @ self.axes.T
