"""Recordings of which it is known what a good number on them is worth: copies, people, a real signal, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.manifest import Manifest
from poise.store.bags import Bags

NAMES = ("low", "moderate", "high")
DIM = 32


def make_case(
    *,
    speakers: NDArray[np.int64] | None = None,
    labels: NDArray[np.int64],
    n_copies: int = 0,
    signal: float = 0.0,
    voice: float = 1.0,
    declared: bool = True,
    seed: int = 0,
) -> tuple[Bags, Manifest]:
    """Recordings with an identity of their own and of their speaker, and a direction that carries the level.

    Parameters
    ----------
    speakers : ndarray of shape (n_originals,), int64, optional
        None leaves the manifest without the column.
    labels : ndarray of shape (n_originals,), int64
    n_copies : int
        Of the first originals; not declared, a copy is a recording of another speaker.
    signal : float
        Standard deviations of the identity that one level more moves a recording.
    voice : float
        Size of what the recordings of a speaker have in common.
    declared : bool
        Whether the manifest knows the copies.
    seed : int
    """
    random = np.random.default_rng(seed)
    n = len(labels)
    of = np.concatenate([np.arange(n), np.arange(n_copies) % n])
    people = np.arange(n) if speakers is None else speakers
    modalities = {}
    for name in ("video", "audio"):
        heard = random.standard_normal((int(people.max()) + 1, DIM))[people]
        own = random.standard_normal((n, DIM)) + voice * heard
        own[:, 0] += signal * labels
        means = own[of] + np.where(np.arange(len(of)) >= n, 0.15, 0.0)[:, None] * random.standard_normal((len(of), DIM))
        modalities[name] = [mean + 0.3 * random.standard_normal((2, DIM)) for mean in means.astype(np.float32)]
    sources = of if declared else np.arange(len(of))
    told = people[of] if declared else np.concatenate([people, (people[of[n:]] + 1) % (people.max() + 1)])
    manifest = Manifest(
        table_path=None,
        root=Path(),
        paths=tuple(f"r{row}.mp4" for row in range(len(of))),
        labels=labels[of].astype(np.int64),
        label_names=NAMES[: int(labels.max()) + 1],
        speakers=None if speakers is None else np.array([f"s{one}" for one in told]),
        sources=sources.astype(np.int64),
        augmentations=tuple("" if source == row else "noise" for row, source in enumerate(sources.tolist())),
    )
    return Bags.from_arrays(modalities, keys=manifest.paths), manifest


def deal(counts: list[int], random: np.random.Generator) -> NDArray[np.int64]:
    """So many labels of each level, shuffled."""
    return random.permutation(np.repeat(np.arange(len(counts)), counts))


def draw(kind: str, seed: int) -> tuple[Bags, Manifest]:
    """One draw of a kind of recordings."""
    random = np.random.default_rng([seed, 1])
    eight, forty_two = np.arange(48) % 8, np.arange(42) % 7
    dice, thirds = deal([16, 16, 16], random), deal([14, 14, 14], random)
    match kind:
        case "noise with copies":
            return make_case(speakers=forty_two, labels=thirds, n_copies=37, seed=seed)
        case "noise with copies, nobody named":
            return make_case(labels=thirds, n_copies=37, seed=seed)
        case "noise with undeclared copies":
            return make_case(speakers=forty_two, labels=thirds, n_copies=37, declared=False, seed=seed)
        case "level is the speaker":
            people = np.arange(60) % 12
            return make_case(speakers=people, labels=random.permutation(np.arange(12) % 3)[people], seed=seed)
        case "level is one of four speakers":
            return make_case(speakers=np.arange(48) % 4, labels=np.array([0, 1, 2, 1])[np.arange(48) % 4], seed=seed)
        case "level leans on the speaker":
            own = random.permutation(np.arange(8) % 3)[eight]
            return make_case(speakers=eight, labels=np.where(random.random(48) < 0.75, own, dice), seed=seed)
        case "signal within speakers":
            return make_case(speakers=eight, labels=dice, signal=1.5, seed=seed)
        case "signal with copies":
            return make_case(speakers=forty_two, labels=thirds, n_copies=37, signal=1.5, seed=seed)
        case "weak signal":
            return make_case(speakers=eight, labels=dice, signal=0.5, seed=seed)
        case "noise":
            return make_case(speakers=eight, labels=dice, seed=seed)
        case "three speakers":
            return make_case(speakers=np.arange(48) % 3, labels=dice, signal=1.5, seed=seed)
        case "signal, nobody named":
            return make_case(labels=dice, signal=1.5, seed=seed)
        case "noise, nobody named":
            return make_case(labels=dice, seed=seed)
        case "signal, a speaker for each recording":
            return make_case(speakers=np.arange(48), labels=dice, signal=1.5, seed=seed)
        case "noise, a speaker for each recording":
            return make_case(speakers=np.arange(48), labels=dice, seed=seed)
        case "signal, unbalanced":
            return make_case(speakers=eight, labels=deal([33, 10, 5], random), signal=2.0, seed=seed)
        case "noise, unbalanced":
            return make_case(speakers=eight, labels=deal([33, 10, 5], random), seed=seed)
        case "signal, two levels":
            return make_case(speakers=eight, labels=deal([24, 24], random), signal=2.5, seed=seed)
        case "noise, two levels":
            return make_case(speakers=eight, labels=deal([24, 24], random), seed=seed)
    raise ValueError(kind)


KINDS = {
    "noise with copies": "leakage",
    "noise with copies, nobody named": "leakage",
    "noise with undeclared copies": "leakage",
    "level is the speaker": "confounded",
    "level is one of four speakers": "too little data",
    "level leans on the speaker": "confounded",
    "signal within speakers": "supported",
    "signal with copies": "supported",
    "weak signal": "",
    "noise": "no evidence",
    "three speakers": "too little data",
    "signal, nobody named": "too little data",
    "noise, nobody named": "no evidence",
    "signal, a speaker for each recording": "supported",
    "noise, a speaker for each recording": "no evidence",
    "signal, unbalanced": "supported",
    "noise, unbalanced": "no evidence",
    "signal, two levels": "supported",
    "noise, two levels": "no evidence",
}
"""What each kind should mostly be called; the verdict on a weak signal may go either way."""
