"""Recordings of which it is known what a good number on them is worth: copies, people, a real signal, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.manifest import Manifest
from poise.store.bags import Bags

NAMES = ("low", "moderate", "high")
DIM = 96
CARRYING = 12


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
        Standard deviations of the identity that one level more moves a recording, in twelve columns of each modality.
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
        own[:, :CARRYING] += signal * labels[:, None]
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


def make_kind(kind: str, seed: int) -> tuple[Bags, Manifest]:
    """One draw of a kind of recordings; of eight speakers, if nothing else is said."""
    random = np.random.default_rng([seed, 1])
    recipe = {"speakers": np.arange(48) % 8, **KINDS[kind][1](random)}
    return make_case(seed=seed, **recipe)


def _dice(random: np.random.Generator) -> dict[str, Any]:
    return {"labels": deal([16, 16, 16], random)}


def _copied(random: np.random.Generator) -> dict[str, Any]:
    return {"speakers": np.arange(42) % 7, "labels": deal([14, 14, 14], random), "n_copies": 37}


def _leaning(random: np.random.Generator) -> dict[str, Any]:
    own, dice = random.permutation(np.arange(8) % 3)[np.arange(48) % 8], deal([16, 16, 16], random)
    return {"labels": np.where(random.random(48) < 0.75, own, dice)}


def _of_twelve(random: np.random.Generator) -> dict[str, Any]:
    people = np.arange(60) % 12
    return {"speakers": people, "labels": random.permutation(np.arange(12) % 3)[people]}


def _of_four(_: np.random.Generator) -> dict[str, Any]:
    people = np.arange(48) % 4
    return {"speakers": people, "labels": np.array([0, 1, 2, 1])[people]}


Recipe = Callable[[np.random.Generator], dict[str, Any]]
SIGNAL = {"signal": 1.2}

KINDS: dict[str, tuple[str, Recipe]] = {
    "noise with copies": ("leakage", _copied),
    "noise with copies, nobody named": ("leakage", lambda r: {**_copied(r), "speakers": None}),
    "noise with undeclared copies": ("leakage", lambda r: {**_copied(r), "declared": False}),
    "level is the speaker": ("confounded", _of_twelve),
    "level is one of four speakers": ("too little data", _of_four),
    "level leans on the speaker": ("confounded", _leaning),
    "signal within speakers": ("supported", lambda r: {**_dice(r), **SIGNAL}),
    "signal with copies": ("supported", lambda r: {**_copied(r), **SIGNAL}),
    "weak signal": ("no evidence", lambda r: {**_dice(r), "signal": 0.3}),
    "noise": ("no evidence", _dice),
    "three speakers": ("too little data", lambda r: {**_dice(r), **SIGNAL, "speakers": np.arange(48) % 3}),
    "signal, nobody named": ("too little data", lambda r: {**_dice(r), **SIGNAL, "speakers": None}),
    "noise, nobody named": ("no evidence", lambda r: {**_dice(r), "speakers": None}),
    "signal, each its own speaker": ("supported", lambda r: {**_dice(r), **SIGNAL, "speakers": np.arange(48)}),
    "noise, each its own speaker": ("no evidence", lambda r: {**_dice(r), "speakers": np.arange(48)}),
    "signal, unbalanced": ("supported", lambda r: {"labels": deal([33, 10, 5], r), **SIGNAL}),
    "noise, unbalanced": ("no evidence", lambda r: {"labels": deal([33, 10, 5], r)}),
    "signal, two levels": ("supported", lambda r: {"labels": deal([24, 24], r), **SIGNAL}),
    "noise, two levels": ("no evidence", lambda r: {"labels": deal([24, 24], r)}),
}
"""What each kind should mostly be called, and how it is made."""
