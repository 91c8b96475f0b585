"""Problems for the tests of networks: ragged bags of two modalities, of which some recordings lack one."""

from __future__ import annotations

import numpy as np

from poise.heads.inputs import prepare
from poise.heads.parameters import PARAMETERS, HeadSettings
from poise.heads.problem import Problem
from poise.store.bags import Bags

SMALL = {"hidden": 6, "attention_dim": 4, "n_seeds": 2, "epochs": 12, "n_components": 8, "lr": 0.01}


def make_settings(head: str, pooling: str = "mean", fusion: str = "auto", **values: object) -> HeadSettings:
    """Settings of a small network."""
    defaults = {name: known.default for name, known in PARAMETERS.items()}
    return HeadSettings(pooling=pooling, fusion=fusion, head=head, values={**defaults, **SMALL, **values})


def make_bags(
    n: int, *, dim: int = 10, seed: int = 0, n_layers: int | None = None, lacking: int = 0, longest: int = 9
) -> Bags:
    """Clips of both modalities, of equal number; the first recordings lack audio, as many after them video."""
    random = np.random.default_rng(seed)
    counts = random.integers(1, longest, n)
    shape = (dim,) if n_layers is None else (n_layers, dim)
    sides = {
        name: [random.normal(size=(count, *shape)).astype(np.float32) for count in counts]
        for name in ("video", "audio")
    }
    for row in range(lacking):
        sides["audio"][row] = sides["audio"][row][:0]
        sides["video"][lacking + row] = sides["video"][lacking + row][:0]
    return Bags.from_arrays(sides)


def make_problem(
    bags: Bags, settings: HeadSettings, *, n_classes: int = 3, seed: int = 0, groups: np.ndarray | None = None
) -> Problem:
    """Random labels, each level among them, and random weights."""
    random = np.random.default_rng(seed + 1000)
    n = len(bags)
    return Problem(
        inputs=prepare(bags, settings),
        ranks=random.permutation(np.arange(n) % n_classes),
        weights=random.uniform(0.5, 2, n),
        groups=np.arange(n) if groups is None else groups,
        n_classes=n_classes,
        seed=seed,
    )
