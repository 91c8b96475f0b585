"""Synthetic recordings for the tests of heads: ragged bags, speakers, copies, labels carried by one direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poise.manifest import Manifest
from poise.store.bags import Bags

NAMES = ("low", "moderate", "high")


def make_manifest(
    labels: list[int], *, speakers: list[str] | None = None, sources: list[int] | None = None
) -> Manifest:
    """A manifest of files that do not exist."""
    n = len(labels)
    origin = np.arange(n) if sources is None else np.array(sources)
    return Manifest(
        table_path=None,
        root=Path(),
        paths=tuple(f"r{row}.mp4" for row in range(n)),
        labels=np.array(labels, dtype=np.int64),
        label_names=NAMES,
        speakers=None if speakers is None else np.array(speakers),
        sources=origin.astype(np.int64),
        augmentations=tuple("" if origin[row] == row else "noise" for row in range(n)),
    )


def make_recordings(
    *, n_originals: int = 40, n_copies: int = 0, n_speakers: int = 5, signal: float = 0.0, dim: int = 24, seed: int = 0
) -> tuple[Bags, Manifest]:
    """Originals of several speakers with labels 0..2, and near-identical copies of the first of them."""
    random = np.random.default_rng(seed)
    n = n_originals + n_copies
    sources = np.concatenate([np.arange(n_originals), np.arange(n_copies) % n_originals])
    labels = (np.arange(n_originals) % 3)[random.permutation(n_originals)]
    counts = random.integers(2, 7, n_originals)[sources]
    modalities = {}
    for name in ("video", "audio"):
        identity = random.normal(size=(n_originals, dim))
        identity[:, 0] += signal * labels
        clips = identity[sources] + 0.1 * random.normal(size=(n, dim))
        modalities[name] = [
            (clip + 0.3 * random.normal(size=(count, dim))).astype(np.float32)
            for clip, count in zip(clips, counts, strict=True)
        ]
    speakers = [f"s{source % n_speakers}" for source in sources]
    manifest = make_manifest(labels[sources].tolist(), speakers=speakers, sources=sources.tolist())
    return Bags.from_arrays(modalities, keys=manifest.paths), manifest
