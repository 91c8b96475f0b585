"""Epochs are chosen on inner folds that keep groups together, and cutpoints of a regression are learnt there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poise.heads.exact.ridge import fit_cutpoints
from poise.heads.metrics import ranked_probability
from poise.heads.neural import epochs
from poise.heads.neural.cutpoints import fit_cutpoints_of
from poise.heads.neural.epochs import FALLBACK, MOST_EPOCHS, choose_epochs
from poise.heads.neural.network import fit_networks
from poise.heads.parameters import NEURAL_HEADS
from poise.heads.problem import Problem
from poise.store.bags import Bags
from tests.heads.neural.problems import make_bags, make_problem, make_settings

AUTO = {"epochs": "auto", "hidden": 32, "n_components": 64}


def noise_with_copies(settings, *, n_originals: int = 30, seed: int = 0) -> Problem:
    """Labels that nothing tells, and a near copy of each recording."""
    random = np.random.default_rng(seed)
    rows = np.repeat(random.normal(size=(n_originals, 40)), 2, axis=0)
    bags = Bags.from_array((rows + 0.05 * random.normal(size=rows.shape)).astype(np.float32))
    problem = make_problem(bags, settings, seed=seed, groups=np.arange(2 * n_originals) // 2)
    return replace(problem, ranks=np.repeat(problem.ranks[::2], 2), weights=np.ones(2 * n_originals))


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_epochs_are_chosen_on_groups_that_were_held_out(head):
    """With copies on both sides noise looks learnable for long; with groups kept together it does not."""
    settings = make_settings(head, **AUTO)
    problem = noise_with_copies(settings)
    (kept,) = choose_epochs([problem], settings)
    (parted,) = choose_epochs([replace(problem, groups=np.arange(60))], settings)
    assert kept.losses.min() > 0.19
    assert parted.losses.min() < 0.12
    if head == "regression":  # its cutpoints make of noise what it is at any epoch
        assert kept.cutpoints.slope < 0.2
        assert parted.cutpoints.slope > 2
    else:
        assert kept.epochs < parted.epochs - 10


def test_the_loss_of_an_epoch_is_that_of_its_held_out_probabilities():
    """What is handed on are probabilities of every recording at the chosen epoch, whose weighted loss is the least."""
    settings = make_settings("corn", "attention", "mid", epochs="auto")
    problem = make_problem(make_bags(20, lacking=2), settings)
    (choice,) = choose_epochs([problem], settings)
    told = ranked_probability(choice.held_out, problem.ranks) @ problem.weights / problem.weights.sum()
    assert len(choice.losses) == MOST_EPOCHS
    assert choice.losses.argmin() + 1 == choice.epochs
    assert told == pytest.approx(choice.losses.min(), abs=1e-12)


def test_a_fold_does_not_see_the_labels_that_it_holds_out(monkeypatch):
    """After one epoch, where nothing is chosen: other labels in a group change what is said of the other alone."""
    monkeypatch.setattr(epochs, "MOST_EPOCHS", 1)
    settings = make_settings("softmax", epochs="auto")
    groups = np.arange(24) // 12
    problem = make_problem(make_bags(24), settings, groups=groups)
    turned = problem.ranks.copy()
    turned[groups == 1] = turned[groups == 1][::-1]
    before, after = (
        choose_epochs([replace(problem, ranks=ranks)], settings)[0].held_out for ranks in (problem.ranks, turned)
    )
    np.testing.assert_array_equal(after[groups == 1], before[groups == 1])
    assert np.abs(after[groups == 0] - before[groups == 0]).min() > 1e-6


def test_without_anything_to_hold_out_a_fixed_number_is_trained():
    """One group alone: epochs are those that the module documents, and nothing is handed on as held out."""
    for head in NEURAL_HEADS:
        settings = make_settings(head, **AUTO)
        problem = make_problem(make_bags(12), settings, groups=np.zeros(12, dtype=np.int64))
        (choice,) = choose_epochs([problem], settings)
        (fit,) = fit_networks([problem], settings)
        assert choice.epochs == FALLBACK
        assert choice.held_out is fit.held_out is None
        assert np.isfinite(fit.head.predict_proba(problem.inputs)).all()


def test_a_given_number_of_epochs_is_kept(monkeypatch):
    """Inner folds are trained only where something is chosen or learnt on them: the cutpoints of a regression."""
    held = []
    inner_cases = epochs.inner_cases
    monkeypatch.setattr(epochs, "inner_cases", lambda problem: held.append(problem) or inner_cases(problem))
    for head, n_held in (("corn", 0), ("regression", 1)):
        settings = make_settings(head, epochs=7)
        (choice,) = choose_epochs([make_problem(make_bags(15), settings)], settings)
        assert choice.epochs == 7
        assert len(held) == n_held
        assert (choice.held_out is None) == (head == "corn")


def test_stacked_cutpoints_are_those_of_one_score_at_a_time():
    """Scores of several epochs are fitted at once; one that falls as levels rise counts nothing."""
    random = np.random.default_rng(0)
    ranks, weights = random.integers(0, 4, 300), random.uniform(0.5, 2, 300)
    scores = random.normal(size=(7, 300)) + np.array([-1, 0.1, 0.5, 1, 2, 3, 9])[:, None] * ranks
    for found, own in zip(fit_cutpoints_of(scores, ranks, weights, 4), scores, strict=True):
        (slope,), (cuts,) = fit_cutpoints(own[None], ranks, weights, 4)
        np.testing.assert_allclose([found.slope, *found.cuts], [slope, *cuts], atol=1e-6)
    assert fit_cutpoints_of(scores, ranks, weights, 4)[0].slope == 0


def test_cutpoints_of_a_regression_are_as_soft_as_its_held_out_scores():
    """On noise the fitted scores look sure, and yet the probabilities are close to the label distribution."""
    settings = make_settings("regression", **{**AUTO, "epochs": 60, "lr": 0.01})
    problem = noise_with_copies(settings, seed=1)
    (fit,) = fit_networks([problem], settings)
    scores = fit.head.logits(problem.inputs).mean(0)[:, 0]
    assert np.corrcoef(scores, problem.ranks)[0, 1] > 0.9
    assert np.abs(fit.head.predict_proba(problem.inputs) - 1 / 3).max() < 0.25
