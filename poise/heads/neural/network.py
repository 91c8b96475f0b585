"""Neural heads: attention pooling, one hidden layer and an ordinal output, trained as a stack of seeds.

This module imports torch; it is reached only when a neural head is fitted or predicts. Losses and
decoding live in `poise.heads.ordinal`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.inputs import Shapes
from poise.heads.ordinal import compute_loss, decode_logits, n_outputs
from poise.heads.parameters import LEARNT_POOLINGS, HeadSettings
from poise.heads.problem import Fit, Problem, even_shares
from poise.heads.scaling import Projection, Standardiser
from poise.heads.state import get_array
from poise.heads.tabular import read_scaling
from poise.store.bags import Bags, ModalityBags

_FULL_BATCH = 512
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Shape and training of a network; the names are those of a strategy's settings.

    ``attention_dim`` 0 means that rows are recordings already, ``hidden`` 0 that there is no hidden layer.
    """

    head: str
    n_classes: int
    attention_dim: int
    hidden: int
    dropout: float
    epochs: int
    lr: float
    weight_decay: float
    n_components: int
    n_seeds: int
    random_state: int


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkHead:
    """A trained stack of networks, one for each seed, whose probabilities are averaged.

    Attributes
    ----------
    head : {"softmax", "coral", "corn"}
    standardiser : Standardiser
    projection : Projection
    weights : dict of str to tensor
        Weights of all seeds, the seed being the first axis.
    """

    head: str
    standardiser: Standardiser
    projection: Projection
    weights: dict[str, torch.Tensor]

    @classmethod
    def fit(cls, problem: Problem, settings: NetworkSettings) -> NetworkHead:
        """Train on one problem."""
        block = only_block(problem.inputs)
        row_weights = np.repeat(problem.weights, block.n_clips)
        standardiser = Standardiser.fit(block.values, row_weights)
        X = standardiser.transform(block.values)
        projection = Projection.fit(X, row_weights, n_components=settings.n_components)
        rows = torch.from_numpy(projection.transform(X)).float()
        with _one_thread() if len(problem.ranks) <= _FULL_BATCH else nullcontext():
            weights = _train(rows, block.offsets, torch.from_numpy(problem.ranks), problem.weights, settings)
        return cls(head=settings.head, standardiser=standardiser, projection=projection, weights=weights)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, settings: NetworkSettings, n_features: int
    ) -> NetworkHead:
        """Rebuild from what `arrays` gave."""
        standardiser, projection, n_seen = read_scaling(arrays, n_features=n_features)
        if projection is None:
            raise BundleError("The model has no array 'projection.components'. Train it again.")
        weights = {
            name: torch.from_numpy(np.array(get_array(arrays, name, (settings.n_seeds, *shape)), dtype=np.float32))
            for name, shape in _shapes(settings, n_seen).items()
        }
        return cls(head=settings.head, standardiser=standardiser, projection=projection, weights=weights)

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes), the mean over seeds."""
        weights = self._exact_weights()
        logits = [forward(weights, rows, owners)[0] for rows, owners in self._batches(only_block(inputs))]
        stacked = torch.cat(logits, dim=1).numpy()  # (n_seeds, n_recordings, n_outputs)
        return np.asarray(decode_logits(self.head, stacked).mean(axis=0))

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """Share of each clip in its recording's prediction, the mean over seeds."""
        if "attention.keys" not in self.weights:
            return even_shares(inputs)
        found, weights = [], self._exact_weights()
        for rows, owners in self._batches(only_block(inputs)):
            shares = forward(weights, rows, owners)[1]  # (n_seeds, n_recordings, n_clips)
            found.append(shares.mean(dim=0)[owners, torch.arange(len(rows))].numpy())
        return {next(iter(inputs.modalities)): np.concatenate(found)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        parts = {"standardiser": self.standardiser.arrays(), "projection": self.projection.arrays()}
        named = {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
        return named | {name: weight.numpy() for name, weight in self.weights.items()}

    def _exact_weights(self) -> dict[str, torch.Tensor]:
        """In float64 a prediction does not depend on which others are made beside it."""
        return {name: weight.double() for name, weight in self.weights.items()}

    def _batches(self, block: ModalityBags) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = torch.from_numpy(self.projection.transform(self.standardiser.transform(block.values)))
        for first in range(0, len(block), _BATCH):
            yield _take(rows, block.offsets, np.arange(first, min(first + _BATCH, len(block))))


def fit_networks(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    """Train the networks of several problems."""
    return [Fit(head=NetworkHead.fit(one, _network(settings, one.n_classes, one.seed))) for one in problems]


def read_networks(
    arrays: Mapping[str, NDArray[Any]], settings: HeadSettings, *, shapes: Shapes, n_classes: int
) -> NetworkHead:
    """Rebuild a head from what its `arrays` gave."""
    n_features = next(iter(shapes.values()))[1]
    return NetworkHead.from_arrays(arrays, settings=_network(settings, n_classes, 0), n_features=n_features)


def only_block(inputs: Bags) -> ModalityBags:
    """The one block of inputs that have no more."""
    (block,) = inputs.modalities.values()
    return block


def _network(settings: HeadSettings, n_classes: int, seed: int) -> NetworkSettings:
    names = ("hidden", "dropout", "lr", "weight_decay", "n_seeds")
    return NetworkSettings(
        head=settings.head,
        n_classes=n_classes,
        attention_dim=settings["attention_dim"] if settings.pooling in LEARNT_POOLINGS else 0,
        epochs=int(settings.number("epochs") or 40),
        n_components=int(settings.number("n_components") or 64),
        random_state=seed,
        **{name: settings[name] for name in names},
    )


def forward(
    weights: Mapping[str, torch.Tensor],
    rows: torch.Tensor,
    owners: torch.Tensor,
    drop: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of every model of a stack, and where each looked.

    Attention is that of Ilse, Tomczak, Welling (2018), arXiv:1802.04712, without gate: a softmax over the
    clips of a recording of ``u . tanh(V x)``. Clips stay packed, so there is no padding to mask.

    Parameters
    ----------
    weights : mapping of str to tensor
    rows : tensor of shape (n_clips, dim)
    owners : tensor of shape (n_clips,), int64
        Recording of each clip, from 0 on.
    drop : callable, optional
        Dropout of the hidden layer.

    Returns
    -------
    logits : tensor of shape (n_models, n_recordings, n_outputs)
    attention : tensor of shape (n_models, n_recordings, n_clips)
        0 for the clips of other recordings; of shape (n_models, 0, 0) without attention.
    """
    pooled, attention = rows, rows.new_zeros((len(weights["out.weight"]), 0, 0))
    if "attention.keys" in weights:
        keys = torch.tanh(rows @ weights["attention.keys"])  # (n_models, n_clips, attention_dim)
        scores = (keys @ weights["attention.query"]).transpose(1, 2)  # (n_models, 1, n_clips)
        own = owners == torch.arange(int(owners[-1]) + 1)[:, None]  # (n_recordings, n_clips)
        attention = scores.masked_fill(~own, -torch.inf).softmax(dim=-1)  # (n_models, n_recordings, n_clips)
        pooled = attention @ rows  # (n_models, n_recordings, dim)
    if "hidden.weight" in weights:
        pooled = (pooled @ weights["hidden.weight"] + weights["hidden.bias"]).relu()  # (n_models, n_recordings, hidden)
        pooled = drop(pooled) if drop else pooled
    logits = pooled @ weights["out.weight"]  # (n_models, n_recordings, n_outputs), or 1 score for coral
    return logits + weights["out.bias"], attention


def _shapes(settings: NetworkSettings, dim: int) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of one model."""
    shapes: dict[str, tuple[int, ...]] = {}
    if settings.attention_dim:
        shapes["attention.keys"] = (dim, settings.attention_dim)
        shapes["attention.query"] = (settings.attention_dim, 1)
    if settings.hidden:
        shapes["hidden.weight"] = (dim, settings.hidden)
        shapes["hidden.bias"] = (1, settings.hidden)
    outputs = n_outputs(settings.head, settings.n_classes)
    # coral: the thresholds share one score
    shapes["out.weight"] = (settings.hidden or dim, 1 if settings.head == "coral" else outputs)
    shapes["out.bias"] = (1, outputs)
    return shapes


def _train(
    rows: torch.Tensor,
    offsets: NDArray[np.int64],
    ranks: torch.Tensor,
    sample_weights: NDArray[np.float64],
    settings: NetworkSettings,
) -> dict[str, torch.Tensor]:
    """AdamW for a fixed number of epochs: nothing but the training rows decides when to stop."""
    seeds = np.random.RandomState(settings.random_state).randint(2**31 - 1, size=settings.n_seeds)
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    weights = _initialise(settings, rows.shape[1], generators)
    importance = torch.from_numpy(sample_weights.astype(np.float32))
    with torch.no_grad():
        weights["out.bias"] += _prior_logits(settings, ranks, importance)
    for weight in weights.values():
        weight.requires_grad_()
    decayed = [weight for name, weight in weights.items() if not name.endswith("bias")]
    free = [weight for name, weight in weights.items() if name.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.lr, fused=True)
    order = np.random.RandomState(settings.random_state)

    def drop(hidden: torch.Tensor) -> torch.Tensor:
        kept = torch.stack([torch.rand(hidden.shape[1:], generator=seed) >= settings.dropout for seed in generators])
        return hidden * kept / (1 - settings.dropout)

    for _ in range(settings.epochs):
        for batch in _split_epoch(len(ranks), order):
            batch_rows, owners = (rows, _owners(offsets)) if batch is None else _take(rows, offsets, batch)
            chosen = slice(None) if batch is None else torch.from_numpy(batch)
            if not importance[chosen].sum():
                continue
            logits, _ = forward(weights, batch_rows, owners, drop if settings.dropout else None)
            # models of a stack do not meet: the gradient of the sum is that of each
            loss = compute_loss(settings.head, logits, ranks[chosen], importance[chosen]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return {name: weight.detach() for name, weight in weights.items()}


def _initialise(settings: NetworkSettings, dim: int, generators: list[torch.Generator]) -> dict[str, torch.Tensor]:
    """Uniform within 1 / sqrt(fan-in), as torch's linear layer; each seed draws from its own generator."""
    weights = {}
    for name, shape in _shapes(settings, dim).items():
        if name.endswith("bias"):
            weights[name] = torch.zeros((settings.n_seeds, *shape))
        else:
            draws = [torch.rand(shape, generator=generator) for generator in generators]
            weights[name] = (2 * torch.stack(draws) - 1) / shape[0] ** 0.5
    return weights


def _prior_logits(settings: NetworkSettings, ranks: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
    """Output biases that say the label distribution, so that a hundred steps need not be spent on finding it."""
    mass = torch.bincount(ranks, weights=importance, minlength=settings.n_classes) + 1e-3
    share = mass / mass.sum()
    if settings.head == "softmax":
        return share.log()
    above = share.flip(0).cumsum(0).flip(0)  # of reaching each level: (n_classes,)
    passed = above[1:] / (above[:-1] if settings.head == "corn" else above[0])
    return torch.logit(passed.clamp(1e-3, 1 - 1e-3))


def _split_epoch(n: int, order: np.random.RandomState) -> list[NDArray[np.int64] | None]:
    """Batches of recordings; None stands for all at once."""
    if n <= _FULL_BATCH:
        return [None]
    shuffled = order.permutation(n)
    return [np.sort(shuffled[first : first + _BATCH]) for first in range(0, n, _BATCH)]


def _owners(offsets: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))


def _take(
    rows: torch.Tensor, offsets: NDArray[np.int64], recordings: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of some recordings, and the recording of each, counted from 0."""
    counts = np.diff(offsets)[recordings]
    starts = np.cumsum(counts) - counts
    index = np.repeat(offsets[recordings] - starts, counts) + np.arange(counts.sum())
    return rows[torch.from_numpy(index)], torch.from_numpy(np.repeat(np.arange(len(recordings)), counts))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small steps lose more to handing work between threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
