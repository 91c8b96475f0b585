"""What leakage does to a number, measured on recordings where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.metrics import compute_scores
from poise.heads.splits import Protocol, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import cross_validate
from tests.heads.leakage import make_leaky

LINEAR = "mean/mid/logistic:alpha=0.65"
"""A penalty as strong as scikit-learn's C=0.001 on standardised columns."""

NESTED = "mean/mid/cumulative"


def measure(strategies: list[str], protocol: str, *, seeds: range, **recipe: object) -> dict[str, np.ndarray]:
    """Accuracy and quadratic kappa of each strategy, mean over data sets, copies scored too."""
    found: dict[str, list[list[float]]] = {name: [] for name in strategies}
    for seed in seeds:
        bags, manifest = make_leaky(seed=seed, **recipe)
        parsed = Protocol.parse(protocol)
        folds = make_folds(parsed, manifest, seed=seed)
        groups = manifest.sources if parsed.column else None
        for name, figures in found.items():
            out = cross_validate(Strategy.parse(name), bags, manifest.labels, folds, n_classes=3, groups=groups)
            values = compute_scores(manifest.labels, out.predicted[0], out.proba[0]).values
            figures.append([values["accuracy"], values["qwk"]])
    return {name: np.mean(figures, axis=0) for name, figures in found.items()}


def test_random_folds_score_noise_at_eighty_five_percent_and_groups_at_chance():
    """Labels are dice; near copies on both sides of a fold are all that there is to learn."""
    leaky = measure([LINEAR, NESTED], "stratified:5", seeds=range(4), random_labels=True)
    honest = measure([LINEAR, NESTED], "group:source:5", seeds=range(4), random_labels=True)
    for name in (LINEAR, NESTED):
        assert leaky[name][0] > 0.75
        assert 0.22 < honest[name][0] < 0.44


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "random_folds", "by_source", "kappa_by_source"),
    [
        ({"random_labels": True}, (0.80, 0.90), (0.27, 0.39), (-0.13, 0.13)),
        ({"signal": 1.0}, (0.88, 0.95), (0.55, 0.66), (0.58, 0.75)),
        ({"signal": 2.0}, (0.90, 0.98), (0.70, 0.80), (0.75, 0.88)),
    ],
    ids=["noise", "signal 1", "signal 2"],
)
def test_linear_head_lies_where_it_was_measured(recipe, random_folds, by_source, kappa_by_source):
    """The mean of twenty data sets falls into the range that other code measured on the same recipe."""
    leaky = measure([LINEAR], "stratified:5", seeds=range(20), **recipe)[LINEAR]
    honest = measure([LINEAR], "group:source:5", seeds=range(20), **recipe)[LINEAR]
    assert random_folds[0] < leaky[0] < random_folds[1]
    assert by_source[0] < honest[0] < by_source[1]
    assert kappa_by_source[0] < honest[1] < kappa_by_source[1]


@pytest.mark.slow
def test_choosing_the_penalty_inside_each_fold_costs_nothing_and_pays():
    """The default head chooses on inner groups: at chance on noise, above the fixed penalty on a signal."""
    noise = measure([NESTED], "group:source:5", seeds=range(12), random_labels=True)[NESTED]
    assert 0.27 < noise[0] < 0.39
    signal = measure([LINEAR, NESTED], "group:source:5", seeds=range(12), signal=2.0)
    assert signal[NESTED][0] > signal[LINEAR][0] + 0.02


@pytest.mark.slow
def test_choosing_the_epoch_on_the_scored_fold_finds_something_in_noise():
    """The best of 22 epochs on each scored fold is far above chance; epochs chosen on inner groups are at chance."""
    numbers = (1, 2, 3, 4, 6, 8, 11, 13, 16, 19, 22, 26, 30, 34, 37, 45, 52, 60, 70, 80, 90, 100)
    tried = [f"mean/mid/softmax:n_seeds=1,epochs={epochs}" for epochs in numbers]
    best, honest = [], []
    for seed in range(12):
        bags, manifest = make_leaky(seed=seed, random_labels=True)
        folds = make_folds(Protocol.parse("group:source:5"), manifest, seed=seed)

        def predict(name: str, bags=bags, manifest=manifest, folds=folds) -> np.ndarray:
            out = cross_validate(
                Strategy.parse(name), bags, manifest.labels, folds, n_classes=3, groups=manifest.sources
            )
            return out.predicted[0] == manifest.labels

        right = np.stack([predict(name) for name in tried])  # (n_tried, n_recordings)
        best.append(sum(right[:, fold.test].sum(axis=1).max() for fold in folds) / len(manifest))
        honest.append(predict("mean/mid/softmax:n_seeds=1").mean())
    assert 0.40 < np.mean(best) < 0.50
    assert 0.27 < np.mean(honest) < 0.39
    assert np.mean(best) > np.mean(honest) + 0.06
