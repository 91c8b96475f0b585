"""Recordings and specs for tests of the store."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from poise.manifest import Manifest
from poise.store.schema import Modality, RecordingFeatures


def make_spec(
    *, name: str = "motion", modality: Modality = "video", dim: int = 8, dtype: str = "float16", hop_s: float = 10.0
) -> dict[str, Any]:
    return {
        "schema": 1,
        "modality": modality,
        "encoder": {"name": name, "dim": dim},
        "clips": {"window_s": 10.0, "hop_s": hop_s, "min_tail_s": 3.0},
        "decoder": {"backend": "pyav", "contract": 1},
        "dtype": dtype,
    }


def make_key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()


def make_features(name: str, *, n_clips: int = 3, dim: int = 8, **changes: Any) -> RecordingFeatures:
    rng = np.random.default_rng(int(make_key(name)[:8], 16))
    starts = 10.0 * np.arange(n_clips)
    fields: dict[str, Any] = {
        "key": make_key(name),
        "path": f"{name}.mp4",
        "duration_s": 10.0 * n_clips,
        "outcome": "stored" if n_clips else "missing",
        "embeddings": rng.standard_normal((n_clips, dim)).astype(np.float32),
        "clip_times": np.stack([starts, starts + 10.0], axis=1),
    }
    return RecordingFeatures(**{**fields, **changes})


def manifest_of(folder: Path, *paths: str) -> Manifest:
    return Manifest(
        table_path=None,
        root=folder,
        paths=paths,
        labels=np.zeros(len(paths), dtype=np.int64),
        label_names=("low", "high"),
        speakers=None,
        sources=np.arange(len(paths)),
        augmentations=("",) * len(paths),
    )
