"""Linear heads: multinomial logistic regression, and ridge regression with thresholds learnt on the training side.

Features come standardised; both divide them by the square root of their number, so that a penalty
means the same for 30 columns and for 3,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from poise.errors import BundleError
from poise.heads.ordinal import proba_from_cumulative, sigmoid, softmax
from poise.heads.state import get_array

_SLOPE_PENALTY = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class LogisticHead:
    """Multinomial logistic regression with an L2 penalty.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_classes), float64
    intercept : ndarray of shape (n_classes,), float64
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]

    @classmethod
    def fit(
        cls, X: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64], *, C: float
    ) -> LogisticHead:
        """Learn from rows of shape (n, n_features); ``C`` is the inverse penalty at unit row length."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=C, max_iter=2000, tol=1e-6)
        model.fit(X / _row_length(X), ranks, sample_weight=weights)
        coef, intercept = model.coef_.T / _row_length(X), model.intercept_
        if len(model.classes_) == 2:
            coef, intercept = np.hstack([0 * coef, coef]), np.append(0.0, intercept)
        return cls(coef=coef, intercept=intercept)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int) -> LogisticHead:
        """Rebuild from what `arrays` gave."""
        return cls(
            coef=get_array(arrays, "coef", (n_features, n_classes)),
            intercept=get_array(arrays, "intercept", (n_classes,)),
        )

    def predict_proba(self, X: NDArray[np.float64], _offsets: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes)."""
        return softmax(X @ self.coef + self.intercept)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"coef": self.coef, "intercept": self.intercept}


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeHead:
    """Ridge regression on the ranks; thresholds and their softness are learnt from leave-one-out predictions.

    What leave-one-out says about the training rows is what the score looks like on rows that the
    regression has not seen: its own fitted values would look far too sure with more columns than rows.

    Attributes
    ----------
    coef : ndarray of shape (n_features,), float64
    intercept : ndarray of shape (1,), float64
    slope : ndarray of shape (1,), float64
        How sharply the score separates the levels; 0 where it does not.
    cutpoints : ndarray of shape (n_classes - 1,), float64
        The probability of exceeding level k is ``sigmoid(slope * score - cutpoints[k])``.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    cutpoints: NDArray[np.float64]

    @classmethod
    def fit(
        cls, X: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64], *, alpha: float
    ) -> RidgeHead:
        """Learn from rows of shape (n, n_features); ``alpha`` is the penalty at unit row length."""
        counted = weights > 0
        rows, y, w = X[counted] / _row_length(X), ranks[counted], weights[counted]
        coef, intercept, unseen = _ridge_leave_one_out(rows, y.astype(np.float64), w, alpha)
        slope, cutpoints = _fit_thresholds(unseen, y, w, int(ranks.max()) + 1)
        return cls(
            coef=coef / _row_length(X), intercept=np.array([intercept]), slope=np.array([slope]), cutpoints=cutpoints
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int) -> RidgeHead:
        """Rebuild from what `arrays` gave."""
        slope, cutpoints = get_array(arrays, "slope", (1,)), get_array(arrays, "cutpoints", (n_classes - 1,))
        if slope[0] < 0 or (np.diff(cutpoints) < 0).any():
            raise BundleError(
                f"The model's slope is {slope[0]:g} and its cutpoints are {cutpoints.tolist()}; expected a slope from "
                "0 on and rising cutpoints. Train it again."
            )
        return cls(
            coef=get_array(arrays, "coef", (n_features,)),
            intercept=get_array(arrays, "intercept", (1,)),
            slope=slope,
            cutpoints=cutpoints,
        )

    def predict_proba(self, X: NDArray[np.float64], _offsets: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes)."""
        scores = (X @ self.coef + self.intercept)[:, None]  # (n, 1)
        return proba_from_cumulative(sigmoid(self.slope * scores - self.cutpoints))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"coef": self.coef, "intercept": self.intercept, "slope": self.slope, "cutpoints": self.cutpoints}


def _row_length(X: NDArray[np.float64]) -> float:
    return float(np.sqrt(X.shape[1]))


def _ridge_leave_one_out(
    X: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64], alpha: float
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Coefficients, intercept, and the prediction of each row by the regression without it."""
    share = w / w.sum()
    center, mean = share @ X, float(share @ y)
    root = np.sqrt(w)
    rows, targets = root[:, None] * (X - center), root * (y - mean)
    if rows.shape[1] <= len(rows):
        inverse = np.linalg.inv(rows.T @ rows + alpha * np.eye(rows.shape[1]))
        coef, hat = inverse @ (rows.T @ targets), rows @ inverse @ rows.T
    else:
        inverse = np.linalg.inv(rows @ rows.T + alpha * np.eye(len(rows)))
        coef, hat = rows.T @ (inverse @ targets), rows @ rows.T @ inverse
    leverage = np.diag(hat) + share
    residuals = (targets - rows @ coef) / root / np.maximum(1 - leverage, 1e-9)
    return coef, mean - float(center @ coef), y - residuals


def _fit_thresholds(
    scores: NDArray[np.float64], ranks: NDArray[np.int64], w: NDArray[np.float64], n_classes: int
) -> tuple[float, NDArray[np.float64]]:
    """Proportional odds of one column: a slope that is not negative, and rising cutpoints."""
    share = w / w.sum()
    levels = np.arange(n_classes - 1)
    # start from the label distribution: the fit can only improve on the prior
    above = np.clip([share[ranks > level].sum() for level in levels], 1e-3, 1 - 1e-3)
    start = -np.log(above / (1 - above))
    rising = np.concatenate([start[:1], np.log(np.maximum(np.diff(start), 1e-3))])

    def unpack(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return float(theta[0]), np.cumsum(np.concatenate([theta[1:2], np.exp(np.clip(theta[2:], -30, 30))]))

    def loss(theta: NDArray[np.float64]) -> float:
        slope, cutpoints = unpack(theta)
        proba = proba_from_cumulative(sigmoid(slope * scores[:, None] - cutpoints))
        likelihood = np.maximum(proba[np.arange(len(ranks)), ranks], 1e-12)
        return float(-share @ np.log(likelihood) + 0.5 * _SLOPE_PENALTY * slope**2 / len(ranks))

    found = minimize(
        loss, np.concatenate([[1.0], rising]), method="L-BFGS-B", bounds=[(0, None), *[(None, None)] * len(rising)]
    )
    return unpack(found.x)
