"""Promises of training: one file for one set of recordings and seed, and what could not be read is told first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.errors import BundleError
from poise.heads import Strategy
from poise.heads.splits import Protocol
from poise.manifest import Manifest, read_manifest
from poise.serve import read_bundle
from poise.serve.bundle import training_digest
from poise.serve.training import train
from poise.store import Bags

STRATEGIES = ["mean/early/cumulative", "mean/video/lightgbm:n_trees=5", "attention/early/corn:epochs=3,n_seeds=2"]


def recordings(folder: Path) -> tuple[Bags, Manifest, dict[str, Any]]:
    """24 recordings of 6 speakers with a little of their level in them, and the specs of their features."""
    rng, rows = np.random.default_rng(0), ["path,label,speaker"]
    for row in range(24):
        (folder / f"r{row}.mp4").touch()
        rows.append(f"r{row}.mp4,{('low', 'moderate', 'high')[row % 3]},{row // 4}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    manifest = read_manifest(folder / "manifest.csv", label_names=["low", "moderate", "high"])
    sides = {
        name: [rng.standard_normal((1 + row % 3, 4)) + row % 3 for row in range(24)] for name in ("video", "audio")
    }
    specs = {
        name: {
            "schema": 1,
            "modality": name,
            "encoder": {"name": "test", "dim": 4},
            "clips": {"window_s": 5.0, "hop_s": 5.0, "min_tail_s": 3.0},
            "decoder": {"backend": "pyav", "contract": 1},
            "dtype": "float32",
        }
        for name in sides
    }
    keys = [f"{row:064x}" for row in range(24)]
    return Bags.from_arrays(sides, keys=keys), manifest, specs


def train_once(folder: Path, name: str, strategy: str, seed: int = 0) -> bytes:
    bags, manifest, specs = recordings(folder)
    chosen, protocols = Strategy.parse(strategy), [Protocol.parse("group:speaker")]
    train(bags, manifest, specs, folder / name, strategy=chosen, protocols=protocols, seed=seed)
    return (folder / name).read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_training_gives_the_same_file(tmp_path: Path, strategy: str) -> None:
    """Bit for bit, whatever the head, and another seed another file."""
    first = train_once(tmp_path, "a.zip", strategy)
    assert first == train_once(tmp_path, "b.zip", strategy)
    assert first != train_once(tmp_path, "c.zip", strategy, seed=1)


def test_a_bundle_says_what_it_was_trained_on(tmp_path: Path) -> None:
    """Counts, seed, versions, the verdict, and a digest that another label or another recording changes."""
    train_once(tmp_path, "m.zip", STRATEGIES[0], seed=3)
    bags, manifest, _ = recordings(tmp_path)
    bundle = read_bundle(tmp_path / "m.zip")
    digest = training_digest(bags.keys, manifest.labels)
    counted = {
        name: bundle.training[name] for name in ("n_recordings", "n_copies", "n_speakers", "label_counts", "seed")
    }
    assert counted == {"n_recordings": 24, "n_copies": 0, "n_speakers": 6, "label_counts": [8, 8, 8], "seed": 3}
    assert bundle.training["digest"] == digest
    turned = np.arange(24)[::-1]
    assert training_digest(tuple(np.array(bags.keys)[turned]), manifest.labels[turned]) == digest
    assert training_digest(bags.keys, (manifest.labels + 1) % 3) != digest
    assert training_digest((*bags.keys[:-1], "f" * 64), manifest.labels) != digest
    assert {"poise", "torch", "scikit-learn", "lightgbm"} <= set(bundle.versions)
    assert bundle.audit["sentence"] in bundle.card()
    assert bundle.converted_from is None


def test_names_that_no_bundle_may_have_are_told_before_anything_is_computed(tmp_path: Path) -> None:
    """A level whose name is two lines would end an hour of training with an error."""
    bags, manifest, specs = recordings(tmp_path)
    bad = replace(manifest, label_names=("low", "mod\nerate", "high"))

    def refuse(*_: object) -> None:
        raise AssertionError("something was fitted")

    with pytest.raises(BundleError, match="label_names is .* different names of one line each"):
        train(bags, bad, specs, tmp_path / "m.zip", strategy=Strategy.parse(STRATEGIES[0]), progress=refuse)
    assert not (tmp_path / "m.zip").exists()
