"""Synthetic recordings for the heads: ragged bags, speakers, copies, and labels that a direction in space carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poise.manifest import Manifest
from poise.store.bags import Bags

Data = tuple[Bags, Manifest]


def build(
    *, n_originals: int = 40, n_copies: int = 0, n_speakers: int = 5, signal: float = 0.0, dim: int = 24, seed: int = 0
) -> Data:
    """Originals of several speakers with labels 0..2, and near-identical copies of the first of them."""
    random = np.random.default_rng(seed)
    n = n_originals + n_copies
    sources = np.concatenate([np.arange(n_originals), np.arange(n_copies) % n_originals])
    labels = np.tile([0, 1, 2], n)[random.permutation(n_originals)]
    counts = random.integers(2, 7, n_originals)[sources]
    modalities = {}
    for name in ("video", "audio"):
        identity = random.normal(size=(n_originals, dim))
        identity[:, 0] += signal * labels
        noise = 0.1 * random.normal(size=(n, dim))
        clips = [identity[source] + noise[row] for row, source in enumerate(sources)]
        modalities[name] = [
            (clip + 0.3 * random.normal(size=(count, dim))).astype(np.float32)
            for clip, count in zip(clips, counts, strict=True)
        ]
    manifest = Manifest(
        table_path=None,
        root=Path("."),
        paths=tuple(f"r{row}.mp4" for row in range(n)),
        labels=labels[sources].astype(np.int64),
        label_names=("low", "moderate", "high"),
        speakers=np.array([f"s{source % n_speakers}" for source in sources]),
        sources=sources.astype(np.int64),
        augmentations=tuple("" if row < n_originals else "noise" for row in range(n)),
    )
    return Bags.from_lists(modalities, keys=manifest.paths), manifest


@pytest.fixture
def interviews() -> Callable[..., Data]:
    """Maker of synthetic recordings."""
    return build


@pytest.fixture
def change() -> Callable[..., Manifest]:
    """`dataclasses.replace` for a manifest."""
    return replace
