"""What a head is fitted on, and what comes of it: the contract that every family of heads keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poise.store.bags import Bags


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Training recordings of one fit.

    Attributes
    ----------
    inputs : Bags
        As `poise.heads.inputs.prepare` gives them.
    ranks : ndarray of shape (n_recordings,), int64
        Levels 0 .. K-1.
    weights : ndarray of shape (n_recordings,), float64
        From 0 on, not all 0.
    groups : ndarray of shape (n_recordings,), int64
        What inner folds keep together.
    n_classes : int
        Number of levels K. A family is given problems in which each is there in a row that has a weight.
    seed : int
        Everything random follows from it.
    """

    inputs: Bags
    ranks: NDArray[np.int64]
    weights: NDArray[np.float64]
    groups: NDArray[np.int64]
    n_classes: int
    seed: int

    def take(self, rows: NDArray[np.int64]) -> Problem:
        """The problem of some recordings."""
        return replace(
            self,
            inputs=self.inputs[rows],
            ranks=self.ranks[rows],
            weights=self.weights[rows],
            groups=self.groups[rows],
        )


class FittedHead(Protocol):
    """What turns prepared inputs into probabilities, and is nothing but arrays."""

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes)."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        ...

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """Share of each row of each block in its recording's prediction, shape (n_rows,).

        Over all blocks the shares of a recording sum to 1.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A fitted head, and what its inner folds said.

    Attributes
    ----------
    head : FittedHead
    held_out : ndarray of shape (n_recordings, n_classes), float64, or None
        Probabilities of the training recordings by models of inner folds that had not seen their group, under the
        settings that were chosen; NaN in rows that no fold held out. None where there were no inner folds.
    temperature : float
        By which the head's probabilities are softened; 1 leaves them as they are.
    chosen : mapping of str to float
        Settings that were left to be chosen on inner folds, as ``alpha`` or ``epochs``, and what they came to.
    """

    head: FittedHead
    held_out: NDArray[np.float64] | None = None
    temperature: float = 1.0
    chosen: Mapping[str, float] = field(default_factory=dict)


def even_shares(inputs: Bags) -> dict[str, NDArray[np.float64]]:
    """Shares of rows that all count alike, within a block and between the blocks that a recording has."""
    n_blocks = np.sum([block.present for block in inputs.modalities.values()], axis=0)
    return {
        name: np.repeat(1 / np.maximum(n_blocks * block.n_clips, 1), block.n_clips)
        for name, block in inputs.modalities.items()
    }


def weigh_levels(
    ranks: NDArray[np.int64], class_weight: str, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Weights of recordings, times the inverse of their level's frequency if ``class_weight`` is ``balanced``."""
    given = np.ones(len(ranks)) if weights is None else weights
    if class_weight != "balanced":
        return given
    mass = np.bincount(ranks, weights=given)
    there = mass > 0
    balance = given.sum() / (np.count_nonzero(there) * np.where(there, mass, 1))
    return np.asarray(given * balance[ranks])
