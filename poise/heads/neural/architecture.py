"""Which weights a network has, how they begin, and which of them decay. What is done with them lives in `forward`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.ordinal import n_outputs, prior_logits
from poise.heads.parameters import LEARNT_POOLINGS, HeadSettings

Seen = Mapping[str, tuple[int | None, int]]
"""Layers (None without an axis for them) and length of a vector of each block, after its reduction."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of one network.

    Attributes
    ----------
    head : {"softmax", "coral", "corn", "regression"}
    n_classes : int
    seen : mapping of str to (n_layers, dim)
        Of each block.
    attention_dim : int
        0 where rows are recordings already.
    gated_attention, gated_fusion : bool
    hidden : int
        0 without a hidden layer.
    key_bias : bool
        Whether keys of attention have a bias, as those of foreign networks do; ours see centred clips.
    """

    head: str
    n_classes: int
    seen: Seen
    attention_dim: int
    gated_attention: bool
    gated_fusion: bool
    hidden: int
    key_bias: bool = False

    @classmethod
    def of(cls, settings: HeadSettings, *, n_classes: int, seen: Seen, key_bias: bool = False) -> Architecture:
        """The network that the settings ask for."""
        return cls(
            head=settings.head,
            n_classes=n_classes,
            seen=seen,
            attention_dim=settings["attention_dim"] if settings.pooling in LEARNT_POOLINGS else 0,
            gated_attention=settings.pooling == "gated-attention",
            gated_fusion=settings.fusion == "gated",
            hidden=settings["hidden"],
            key_bias=key_bias,
        )

    @property
    def n_scores(self) -> int:
        """Columns of the last layer: the thresholds of ``coral`` share one score."""
        return 1 if self.head == "coral" else n_outputs(self.head, self.n_classes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, without the axis of models."""
        found: dict[str, tuple[int, ...]] = {}
        width = self.hidden or self.n_scores
        for block, (n_layers, dim) in self.seen.items():
            if n_layers is not None:
                found[f"{block}.layers"] = (n_layers,)
            if self.attention_dim:
                found[f"{block}.keys"] = (self.attention_dim, dim)
                found |= {f"{block}.key_bias": (self.attention_dim, 1)} if self.key_bias else {}
                found |= {f"{block}.key_gate": (self.attention_dim, dim)} if self.gated_attention else {}
                found[f"{block}.query"] = (1, self.attention_dim)
            found[f"{block}.weight"] = (width, dim)
            found[f"{block}.bias"] = (width, 1)
            found |= {f"{block}.gate": (width, dim)} if self.gated_fusion else {}
        if self.gated_fusion:
            found["gate.bias"] = (width, 1)
        if self.hidden:
            found["out.weight"] = (self.n_scores, self.hidden)
        found["out.bias"] = (n_outputs(self.head, self.n_classes), 1)
        return found

    def initialise(
        self, ranks: NDArray[np.int64], weights: NDArray[np.float64], random: np.random.Generator
    ) -> dict[str, NDArray[np.float32]]:
        """First weights of one network: uniform within 1 / sqrt(fan-in), as torch's linear layer.

        The last biases say the label distribution of the training rows, so that a hundred steps need not be spent on
        finding it. All layers count alike.
        """
        found = {}
        for name, shape in self.shapes().items():
            if name.endswith(("bias", "layers")):
                found[name] = np.zeros(shape, dtype=np.float32)
            else:
                found[name] = ((2 * random.random(shape) - 1) / np.sqrt(shape[-1])).astype(np.float32)
        found["out.bias"][:, 0] = prior_logits(self.head, ranks, weights, self.n_classes)
        return found


def decays(name: str) -> bool:
    """Whether weight decay pulls at a weight: not at biases, nor at the weights of layers."""
    return not name.endswith(("bias", "layers"))


def union_shapes(architectures: list[Architecture]) -> dict[str, tuple[int, ...]]:
    """Shapes that hold the weights of each of several networks, which differ in the length of their vectors."""
    each = [one.shapes() for one in architectures]
    return {name: tuple(int(n) for n in np.max([one[name] for one in each], axis=0)) for name in each[0]}
