"""Losses and decoding of the softmax, CORAL, CORN and regression heads. Networks and training do not live here.

Losses are over stacks of models: one value for each. Weights of recordings multiply each recording's loss before
the head's own normaliser, so that a weight of 2 is the same as the recording standing there twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def n_outputs(head: str, n_classes: int) -> int:
    """Number of logits that a neural head has."""
    return {"softmax": n_classes, "regression": 1}.get(head, n_classes - 1)


def compute_loss(head: str, logits: torch.Tensor, ranks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Loss of each model of a stack.

    Parameters
    ----------
    head : {"softmax", "coral", "corn", "regression"}
    logits : tensor of shape (..., n_recordings, n_outputs)
    ranks : tensor of shape ([...,] n_recordings), int64
        Leading axes are those of ``logits``, or of length 1, or left out where all models have the same recordings.
    weights : tensor of shape ([...,] n_recordings)

    Returns
    -------
    tensor of shape (...)
    """
    loss = {"softmax": softmax_loss, "coral": coral_loss, "corn": corn_loss, "regression": regression_loss}[head]
    return loss(logits, ranks, weights)


def softmax_loss(logits: torch.Tensor, ranks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy, shape (...)."""
    log_proba = logits.log_softmax(dim=-1)  # (..., n_recordings, n_classes)
    index = ranks.expand(logits.shape[:-1]).unsqueeze(-1)  # (..., n_recordings, 1)
    losses = -log_proba.gather(-1, index).squeeze(-1)  # (..., n_recordings)
    return (losses * weights).sum(-1) / weights.sum(-1)


def coral_loss(logits: torch.Tensor, ranks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum over the K-1 thresholds of binary cross-entropy, mean over recordings, shape (...).

    References
    ----------
    Cao, Mirjalili, Raschka (2020). Rank consistent ordinal regression for neural networks with
    application to age estimation. Pattern Recognition Letters 140. arXiv:1901.07884
    """
    losses, _ = _threshold_losses(logits, ranks)
    return (losses.sum(-1) * weights).sum(-1) / weights.sum(-1)


def corn_loss(logits: torch.Tensor, ranks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each threshold, over the recordings that exceed the one before, shape (...).

    References
    ----------
    Shi, Cao, Raschka (2021). Deep neural networks for rank-consistent ordinal regression based on
    conditional probabilities. arXiv:2111.08851
    """
    losses, thresholds = _threshold_losses(logits, ranks)
    taking_part = (ranks[..., None] >= thresholds) * weights[..., None]  # (..., n_recordings, n_outputs)
    return (losses * taking_part).sum((-1, -2)) / taking_part.sum((-1, -2))


def regression_loss(logits: torch.Tensor, ranks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the squared distance between one output and the rank, shape (...)."""
    losses = (logits.squeeze(-1) - ranks) ** 2  # (..., n_recordings)
    return (losses * weights).sum(-1) / weights.sum(-1)


def _threshold_losses(logits: torch.Tensor, ranks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    thresholds = torch.arange(logits.shape[-1], device=logits.device)
    above = (ranks[..., None] > thresholds).to(logits.dtype).expand_as(logits)  # (..., n_recordings, n_outputs)
    return binary_cross_entropy_with_logits(logits, above, reduction="none"), thresholds


def prior_logits(
    head: str, ranks: NDArray[np.int64], weights: NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Logits that say the label distribution, whatever the features; for regression the mean rank.

    Parameters
    ----------
    head : {"softmax", "coral", "corn", "regression"}
    ranks : ndarray of shape (n_recordings,), int64
    weights : ndarray of shape (n_recordings,), float64
    n_classes : int

    Returns
    -------
    ndarray of shape (n_outputs,), float64
        Finite where a level is missing.
    """
    mass = np.bincount(ranks, weights=weights, minlength=n_classes) / weights.sum() + 1e-4
    share = mass / mass.sum()
    if head == "regression":
        return np.array([share @ np.arange(n_classes)])
    if head == "softmax":
        return np.log(share)
    above = np.cumsum(share[::-1])[::-1]  # of reaching each level: (n_classes,)
    passed = np.clip(above[1:] / (above[:-1] if head == "corn" else above[0]), 1e-3, 1 - 1e-3)
    return np.asarray(np.log(passed / (1 - passed)))


def decode_logits(head: str, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities of the levels. Those of a regression take cutpoints, and are made where these are learnt.

    Parameters
    ----------
    head : {"softmax", "coral", "corn"}
    logits : ndarray of shape (..., n_outputs)

    Returns
    -------
    ndarray of shape (..., n_classes), float64
        Rows sum to 1; the probability of exceeding a level never rises with the level.
    """
    wide = logits.astype(np.float64)
    if head == "softmax":
        return softmax(wide)
    passed = sigmoid(wide)  # (..., n_classes - 1)
    return proba_from_cumulative(np.asarray(np.cumprod(passed, axis=-1)) if head == "corn" else passed)


def proba_from_cumulative(above: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the levels from those of exceeding each level but the last.

    Where the probability of exceeding a level is above that of exceeding the one before, it is
    lowered to it.

    Parameters
    ----------
    above : ndarray of shape (..., n_classes - 1), float64

    Returns
    -------
    ndarray of shape (..., n_classes), float64
    """
    falling = np.minimum.accumulate(above, axis=-1)
    edge = np.ones((*above.shape[:-1], 1))
    return -np.diff(np.concatenate([edge, falling, 0 * edge], axis=-1), axis=-1)  # (..., n_classes)


def decode_median(proba: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of the median level: how many levels are exceeded with a probability above one half.

    Parameters
    ----------
    proba : ndarray of shape (n_recordings, n_classes), float64

    Returns
    -------
    ndarray of shape (n_recordings,), int64
    """
    above = np.cumsum(proba[:, ::-1], axis=1)[:, ::-1][:, 1:]  # (n_recordings, n_classes - 1)
    return np.asarray(np.count_nonzero(above > 0.5, axis=1))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logistic function that does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))
