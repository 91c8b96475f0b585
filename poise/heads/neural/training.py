"""Training of a stack: networks of several training sides and seeds, moved by one optimiser and never by each other.

Each network draws its first weights and its dropout from a generator of its own, and each side its batches. So the
numbers of a network do not depend on what is trained beside it, but for the last digits of float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from poise.heads.neural.architecture import Architecture, decays, union_shapes
from poise.heads.neural.forward import forward
from poise.heads.neural.packing import Batch, Rows, pack
from poise.heads.ordinal import compute_loss
from poise.heads.parameters import HeadSettings

FULL_BATCH = 512
"""Up to so many recordings a step sees all of them."""

BATCH = 256
_LAYER_PACE = 10.0
"""The weights of layers step so many times farther: they are few, and a softmax of small numbers is nearly even."""

_DRAWN_STEPS = 8
_FIRST_WEIGHTS, _ORDER, _DROPOUT = range(1, 4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """What the networks of one training side learn from, one for each seed.

    Attributes
    ----------
    architecture : Architecture
    rows : dict of str to Rows
        Blocks after their reduction, float32.
    ranks : ndarray of shape (n_recordings,), int64
    weights : ndarray of shape (n_recordings,), float64
        Above 0.
    seed : tuple of int
        What everything random of this side follows from.
    """

    architecture: Architecture
    rows: dict[str, Rows]
    ranks: NDArray[np.int64]
    weights: NDArray[np.float64]
    seed: tuple[int, ...]


class Stack:
    """Networks that are trained together: the same seeds of several sides.

    Parameters
    ----------
    sides : sequence of Side
        One alone, if it has more recordings than a step sees at once.
    seeds : sequence of int
        Numbers of the networks of each side.
    settings : HeadSettings
    device : torch.device, optional

    Attributes
    ----------
    weights : dict of str to tensor
        Side after side, seed after seed; where sides differ in columns, the rest is 0.
    """

    def __init__(
        self, sides: Sequence[Side], seeds: Sequence[int], settings: HeadSettings, device: torch.device | None = None
    ) -> None:
        self.sides, self.seeds, self.settings, self.device = sides, seeds, settings, device
        shapes = union_shapes([side.architecture for side in sides])
        first = {name: np.zeros((len(sides) * len(seeds), *shape), np.float32) for name, shape in shapes.items()}
        for model, (side, seed) in enumerate(itertools.product(sides, seeds)):
            random = np.random.Generator(_random(side, _FIRST_WEIGHTS, seed))
            for name, weight in side.architecture.initialise(side.ranks, side.weights, random).items():
                first[name][model][tuple(slice(length) for length in weight.shape)] = weight
        self.weights = {name: torch.from_numpy(weight).to(device) for name, weight in first.items()}

    @property
    def pools(self) -> bool:
        """Whether clips are pooled by the networks."""
        return self.sides[0].architecture.attention_dim > 0

    def weights_of(self, place: int) -> dict[str, torch.Tensor]:
        """Copies of the weights of one side's networks, without what is not theirs."""
        own = slice(place * len(self.seeds), (place + 1) * len(self.seeds))
        shapes = self.sides[place].architecture.shapes()
        return {
            name: weight.detach()[own][(slice(None), *(slice(length) for length in shapes[name]))].cpu().clone()
            for name, weight in self.weights.items()
        }

    def predict(self, batch: Batch) -> torch.Tensor:
        """Logits as they are now, of shape (n_sides, n_seeds, n_recordings, n_outputs)."""
        with torch.no_grad():
            return _by_side(forward(self.weights, batch), batch)

    def train(self, n_epochs: int, after: Callable[[int], None] | None = None) -> None:
        """AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101) for a number of epochs.

        Parameters
        ----------
        n_epochs : int
        after : callable, optional
            Called after each epoch with its number, from 1 on.
        """
        for weight in self.weights.values():
            weight.requires_grad_()
        optimiser = torch.optim.AdamW(self._groups(), lr=self.settings["lr"], fused=True)
        batches, dropout = _Batches(self), _Dropout(self)
        for epoch in range(1, n_epochs + 1):
            for batch, ranks, importance, chosen in batches:
                logits = _by_side(forward(self.weights, batch, dropout.of(chosen)), batch)
                # networks of a stack do not meet: the gradient of the sum is that of each
                loss = compute_loss(self.settings.head, logits, ranks, importance).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if after:
                after(epoch)

    def _groups(self) -> list[dict[str, object]]:
        decay, lr = self.settings["weight_decay"], self.settings["lr"]
        layers = [weight for name, weight in self.weights.items() if name.endswith("layers")]
        groups: list[dict[str, object]] = [
            {"params": [w for name, w in self.weights.items() if decays(name)], "weight_decay": decay},
            {"params": [w for name, w in self.weights.items() if name.endswith("bias")], "weight_decay": 0.0},
        ]
        return groups + ([{"params": layers, "weight_decay": 0.0, "lr": lr * _LAYER_PACE}] if layers else [])


