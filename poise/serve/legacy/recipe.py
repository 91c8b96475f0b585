"""What older bundles were trained on: they do not say, and there was one recipe.

10-second windows, a tail of at least 3 seconds, 16 frames of each, VideoMAE and WavLM in their base sizes, the mean
over tokens of the last hidden state; at most five clips of a recording, full windows first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poise.extract.clips import ClipSettings
from poise.extract.fingerprint import SPEC_SCHEMA
from poise.store.schema import Spec, spec_differences

DIMS: Mapping[str, int] = {"video": 768, "audio": 768}
"""Length of the embeddings of each modality, in the order in which the old networks saw them."""

CLIPS = "full:5"
"""How clips are selected; see :mod:`poise.heads.selection`."""

_ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "video": {
        "name": "videomae-base",
        "dim": DIMS["video"],
        "model_type": "videomae",
        "n_frames": 16,
        "layer": "last",
        "pooling": "mean over patch tokens",
        "precision": "float32",
    },
    "audio": {
        "name": "wavlm-base-plus",
        "dim": DIMS["audio"],
        "model_type": "wavlm",
        "sample_rate_hz": 16_000,
        "layer": "last",
        "pooling": "mean over frames",
        "precision": "float32",
    },
}


def make_specs() -> dict[str, dict[str, Any]]:
    """Spec of each modality, marked as ``assumed``: it says what is known, and leaves out the rest.

    Left out are the digest of the encoders' weights, their preprocessing, and how frames were decoded.
    """
    return {
        modality: {
            "schema": SPEC_SCHEMA,
            "modality": modality,
            "assumed": True,
            "encoder": dict(encoder),
            "clips": ClipSettings(window_s=10.0, hop_s=10.0, min_tail_s=3.0).to_json(),
            "decoder": {"backend": "pyav"},
            "dtype": "float32",
        }
        for modality, encoder in _ENCODERS.items()
    }


def list_differences(trained: Spec, here: Spec) -> list[str]:
    """Settings in which an encoder of this machine differs from that of a bundle, but for its name.

    Parameters
    ----------
    trained : mapping
        Spec in the bundle. Of an assumed one, only what it says counts.
    here : mapping
        Spec of the encoder that was found.

    Returns
    -------
    list of str
        As ``encoder.dim: 768 / 1024``.
    """
    found = [line for line in spec_differences(trained, here) if not line.startswith("encoder.name:")]
    if not trained.get("assumed"):
        return found
    return [line for line in found if ": not set / " not in line and not line.startswith("assumed:")]
