"""Recordings in which every kind of leakage can be planted: identities, near copies, and a signal of known strength.

Each original has an identity of its own in a space with a steep spectrum, as pooled embeddings have; a copy is its
source with a small shift. Labels are thirds of a latent score, which a direction in a third of the clips carries, or
chance.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.manifest import Manifest
from poise.store.bags import Bags

DIM = 768


@cache
def _space(modality: int) -> NDArray[np.float32]:
    """A random basis whose axes shrink like 1/i, shape (DIM, DIM)."""
    basis = np.linalg.qr(np.random.default_rng(1000 + modality).standard_normal((DIM, DIM)))[0]
    variances = 1 / np.arange(1, DIM + 1)
    return (basis * np.sqrt(variances / variances.mean())).T.astype(np.float32)


def make_leaky(
    *,
    n_originals: int = 42,
    n_copies: int = 37,
    signal: float = 0.0,
    random_labels: bool = False,
    seed: int = 0,
    most_clips: int = 60,
) -> tuple[Bags, Manifest]:
    """42 originals and 37 copies of them, with the labels of their source, one speaker for each original."""
    random = np.random.default_rng(seed)
    latent = random.standard_normal(n_originals)
    labels = np.argsort(np.argsort(latent)) * 3 // n_originals
    if random_labels:
        labels = random.permutation(labels)
    of = random.permutation(n_originals)[:n_copies]
    sources = np.concatenate([np.arange(n_originals), of])
    modalities = {}
    for number, name in enumerate(("video", "audio")):
        space = _space(number)
        direction = np.random.default_rng(77 + number).standard_normal(DIM).astype(np.float32)
        direction *= np.sqrt(DIM) * 0.25 / np.linalg.norm(direction)
        clips = []
        for score, count in zip(latent, random.integers(4, most_clips + 1, n_originals), strict=True):
            own = random.standard_normal(DIM) + random.standard_normal((count, DIM))
            bursts = np.zeros(count)
            long = max(1, count // 3)
            start = random.integers(0, count - long + 1)
            bursts[start : start + long] = 3.0
            clips.append((own @ space + signal * score * bursts[:, None] * direction).astype(np.float32))
        for source in of:
            shift = 0.15 * random.standard_normal(DIM) + 0.2 * random.standard_normal(clips[source].shape)
            clips.append((clips[source] + shift @ space).astype(np.float32))
        modalities[name] = clips
    n = len(sources)
    manifest = Manifest(
        table_path=None,
        root=Path(),
        paths=tuple(f"r{row}.mp4" for row in range(n)),
        labels=labels[sources].astype(np.int64),
        label_names=("low", "moderate", "high"),
        speakers=np.array([f"s{source}" for source in sources]),
        sources=sources.astype(np.int64),
        augmentations=tuple("" if source == row else "noise" for row, source in enumerate(sources.tolist())),
    )
    return Bags.from_arrays(modalities, keys=manifest.paths), manifest