def _by_side(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    n_outputs, n = logits.shape[1:]
    return logits.view(batch.n_sides, -1, n_outputs, n).transpose(2, 3)  # (n_sides, n_seeds, n_recordings, n_outputs)


def _random(side: Side, kind: int, seed: int) -> np.random.SFC64:
    return np.random.SFC64(np.random.SeedSequence((*side.seed, kind, seed)))


_Part = tuple[Batch, torch.Tensor, torch.Tensor, "NDArray[np.int64] | None"]


class _Batches:
    """Batches of each epoch, with their ranks and weights of shape (n_sides, 1, n_recordings), and which they are."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._n = max(len(side.ranks) for side in stack.sides)
        self._order = np.random.Generator(_random(stack.sides[0], _ORDER, 0))
        self._full = None if self._n > FULL_BATCH else self._make(None)

    def __iter__(self) -> Iterator[_Part]:
        if self._full:
            yield self._full
            return
        # no batch is smaller than BATCH: a step on a handful of recordings would be noise
        for chosen in np.array_split(self._order.permutation(self._n), self._n // BATCH):
            yield self._make(np.sort(chosen))

    def _make(self, chosen: NDArray[np.int64] | None) -> _Part:
        sides, device = self._stack.sides, self._stack.device
        n = self._n if chosen is None else len(chosen)
        ranks, importance = np.zeros((len(sides), 1, n), dtype=np.int64), np.zeros((len(sides), 1, n), np.float32)
        for place, side in enumerate(sides):
            own = np.arange(len(side.ranks)) if chosen is None else chosen
            ranks[place, 0, : len(own)] = side.ranks[own]
            importance[place, 0, : len(own)] = (side.weights / side.weights.mean())[own]
        rows = [
            side.rows if chosen is None else {name: block.take(chosen) for name, block in side.rows.items()}
            for side in sides
        ]
        batch = pack(rows, pools=self._stack.pools, device=device)
        return batch, torch.from_numpy(ranks).to(device), torch.from_numpy(importance).to(device), chosen


class _Dropout:
    """Which hidden units are kept in a step: 16 random bits decide on each, from the generator of each network."""

    def __init__(self, stack: Stack) -> None:
        self._share = stack.settings["dropout"] if stack.settings["hidden"] else 0.0
        self._hidden, self._device = stack.settings["hidden"], stack.device
        self._sizes = [len(side.ranks) for side in stack.sides for _ in stack.seeds]
        self._bits = [_random(side, _DROPOUT, seed) for side, seed in itertools.product(stack.sides, stack.seeds)]
        self._steps = _DRAWN_STEPS
        self._drawn: list[NDArray[np.uint16]] = []

    def of(self, chosen: NDArray[np.int64] | None) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """Dropout of one step; None where nothing is dropped."""
        if not self._share:
            return None
        n = max(self._sizes) if chosen is None else len(chosen)
        kept = torch.from_numpy(self._keep(n, chosen is None)).to(self._device)
        return lambda hidden: hidden * kept

    def _keep(self, n: int, full: bool) -> NDArray[np.float32]:
        """0 or 1 / (1 - share), shape (n_models, hidden, n)."""
        bits = np.zeros((len(self._sizes), self._hidden, n), dtype=np.uint16)
        if not full:
            for own, source in zip(bits, self._bits, strict=True):
                own[:] = _draw(source, 1, self._hidden * n).reshape(self._hidden, n)
        else:
            if self._steps == _DRAWN_STEPS:
                self._steps = 0
                self._drawn = [
                    _draw(source, _DRAWN_STEPS, self._hidden * size)
                    for source, size in zip(self._bits, self._sizes, strict=True)
                ]
            for own, drawn, size in zip(bits, self._drawn, self._sizes, strict=True):
                own[:, :size] = drawn[self._steps].reshape(self._hidden, size)
            self._steps += 1
        scale = np.float32(1 / (1 - self._share))
        return np.multiply(bits >= round(self._share * 65536), scale, dtype=np.float32)


def _draw(source: np.random.BitGenerator, n_steps: int, n: int) -> NDArray[np.uint16]:
    """Random bits of some steps, each of which takes whole words of 64 from the source; shape (n_steps, n)."""
    words = math.ceil(n / 4)
    return source.random_raw(n_steps * words).view(np.uint16).reshape(n_steps, 4 * words)[:, :n]
