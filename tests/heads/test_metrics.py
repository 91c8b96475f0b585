"""Metrics equal scikit-learn, scipy and a plain loop; what is undefined is None with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import skordinal.metrics as skordinal
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    mean_absolute_error,
)

from poise.heads.metrics import METRICS, compute_scores, count_confusion, quadratic_kappa, summarise
from poise.heads.statistics.bootstrap import bootstrap_groups

K = 4


def draw(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    proba = random.dirichlet(np.ones(K), size=n)
    return random.integers(0, K, n), proba.argmax(1), proba


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_the_references(seed):
    """Seven metrics are those of scikit-learn and scipy."""
    ranks, predicted, proba = draw(seed)
    values = compute_scores(ranks, predicted, proba).values
    expected = {
        "qwk": cohen_kappa_score(ranks, predicted, weights="quadratic"),
        "accuracy": accuracy_score(ranks, predicted),
        "balanced_accuracy": balanced_accuracy_score(ranks, predicted),
        "macro_f1": f1_score(ranks, predicted, average="macro"),
        "mae": mean_absolute_error(ranks, predicted),
        "spearman": spearmanr(ranks, proba @ np.arange(K)).statistic,
        "log_loss": log_loss(ranks, proba, labels=range(K)),
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


def test_ranked_probability_score_equals_a_loop():
    """The mean squared distance of the cumulative distributions, over recordings and thresholds."""
    ranks, predicted, proba = draw(0)
    total = 0.0
    for rank, shares in zip(ranks, proba, strict=True):
        for level in range(K - 1):
            total += (sum(shares[: level + 1]) - (1.0 if rank <= level else 0.0)) ** 2 / (K - 1)
    assert compute_scores(ranks, predicted, proba).values["rps"] == pytest.approx(total / len(ranks), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_ordinal_scores_are_those_of_skordinal(seed):
    """Its ranked probability score is a sum over thresholds, ours their mean."""
    ranks, predicted, proba = draw(seed)
    found = compute_scores(ranks, predicted, proba).values
    assert found["rps"] == pytest.approx(skordinal.ranked_probability_score(ranks, proba) / (K - 1), abs=1e-12)
    assert found["mae"] == pytest.approx(skordinal.mean_absolute_error(ranks, predicted), abs=1e-12)


def test_calibration_error_equals_a_loop():
    """Ten bins of the predicted label's probability, weighted by their size."""
    ranks, predicted, proba = draw(1)
    sure = proba[np.arange(len(ranks)), predicted]
    total = 0.0
    for low in np.arange(10) / 10:
        inside = (sure > low) & (sure <= low + 0.1 + 1e-15)
        if inside.any():
            total += inside.mean() * abs(sure[inside].mean() - (ranks == predicted)[inside].mean())
    assert compute_scores(ranks, predicted, proba).values["ece"] == pytest.approx(total, abs=1e-12)


def test_undefined_metrics_are_none_with_a_reason():
    """One level only, one prediction only, nothing scored: no NaN, but a sentence."""
    proba = np.tile([0.2, 0.5, 0.2, 0.1], (5, 1))
    one_level = compute_scores(np.ones(5, dtype=int), proba.argmax(1), proba)
    assert one_level.values["qwk"] is None
    assert "one level" in one_level.reasons["qwk"]
    assert one_level.values["accuracy"] == 1.0
    same = compute_scores(np.array([0, 1, 2, 1, 0]), proba.argmax(1), proba)
    assert same.values["spearman"] is None
    assert "same prediction" in same.reasons["spearman"]
    assert same.values["qwk"] == 0.0
    nothing = compute_scores(np.zeros(0, dtype=int), np.zeros(0, dtype=int), proba[:0])
    assert set(nothing.values.values()) == {None}
    assert set(nothing.reasons) == set(METRICS)


def test_log_loss_of_an_impossible_level_is_large_but_finite():
    """A level with probability 0 is a wrong prediction, not infinity."""
    value = compute_scores(np.array([0, 1]), np.array([1, 1]), np.array([[0.0, 1.0], [0.0, 1.0]])).values["log_loss"]
    assert value is not None
    assert 10 < value < 40


def test_summary_counts_only_folds_where_a_metric_is_defined():
    """The mean leaves undefined folds out; a spread needs two."""
    proba = np.eye(2)
    good = compute_scores(np.array([0, 1]), np.array([0, 1]), proba)
    undefined = compute_scores(np.array([1, 1]), np.array([0, 1]), proba)
    mean, std = summarise([good, undefined])
    assert mean.values["qwk"] == 1.0
    assert mean.values["accuracy"] == 0.75
    assert std.values["qwk"] is None
    assert "1 of 2" in std.reasons["qwk"]
    assert std.values["accuracy"] == pytest.approx(np.std([1.0, 0.5], ddof=1))
    mean, _ = summarise([undefined])
    assert mean.values["qwk"] is None
    assert "one level" in mean.reasons["qwk"]


def test_group_bootstrap_equals_drawing_recordings_of_groups():
    """Adding up tables gives what drawing the recordings again and calling scikit-learn gives."""
    ranks, predicted, _ = draw(3)
    groups = np.arange(len(ranks)) % 6
    tables = np.stack([count_confusion(ranks[groups == g], predicted[groups == g], K) for g in range(6)])
    drawn = np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), size=200)
    values = []
    for times in drawn:
        rows = np.concatenate([np.tile(np.flatnonzero(groups == g), times[g]) for g in range(6)])
        values.append(cohen_kappa_score(ranks[rows], predicted[rows], weights="quadratic"))
    expected = np.quantile(values, [0.025, 0.975])
    found = bootstrap_groups(tables, n_draws=200, seed=7)
    assert found.values["qwk"] == pytest.approx(tuple(expected), abs=1e-12)
    assert quadratic_kappa(tables.sum(0)) == pytest.approx(cohen_kappa_score(ranks, predicted, weights="quadratic"))


def test_interval_needs_groups_and_levels():
    """Too few groups, or draws with one level only, give no interval but a reason."""
    few = bootstrap_groups(np.ones((2, 3, 3), dtype=int))
    assert few.values["qwk"] is None
    assert "2 groups" in few.reasons["qwk"]
    alike = np.zeros((4, 2, 2), dtype=int)
    alike[:, 0, 0] = 3
    found = bootstrap_groups(alike)
    assert found.values["qwk"] is None
    assert "one level" in found.reasons["qwk"]
    assert found.values["accuracy"] == (1.0, 1.0)
