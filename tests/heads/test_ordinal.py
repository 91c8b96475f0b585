"""Losses and decoding equal coral-pytorch's, and probabilities are rank-monotonic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coral_pytorch import dataset, losses

from poise.heads.ordinal import (
    compute_loss,
    decode_logits,
    decode_median,
    n_outputs,
    prior_logits,
    proba_from_cumulative,
    sigmoid,
    softmax,
)
from poise.heads.parameters import NEURAL_HEADS

K = 4


def draw(head: str, n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, n, n_outputs(head, K)), generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, K, (n,), generator=generator)


def reference(head: str, logits: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    if head == "coral":
        return losses.coral_loss(logits, dataset.levels_from_labelbatch(ranks, K, dtype=torch.float64))
    if head == "corn":
        return losses.corn_loss(logits, ranks, K)
    if head == "regression":
        return torch.nn.functional.mse_loss(logits[:, 0], ranks.double())
    return torch.nn.functional.cross_entropy(logits, ranks)


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_loss_equals_the_reference(head):
    """Each model of a stack has the loss that coral-pytorch, or torch, gives it alone."""
    logits, ranks = draw(head)
    ours = compute_loss(head, logits, ranks, torch.ones(len(ranks), dtype=torch.float64))
    expected = torch.stack([reference(head, each, ranks) for each in logits])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_models_may_have_recordings_of_their_own(head):
    """Ranks and weights for each side of a stack; a recording of the weight 0 is padding."""
    logits, ranks = draw(head)
    sides = torch.stack([ranks, ranks.flip(0)])
    weights = torch.ones(2, 30, dtype=torch.float64)
    weights[1, 20:] = 0
    stack = torch.stack([logits, logits + 0.1])  # (n_sides, n_seeds, n_recordings, n_outputs)
    found = compute_loss(head, stack, sides[:, None], weights[:, None])
    expected = torch.stack([reference(head, one, ranks) for one in stack[0]])
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-12)
    expected = torch.stack([reference(head, one[:20], sides[1, :20]) for one in stack[1]])
    torch.testing.assert_close(found[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["softmax", "coral", "corn"])
def test_first_logits_say_the_label_distribution(head):
    """Whatever the features, a network begins at the prior; a level that is missing does not make it infinite."""
    ranks, weights = np.array([0, 0, 1, 3]), np.array([1.0, 2.0, 3.0, 4.0])
    proba = decode_logits(head, prior_logits(head, ranks, weights, K))
    np.testing.assert_allclose(proba, [0.3, 0.3, 0.0, 0.4], atol=2e-3)
    assert prior_logits("regression", ranks, weights, K) == pytest.approx([1.5], abs=1e-3)


@pytest.mark.parametrize("head", NEURAL_HEADS)
def test_weight_of_two_equals_standing_there_twice(head):
    """Weights come before the head's own normaliser."""
    logits, ranks = draw(head)
    weights = torch.ones(len(ranks), dtype=torch.float64)
    weights[:7], weights[7] = 2, 0
    rows = torch.cat([torch.arange(len(ranks)), torch.arange(7)])
    rows = rows[rows != 7]
    expected = torch.stack([reference(head, each[rows], ranks[rows]) for each in logits])
    torch.testing.assert_close(compute_loss(head, logits, ranks, weights), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["coral", "corn"])
def test_labels_equal_coral_pytorch(head):
    """The median of the decoded probabilities is the label that coral-pytorch reads off the logits."""
    logits = draw(head)[0][0]
    if head == "coral":
        # one score and falling thresholds, as a CORAL layer has
        logits = logits[:, :1] + torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    passed = torch.sigmoid(logits)
    above = torch.cumprod(passed, dim=1) if head == "corn" else passed
    expected = dataset.proba_to_label(above)
    np.testing.assert_array_equal(decode_median(decode_logits(head, logits.numpy())), expected.numpy())


@pytest.mark.parametrize("head", ["softmax", "coral", "corn"])
def test_probabilities_sum_to_one_and_fall_with_the_level(head):
    """Whatever the logits: no negative share, and exceeding a level is never likelier than exceeding the one before."""
    proba = decode_logits(head, 5 * draw(head)[0].numpy())
    np.testing.assert_allclose(proba.sum(-1), 1, atol=1e-12)
    assert (proba >= 0).all()


def test_crossing_thresholds_are_lowered():
    """A probability above the one before it is lowered to it."""
    np.testing.assert_allclose(proba_from_cumulative(np.array([[0.5, 0.8, 0.1]])), [[0.5, 0.0, 0.4, 0.1]], atol=1e-15)


def test_links_do_not_overflow():
    """Very sure logits stay finite."""
    assert sigmoid(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]
    assert softmax(np.array([[1e4, -1e4]])).tolist() == [[1.0, 0.0]]


def test_median_of_two_levels_is_the_likelier():
    """With two levels the median is the argmax."""
    assert decode_median(np.array([[0.4, 0.6], [0.7, 0.3]])).tolist() == [1, 0]
