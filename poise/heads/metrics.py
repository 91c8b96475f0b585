"""Metrics of ordinal predictions. A metric that is not defined is None, with the reason beside it, never NaN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

METRICS = ("qwk", "accuracy", "balanced_accuracy", "macro_f1", "mae", "spearman", "log_loss", "rps", "ece")

N_BINS = 10
"""Of equal width, for whether probabilities are what they say."""


class UndefinedMetricError(Exception):
    """A metric has no value on these labels; the message says why. Never leaves this module."""


class _Predictions(NamedTuple):
    ranks: NDArray[np.int64]
    predicted: NDArray[np.int64]
    proba: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metrics by name, and why some have no value.

    Attributes
    ----------
    values : dict of str to float or None
    reasons : dict of str to str
        One for each value that is None.
    """

    values: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)


def compute_scores(
    ranks: NDArray[np.int64],
    predicted: NDArray[np.int64],
    proba: NDArray[np.float64],
    *,
    names: Sequence[str] = METRICS,
) -> Scores:
    """Every metric of some predictions.

    Parameters
    ----------
    ranks : ndarray of shape (n_recordings,), int64
        True ranks 0 .. K-1.
    predicted : ndarray of shape (n_recordings,), int64
    proba : ndarray of shape (n_recordings, n_classes), float64
    names : sequence of str

    Returns
    -------
    Scores
    """
    values: dict[str, float | None] = {}
    reasons = {}
    for name in names:
        try:
            if not len(ranks):
                raise UndefinedMetricError("no recording is scored")
            values[name] = _METRICS[name](_Predictions(ranks, predicted, proba))
        except UndefinedMetricError as why:
            values[name], reasons[name] = None, str(why)
    return Scores(values=values, reasons=reasons)


def summarise(scores: Sequence[Scores]) -> tuple[Scores, Scores]:
    """Mean and sample standard deviation of each metric over folds or repeats, where it is defined."""
    means, stds = Scores(values={}), Scores(values={})
    for name in scores[0].values if scores else ():
        known = [value for one in scores if (value := one.values[name]) is not None]
        why = next((one.reasons[name] for one in scores if name in one.reasons), "")
        _put(means, name, float(np.mean(known)) if known else None, f"in every one of {len(scores)}: {why}")
        spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
        _put(stds, name, spread, f"defined in {len(known)} of {len(scores)}, a spread needs two")
    return means, stds


def count_confusion(ranks: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Recordings of each true level (row) predicted as each level (column), shape (n_classes, n_classes)."""
    return np.bincount(ranks * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def quadratic_kappa(confusion: NDArray[np.number]) -> NDArray[np.float64]:
    """Quadratically weighted kappa of confusion tables (Cohen 1968, doi:10.1037/h0026256).

    Parameters
    ----------
    confusion : ndarray of shape (..., n_classes, n_classes)

    Returns
    -------
    ndarray of shape (...), float64
        NaN where either all truth and predictions are of one level, or nothing is counted.
    """
    levels = np.arange(confusion.shape[-1])
    weights = (levels[:, None] - levels) ** 2
    expected = confusion.sum(-1)[..., :, None] * confusion.sum(-2)[..., None, :]  # (..., n_classes, n_classes)
    disagreement = (weights * expected).sum((-1, -2)).astype(np.float64)
    observed = (weights * confusion).sum((-1, -2)) * confusion.sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - np.where(disagreement > 0, observed / disagreement, np.nan))


def _put(scores: Scores, name: str, value: float | None, why: str) -> None:
    scores.values[name] = value
    if value is None:
        scores.reasons[name] = why


def _qwk(case: _Predictions) -> float:
    _check_levels(case.ranks)
    return float(quadratic_kappa(count_confusion(case.ranks, case.predicted, case.proba.shape[1])))


def _accuracy(case: _Predictions) -> float:
    return float(np.mean(case.ranks == case.predicted))


def _balanced_accuracy(case: _Predictions) -> float:
    """Mean recall of the levels that are there."""
    return float(np.mean([np.mean(case.predicted[case.ranks == level] == level) for level in np.unique(case.ranks)]))


def _macro_f1(case: _Predictions) -> float:
    """Mean F1 of the levels that are there or are predicted."""
    table = count_confusion(case.ranks, case.predicted, case.proba.shape[1])
    hits, both = np.diag(table), table.sum(0) + table.sum(1)
    return float(np.mean(2 * hits[both > 0] / both[both > 0]))


def _mae(case: _Predictions) -> float:
    return float(np.mean(np.abs(case.ranks - case.predicted)))


def _spearman(case: _Predictions) -> float:
    """Rank correlation of the label with the expected level, which ties less than the predicted label."""
    _check_levels(case.ranks)
    # rounding would order what is equal
    expected = np.round(case.proba @ np.arange(case.proba.shape[1]), 12)
    if np.ptp(expected) == 0:
        raise UndefinedMetricError("every recording gets the same prediction")
    return float(spearmanr(case.ranks, expected).statistic)


def _log_loss(case: _Predictions) -> float:
    likelihood = case.proba[np.arange(len(case.ranks)), case.ranks]
    return float(-np.mean(np.log(np.clip(likelihood, np.finfo(np.float64).eps, 1))))


def ranked_probability(proba: NDArray[np.float64], ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranked probability score of each row (Epstein 1969), divided by the number of levels less one.

    Parameters
    ----------
    proba : ndarray of shape (..., n_rows, n_levels), float64
    ranks : ndarray of shape (n_rows,), int64

    Returns
    -------
    ndarray of shape (..., n_rows), float64
        From 0 to 1.
    """
    levels = np.arange(proba.shape[-1] - 1)
    at_most = np.cumsum(proba, axis=-1)[..., :-1]
    truth = ranks[:, None] <= levels
    return np.asarray(((at_most - truth) ** 2).mean(-1))


def _rps(case: _Predictions) -> float:
    return float(ranked_probability(case.proba, case.ranks).mean())


def bin_confidence(
    ranks: NDArray[np.int64], predicted: NDArray[np.int64], proba: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How sure predictions are and how often they are right, in bins of equal width.

    Parameters
    ----------
    ranks : ndarray of shape (n_recordings,), int64
    predicted : ndarray of shape (n_recordings,), int64
    proba : ndarray of shape (n_recordings, n_classes), float64

    Returns
    -------
    ndarray of shape (3, N_BINS), float64
        Recordings whose predicted level has a probability in ``(low, high]``, their sum of that probability, and how
        many of them are right.
    """
    sure = proba[np.arange(len(ranks)), predicted]
    bins = np.clip(np.ceil(sure * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    each = (np.ones(len(ranks)), sure, (ranks == predicted).astype(np.float64))
    return np.stack([np.bincount(bins, weights=one, minlength=N_BINS) for one in each])


def _ece(case: _Predictions) -> float:
    """Expected calibration error of the predicted label's probability, ten bins of equal width."""
    n, sure, right = bin_confidence(case.ranks, case.predicted, case.proba)
    return float(np.abs(sure - right).sum() / n.sum())


def _check_levels(ranks: NDArray[np.int64]) -> None:
    if np.ptp(ranks) == 0:
        raise UndefinedMetricError("the scored recordings are all of one level")


_METRICS: Mapping[str, Callable[[_Predictions], float]] = {
    "qwk": _qwk,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "mae": _mae,
    "spearman": _spearman,
    "log_loss": _log_loss,
    "rps": _rps,
    "ece": _ece,
}
