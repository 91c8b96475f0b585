"""Networks learn the same alone and in a stack, from the rows that count and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from poise.errors import StrategyError
from poise.heads.neural import sides, training
from poise.heads.neural.network import fit_networks, read_networks
from poise.heads.neural.processor import device_for, threads_for
from poise.heads.neural.sides import plan_stacks, whole_case
from poise.heads.parameters import LEARNT_POOLINGS, NEURAL_HEADS
from poise.heads.problem import Fit, Problem
from poise.heads.state import check_learnt
from tests.heads.neural.problems import make_bags, make_problem, make_settings

KINDS = list(itertools.product(NEURAL_HEADS, ("mean", "attention", "gated-attention"), ("early", "mid", "gated")))


def largest_difference(first: Fit, second: Fit, problem: Problem) -> float:
    proba = [fit.head.predict_proba(problem.inputs) for fit in (first, second)]
    held_out = [fit.held_out for fit in (first, second)]
    found = np.abs(proba[0] - proba[1]).max()
    if held_out[0] is None:
        return found
    return max(found, np.nanmax(np.abs(held_out[0] - held_out[1])))


@pytest.mark.parametrize(("head", "pooling", "fusion"), KINDS)
def test_a_stack_learns_what_each_would_alone(head, pooling, fusion):
    """Problems of other sizes, spans and missing blocks beside it do not move a network's probabilities by 1e-4."""
    lacking = 0 if fusion == "early" else 2
    settings = make_settings(head, pooling, fusion)
    problems = [
        make_problem(make_bags(n, dim=dim, seed=seed, lacking=lacking), settings, seed=seed)
        for seed, (n, dim) in enumerate([(14, 10), (23, 10), (7, 10)])
    ]
    together = fit_networks(problems, settings)
    for problem, fit in zip(problems, together, strict=True):
        (alone,) = fit_networks([problem], settings)
        assert largest_difference(fit, alone, problem) < 1e-4


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_epochs_that_are_chosen_are_chosen_alike_in_a_stack(head):
    """With epochs=auto inner folds of all problems are trained together, and say the same as those of one."""
    settings = make_settings(head, "attention", "mid", epochs="auto")
    problems = [make_problem(make_bags(n, seed=n), settings, seed=n) for n in (12, 19)]
    together = fit_networks(problems, settings)
    for problem, fit in zip(problems, together, strict=True):
        (alone,) = fit_networks([problem], settings)
        assert largest_difference(fit, alone, problem) < 1e-4


def test_learnt_layers_stack_too():
    """Weights of layers are each network's own."""
    settings = make_settings("corn", "attention", "mid", layer="learnt")
    problems = [make_problem(make_bags(n, seed=n, n_layers=3, lacking=1), settings, seed=n) for n in (12, 19)]
    together = fit_networks(problems, settings)
    for problem, fit in zip(problems, together, strict=True):
        assert largest_difference(fit, fit_networks([problem], settings)[0], problem) < 1e-4
    layers = together[0].head.weights["video.layers"]
    assert (layers[0] != layers[1]).all()


def test_the_same_call_gives_the_same_bits():
    """Nothing is left to chance, whatever torch's own generator did before."""
    settings = make_settings("coral", "gated-attention", "gated", epochs="auto")
    problem = make_problem(make_bags(15), settings)
    (first,) = fit_networks([problem], settings)
    torch.rand(3)
    (second,) = fit_networks([problem], settings)
    for name, array in first.head.arrays().items():
        np.testing.assert_array_equal(second.head.arrays()[name], array)
    (other,) = fit_networks([replace(problem, seed=1)], settings)
    assert largest_difference(first, other, problem) > 1e-3


@pytest.mark.parametrize("n", [20, 40])
def test_models_of_a_stack_do_not_meet(n, monkeypatch):
    """A seed learns the same whether it is trained alone or beside others, in one batch or in several."""
    monkeypatch.setattr(training, "FULL_BATCH", 30)
    monkeypatch.setattr(training, "BATCH", 10)
    fits = []
    for n_seeds in (1, 3):
        settings = make_settings("corn", "attention", "mid", n_seeds=n_seeds)
        fits += fit_networks([make_problem(make_bags(n, lacking=3), settings)], settings)
    alone, stacked = (fit.head.weights for fit in fits)
    for name, weight in alone.items():
        torch.testing.assert_close(stacked[name][:1], weight, rtol=0, atol=1e-4)
    seeds = stacked["video.weight"]
    assert (seeds[0] - seeds[1]).abs().max() > 0.1


