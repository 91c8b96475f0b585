"""From bags to what a head sees: layers, fusion, clip selection and pooling. Nothing here reads a label or learns.

Also centring by group, which uses all recordings of a group at once and says what that assumes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.heads.fusion import LOOSE_FUSIONS, TOGETHER, fuse, modalities_of
from poise.heads.parameters import LEARNT_POOLINGS, HeadSettings
from poise.heads.pooling import pool
from poise.heads.selection import select_clips
from poise.store.bags import Bags, ModalityBags

LARGEST = 1e30
"""No feature is larger: sums of squares of them still fit in float64."""

Shapes = dict[str, tuple[int | None, int]]
"""Number of layers (None without an axis for them) and length of a vector, for each block."""


def prepare(bags: Bags, settings: HeadSettings) -> Bags:
    """The blocks that a head sees, one for each modality that stays apart.

    Parameters
    ----------
    bags : Bags
    settings : HeadSettings

    Returns
    -------
    Bags
        Values of a block are of shape (n_rows, [n_layers,] dim). Pooled, a recording has one row, or none where the
        modality is missing; with a learnt pooling, its clips. There are layers only where their weights are learnt.

    Raises
    ------
    StrategyError
        The features do not have what the settings ask for.
    ValueError
        A feature is NaN, infinite or too large.
    """
    clips = see_clips(bags, settings)
    for name, block in clips.modalities.items():
        if not _is_ordinary(block.values):
            raise ValueError(
                f"The features of {name} hold NaN, infinity or numbers above {LARGEST:g}; expected finite numbers of "
                "ordinary size. Extract the recordings again, or scale them."
            )
    if settings.pooling in LEARNT_POOLINGS:
        return clips
    pooled = {name: pool(block, settings.pooling) for name, block in clips.modalities.items()}
    return Bags(keys=clips.keys, modalities=pooled)


def see_clips(bags: Bags, settings: HeadSettings) -> Bags:
    """The clips that are pooled, a block for each modality that stays apart."""
    names = modalities_of(settings.fusion, bags)
    if settings["layer"] != "mean" and all(bags.modalities[name].n_layers is None for name in names):
        raise StrategyError(
            f"layer={settings['layer']}: the features of {' and '.join(names)} keep no layers apart. Leave layer out, "
            "or extract with several layers."
        )
    layered = {name: _choose_layer(name, bags.modalities[name], settings["layer"]) for name in names}
    fused = fuse(Bags(keys=bags.keys, modalities=layered), settings.fusion)
    picked = {name: select_clips(block, settings["clips"]) for name, block in fused.modalities.items()}
    return Bags(keys=bags.keys, modalities=picked)


def shapes_of(prepared: Bags) -> Shapes:
    """Layers and vector length of each block."""
    return {name: (block.n_layers, block.dim) for name, block in prepared.modalities.items()}


def expected_shapes(modalities: Shapes, settings: HeadSettings) -> Shapes:
    """Shapes of the blocks that `prepare` makes of modalities of these shapes."""
    wide = 2 if settings.pooling == "mean-std" else 1
    layers = {name: n if settings["layer"] == "learnt" else None for name, (n, _) in modalities.items()}
    if len(modalities) == 1 or settings.fusion in LOOSE_FUSIONS:
        return {name: (layers[name], wide * dim) for name, (_, dim) in modalities.items()}
    return {TOGETHER: (layers["video"], wide * sum(dim for _, dim in modalities.values()))}


def as_table(prepared: Bags) -> NDArray[np.float64]:
    """Pooled blocks side by side, shape (n_recordings, dim); NaN where a modality is missing."""
    sides = []
    for block in prepared.modalities.values():
        side = np.full((len(block), block.dim), np.nan)
        side[block.present] = block.values
        sides.append(side)
    return np.hstack(sides)


def center_groups(bags: Bags, groups: NDArray[np.generic]) -> Bags:
    """Take from every clip the mean of its group: what is left is how it differs from that person's others.

    No label is read, but a group is centred by all of its recordings, those that are predicted included. It assumes
    that several recordings of a new person come together, and that their levels differ as those of the others do.

    Parameters
    ----------
    bags : Bags
    groups : ndarray of shape (n_recordings,)

    Returns
    -------
    Bags
        Values are float32; every recording counts once, however many clips it has.
    """
    number = np.unique(groups, return_inverse=True)[1]
    modalities = {}
    for name, side in bags.modalities.items():
        means = pool(side, "mean").values  # (n_present, [n_layers,] dim)
        owners = number[side.present]
        total = np.zeros((number.max(initial=-1) + 1, *means.shape[1:]))
        np.add.at(total, owners, means)
        counts = np.bincount(owners, minlength=len(total)).reshape(-1, *[1] * (means.ndim - 1))
        centers = (total / np.maximum(counts, 1)).astype(np.float32)
        values = side.values - centers[np.repeat(number, side.n_clips)]
        modalities[name] = ModalityBags(values=values, offsets=side.offsets, clip_times=side.clip_times)
    return Bags(keys=bags.keys, modalities=modalities)


def _choose_layer(name: str, side: ModalityBags, layer: str) -> ModalityBags:
    if side.n_layers is None or layer == "learnt":
        return side
    if layer == "mean":
        return side.layer("mean")
    number = int(layer)
    if not -side.n_layers <= number < side.n_layers:
        raise StrategyError(
            f"layer={number}: the features of {name} keep {side.n_layers} layers, 0 to {side.n_layers - 1}. Choose one "
            "of them, mean or learnt."
        )
    return side.layer(number)


def _is_ordinary(values: NDArray[Any], chunk: int = 1 << 22) -> bool:
    """Whether all are finite and none is too large to be squared, without a mask as long as the values."""
    limit = min(LARGEST, float(np.finfo(values.dtype).max)) if values.dtype.kind == "f" else LARGEST
    rows = max(1, chunk // max(1, int(np.prod(values.shape[1:]))))
    return all(bool((np.abs(values[first : first + rows]) <= limit).all()) for first in range(0, len(values), rows))
