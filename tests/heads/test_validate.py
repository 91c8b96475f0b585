"""Nothing of a scored fold reaches a fit, and leakage shows as what it is."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.baselines import make_baselines
from poise.heads.metrics import compute_scores
from poise.heads.splits import Fold, Protocol, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import cross_validate, derive_state, predict_out_of_fold
from poise.store.bags import Bags
from tests.heads.recordings import make_manifest, make_recordings

STRATEGIES = [
    "mean/early/logistic",
    "mean/early/ridge",
    "mean/video/lightgbm:n_trees=10",
    "mean-std/early/softmax:epochs=10,n_seeds=2",
    "mean/early/coral:epochs=10,n_seeds=2,class_weight=balanced",
    "attention/early/corn:epochs=10,n_seeds=2",
]


@pytest.mark.parametrize("text", STRATEGIES)
def test_labels_of_the_scored_fold_change_nothing(text):
    """A planted detector: other labels on the scored side after the split leave every bit of it as it was."""
    bags, manifest = make_recordings(n_copies=10, signal=1.0)
    folds = make_folds(Protocol.parse("stratified:3"), manifest)
    honest = cross_validate(Strategy.parse(text), bags, manifest.labels, folds, n_classes=3)
    for fold in folds:
        planted = manifest.labels.copy()
        planted[fold.test] = (planted[fold.test] + 1 + np.arange(len(fold.test)) % 2) % 3
        again = cross_validate(Strategy.parse(text), bags, planted, folds, n_classes=3)
        np.testing.assert_array_equal(again.proba[:, fold.test], honest.proba[:, fold.test])
        np.testing.assert_array_equal(again.predicted[:, fold.test], honest.predicted[:, fold.test])


@pytest.mark.parametrize("text", STRATEGIES)
def test_features_of_the_scored_fold_change_only_their_own_predictions(text):
    """Standardisation and projection are learnt without the scored rows: they are predicted one by one alike."""
    bags, manifest = make_recordings(signal=1.0)
    fold = make_folds(Protocol.parse("stratified:3"), manifest)[0]
    modalities = {name: [bag.values[name].copy() for bag in bags] for name in ("video", "audio")}
    for clips in modalities.values():
        clips[fold.test[-1]] += 1000
    changed = Bags.from_arrays(modalities, keys=bags.keys)
    labels, strategy = manifest.labels, Strategy.parse(text)
    one, other = (cross_validate(strategy, x, labels, [fold], n_classes=3).proba[0] for x in (bags, changed))
    np.testing.assert_allclose(other[:-1], one[:-1], rtol=0, atol=1e-12)


def test_copies_fake_a_signal_under_random_folds_and_not_under_source_folds():
    """Labels of pure noise: far above chance when copies cross folds, at chance when they do not."""
    accuracy = {"stratified:5": [], "group:source:5": []}
    for seed in range(6):
        bags, manifest = make_recordings(n_originals=42, n_copies=38, dim=60, seed=seed)
        for text, found in accuracy.items():
            folds = make_folds(Protocol.parse(text), manifest, seed=seed)
            out = cross_validate(Strategy.parse("mean/early/logistic"), bags, manifest.labels, folds, n_classes=3)
            found.append(compute_scores(manifest.labels, out.predicted[0], out.proba[0]).values["accuracy"])
    assert np.mean(accuracy["stratified:5"]) > 0.7
    assert 0.2 < np.mean(accuracy["group:source:5"]) < 0.45


def test_level_that_no_training_row_has_gets_no_probability():
    """A level seen only on the scored side is counted as wrong, not as an error."""
    bags, manifest = make_recordings(n_originals=12, n_speakers=3)
    labels = np.where(manifest.speakers == "s0", 2, manifest.labels % 2)
    manifest = make_manifest(labels.tolist(), speakers=manifest.speakers.tolist())
    folds = make_folds(Protocol.parse("logo:speaker"), manifest)
    out = cross_validate(Strategy.parse("mean/early/logistic"), bags, labels, folds, n_classes=3)
    unseen = manifest.speakers == "s0"
    assert (out.proba[0, unseen, 2] == 0).all()
    np.testing.assert_allclose(out.proba.sum(axis=-1), 1, atol=1e-12)


def test_repeats_have_their_own_predictions():
    """Each repeat predicts every row once, on other folds."""
    bags, manifest = make_recordings()
    folds = make_folds(Protocol.parse("stratified:4"), manifest, repeats=3)
    steps = []
    out = cross_validate(
        Strategy.parse("mean/early/ridge"), bags, manifest.labels, folds, n_classes=3, on_fold=lambda: steps.append(1)
    )
    assert out.proba.shape == (3, 40, 3)
    assert len(steps) == 12
    assert not np.array_equal(out.fold[0], out.fold[1])


def test_baselines_say_what_they_should():
    """Majority, label distribution, and the labels of the same group, from the training side alone."""
    manifest = make_manifest([0, 0, 0, 1, 2, 2, 1, 1], speakers=list("aaabbbab"))
    counted = np.ones(8, dtype=bool)
    folds = [Fold(repeat=0, fold=0, train=np.arange(6), test=np.array([6, 7]))]
    baselines = make_baselines(3, {"speaker": manifest.speakers}, counted=counted)
    found = {name: predict_out_of_fold(one, manifest.labels, folds, n_classes=3) for name, one in baselines.items()}
    np.testing.assert_array_equal(found["majority"].proba[0], [[1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(found["prior"].proba[0], [[3 / 6, 1 / 6, 2 / 6]] * 2)
    expected = [[3.5 / 4, (1 / 6) / 4, (2 / 6) / 4], [0.5 / 4, (1 + 1 / 6) / 4, (2 + 2 / 6) / 4]]
    np.testing.assert_allclose(found["group-only:speaker"].proba[0], expected)
    assert found["group-only:speaker"].predicted[0].tolist() == [0, 2]


def test_baselines_take_the_distribution_of_what_is_scored():
    """Copies do not shift the label distribution where originals are scored; unseen groups get it."""
    manifest = make_manifest([1, 1, 0, 0, 0], speakers=list("aabbb"), sources=[0, 1, 2, 2, 2])
    folds = [Fold(repeat=0, fold=0, train=np.array([0, 1, 2, 3]), test=np.array([4]))]
    baselines = make_baselines(2, {"speaker": np.array(list("aabbc"))}, counted=~manifest.is_copy)
    for name, baseline in baselines.items():
        assert predict_out_of_fold(baseline, manifest.labels, folds, n_classes=2).predicted[0, 0] == 1, name
    only_copies = [Fold(repeat=0, fold=0, train=np.array([3, 4]), test=np.array([0]))]
    out = predict_out_of_fold(baselines["majority"], manifest.labels, only_copies, n_classes=2)
    assert out.predicted[0, 0] == 0


def test_a_seed_of_any_size_gives_a_state_of_its_own():
    """States fit everywhere that a random state is wanted, and tell seeds and fits apart."""
    states = [derive_state(seed, *path) for seed in (1, 2**32 + 5, 10**30) for path in ((), (0, 1), (1, 1))]
    assert all(0 <= state < 2**31 for state in states)
    assert len(set(states)) == len(states)