def test_a_large_problem_is_trained_alone_and_seed_by_seed(monkeypatch):
    """What fills the processor's memory is not stacked, and learns the same."""
    settings = make_settings("softmax", "attention", "mid", n_seeds=5)
    problems = [make_problem(make_bags(n, seed=n), settings, seed=n) for n in (8, 9, 30, 10)]
    cases = [whole_case(problem) for problem in problems]
    together = fit_networks(problems, settings)
    assert list(plan_stacks(cases, settings)) == [([0, 1, 2, 3], [range(5)])]
    monkeypatch.setattr(sides, "_STACK_CELLS", 2 * cases[2].cells(settings))
    assert ([2], [range(2), range(2, 4), range(4, 5)]) in list(plan_stacks(cases, settings))
    for problem, fit, apart in zip(problems, together, fit_networks(problems, settings), strict=True):
        assert largest_difference(fit, apart, problem) < 1e-4


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_a_recording_without_weight_is_as_if_it_were_not_there(head):
    """Standardisation, components, dropout and the loss pass it over, and so do inner folds that train on it."""
    settings = make_settings(head, "attention", "mid")
    problem = make_problem(make_bags(16), settings)
    counted = np.arange(16) % 4 != 1
    with_them = replace(problem, weights=np.where(counted, problem.weights, 0.0))
    without = problem.take(np.flatnonzero(counted))
    if head == "regression":  # its cutpoints are learnt on inner folds, which are dealt anew
        settings = replace(settings, head="softmax")
    first, second = (fit_networks([one], settings)[0].head for one in (with_them, without))
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(second.arrays()[name], array)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_two_levels_and_five(head, n_classes):
    """Problems with other numbers of levels are fitted in one call, and all levels have a probability."""
    settings = make_settings(head, "attention", "mid")
    problems = [make_problem(make_bags(25, seed=k), settings, n_classes=k) for k in (n_classes, 3)]
    for problem, fit in zip(problems, fit_networks(problems, settings), strict=True):
        proba = fit.head.predict_proba(problem.inputs)
        assert proba.shape == (25, problem.n_classes)
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-12)
        assert (proba > 0).all()


@pytest.mark.parametrize("pooling", LEARNT_POOLINGS)
def test_bags_of_one_clip_have_nothing_to_weigh(pooling):
    """Attention over one clip is the clip: the same network without attention says the same."""
    attentive, plain = (make_settings("coral", kind, "mid") for kind in (pooling, "mean"))
    bags = make_bags(15, longest=2)
    (fit,) = fit_networks([make_problem(bags, attentive)], attentive)
    inputs = make_problem(bags, attentive).inputs
    np.testing.assert_array_equal(fit.head.attention(inputs)["video"], np.full(15, 0.5))
    shapes = dict.fromkeys(("video", "audio"), (None, 10))
    restored = read_networks(fit.head.arrays(), plain, shapes=shapes, n_classes=3)
    np.testing.assert_allclose(restored.predict_proba(inputs), fit.head.predict_proba(inputs), atol=1e-12)


def test_a_gpu_is_for_much_work_and_several_threads_for_more_than_little(monkeypatch):
    """Small steps are over before work is handed out; the number of threads is as it was afterwards."""
    before = torch.get_num_threads()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for(1 << 30).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_for(cells).type for cells in (1 << 20, 1 << 30)] == ["cpu", "cuda"]
    with threads_for(1 << 10):
        assert torch.get_num_threads() == 1
    with threads_for(1 << 30):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("epochs", [40, "auto"])
def test_a_training_that_runs_away_is_an_error(epochs):
    """Weights that are no numbers are never kept, and an epoch in which they ran away is none to choose."""
    settings = make_settings("softmax", lr=1.0, weight_decay=1000.0, epochs=epochs)
    problem = make_problem(make_bags(15), settings)
    if epochs == "auto":
        (fit,) = fit_networks([problem], settings)
        check_learnt(fit.head.arrays(), "softmax")
        assert np.isfinite(fit.held_out).all()
        return
    with pytest.raises(StrategyError, match="training of softmax diverged"):
        fit_networks([problem], settings)
