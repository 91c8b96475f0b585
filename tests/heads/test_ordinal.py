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
    proba_from_cumulative,
    sigmoid,
    softmax,
)

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
    return torch.nn.functional.cross_entropy(logits, ranks)


@pytest.mark.parametrize("head", ["softmax", "coral", "corn"])
def test_loss_equals_the_reference(head):
    """Each model of a stack has the loss that coral-pytorch, or torch, gives it alone."""
    logits, ranks = draw(head)
    ours = compute_loss(head, logits, ranks, torch.ones(len(ranks), dtype=torch.float64))
    expected = torch.stack([reference(head, each, ranks) for each in logits])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["softmax", "coral", "corn"])
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
