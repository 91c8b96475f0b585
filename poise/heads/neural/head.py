"""The networks of one problem as a head: they predict, show where they look, and are nothing but arrays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poise.heads.inputs import Shapes
from poise.heads.neural.architecture import Architecture
from poise.heads.neural.cutpoints import Cutpoints
from poise.heads.neural.forward import forward, look
from poise.heads.neural.packing import Batch, pack
from poise.heads.neural.processor import threads_for
from poise.heads.neural.reduction import Reduction
from poise.heads.neural.sides import reduce_rows
from poise.heads.ordinal import decode_logits
from poise.heads.parameters import HeadSettings
from poise.heads.problem import even_shares
from poise.heads.state import get_array, part_of
from poise.store.bags import Bags

_BATCH_CELLS = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkHead:
    """Trained networks, one for each seed, whose probabilities are averaged.

    Attributes
    ----------
    architecture : Architecture
    reductions : dict of str to Reduction
        Of each block.
    weights : dict of str to tensor
        float32, the seed being the first axis.
    cutpoints : Cutpoints or None
        Of a regression, whose scores are averaged.
    """

    architecture: Architecture
    reductions: dict[str, Reduction]
    weights: dict[str, torch.Tensor]
    cutpoints: Cutpoints | None = None

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], settings: HeadSettings, *, shapes: Shapes, n_classes: int
    ) -> NetworkHead:
        """Rebuild from what `arrays` gave.

        Raises
        ------
        BundleError
            An array is missing or damaged.
        """
        reductions = {
            name: Reduction.from_arrays(part_of(arrays, name), n_layers=n_layers, dim=dim)
            for name, (n_layers, dim) in shapes.items()
        }
        seen = {name: (one.n_layers, one.n_components) for name, one in reductions.items()}
        key_bias = any(name.endswith(".key_bias") for name in arrays)
        architecture = Architecture.of(settings, n_classes=n_classes, seen=seen, key_bias=key_bias)
        weights = {
            name: torch.from_numpy(get_array(arrays, name, (settings["n_seeds"], *shape)).astype(np.float32))
            for name, shape in architecture.shapes().items()
        }
        regression = settings.head == "regression"
        return cls(
            architecture=architecture,
            reductions=reductions,
            weights=weights,
            cutpoints=Cutpoints.from_arrays(arrays, n_classes=n_classes) if regression else None,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        found = {name: weight.numpy() for name, weight in self.weights.items()}
        for block, one in self.reductions.items():
            found |= {f"{block}.{name}": array for name, array in one.arrays().items()}
        return found | (self.cutpoints.arrays() if self.cutpoints else {})

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes)."""
        said = self.logits(inputs)
        if self.cutpoints:
            return self.cutpoints.decode(said[:, :, 0].mean(axis=0))
        return np.asarray(decode_logits(self.architecture.head, said).mean(axis=0))

    def logits(self, inputs: Bags) -> NDArray[np.float64]:
        """What every network says, of shape (n_seeds, n_recordings, n_outputs).

        Computed in float64, so that it does not depend on which recordings are predicted together.
        """
        weights = self._exact_weights()
        with threads_for(self._cells(inputs)):
            said = [forward(weights, batch) for _, batch in self._batches(inputs)]
        return torch.cat(said, dim=2).transpose(1, 2).numpy()

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """Share of each row in its recording's prediction, the mean over networks.

        None for a block that no training recording had, if the recording has another.
        """
        shares, weights = self._first_shares(inputs), self._exact_weights()
        with threads_for(self._cells(inputs)):
            for recordings, batch in self._batches(inputs):
                for name, share in look(weights, batch).items():
                    if self.reductions[name].is_empty:
                        continue
                    pooled = batch.blocks[name].slots is not None
                    block, own = inputs.modalities[name], share.mean(dim=0).numpy()
                    rows = slice(block.offsets[recordings.start], block.offsets[recordings.stop])
                    shares[name][rows] = own[: rows.stop - rows.start] if pooled else own[block.present[recordings]]
        return shares

    def _first_shares(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """Even shares, but 0 for what the networks pass over."""
        shares = even_shares(inputs)
        known = [block.present for name, block in inputs.modalities.items() if not self.reductions[name].is_empty]
        for name, block in inputs.modalities.items():
            if self.reductions[name].is_empty:
                shares[name][np.repeat(np.any(known, axis=0), block.n_clips)] = 0
        return shares

    @property
    def _cells_of_clip(self) -> int:
        return len(self.weights["out.bias"]) * (self.architecture.attention_dim + self.architecture.hidden + 64)

    def _cells(self, inputs: Bags) -> int:
        n_clips = sum(len(block.values) for block in inputs.modalities.values())
        return min(n_clips * self._cells_of_clip, _BATCH_CELLS)

    def _exact_weights(self) -> dict[str, torch.Tensor]:
        return {name: weight.double() for name, weight in self.weights.items()}

    def _batches(self, inputs: Bags) -> Iterator[tuple[slice, Batch]]:
        """Runs of recordings, short enough that what is computed between fits into memory."""
        n_clips = np.sum([block.n_clips for block in inputs.modalities.values()], axis=0)
        number = np.cumsum(n_clips) * self._cells_of_clip // _BATCH_CELLS
        edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(inputs)]
        for first, last in itertools.pairwise(edges):
            part = slice(first, last)
            rows = reduce_rows(inputs[part], self.reductions, dtype=np.float64)
            yield part, pack([rows], pools=self.architecture.attention_dim > 0)
