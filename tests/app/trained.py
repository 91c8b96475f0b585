"""A small model, trained on real recordings, for the tests of the app. No test lives here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poise.extract import ClipSettings, extract
from poise.heads import Strategy
from poise.heads.splits import Protocol
from poise.manifest import read_manifest
from poise.serve.training import train
from poise.store import FeatureStore
from tests.media import tone, write_video

CLIPS = ClipSettings(window_s=2.0, hop_s=2.0, min_tail_s=1.0)
SUPPORTED: Mapping[str, Any] = {
    "verdict": "supported",
    "sentence": "Supported: on speakers it has not heard quadratic kappa is 0.80.",
    "ladder": [],
    "warnings": [],
}


def make_model(folder: Path, *, strategy: str = "attention/early/corn:epochs=5,n_seeds=1") -> Path:
    """Record six answers of three speakers, and train a model of motion and prosody on them."""
    rows = ["path,label,speaker"]
    for i in range(6):
        sound = tone(6.0, hz=110 + 30 * i) * np.linspace(0.2, 1, 288_000, dtype=np.float32)
        write_video(folder / f"r{i}.mp4", seconds=6.0, fps=12, sound=sound)
        rows.append(f"r{i}.mp4,{'low' if i % 2 else 'high'},{i // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    manifest = read_manifest(folder / "manifest.csv", label_names=["low", "high"])
    store = FeatureStore.create(folder / "features")
    extract(manifest, store, video="motion", audio="prosody", clips=CLIPS)
    specs = {index.spec["modality"]: index.spec for index in store.indexes()}
    train(
        store.load(manifest),
        manifest,
        specs,
        folder / "model.zip",
        strategy=Strategy.parse(strategy),
        protocols=[Protocol.parse("stratified:2")],
    )
    return folder / "model.zip"
