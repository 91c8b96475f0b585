"""Small VideoMAE and WavLM models with random weights, saved as folders: the real classes at a price a test can pay.

Their embeddings mean nothing; they show that a path works.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from poise.extract.encoders.pretrained import quiet_transformers

HIDDEN_SIZE = 64

_IMAGENET_MEAN = [0.485, 0.456, 0.406]
_IMAGENET_STD = [0.229, 0.224, 0.225]


def save_tiny_videomae(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a VideoMAE of two layers and 64 dimensions with random weights.

    Parameters
    ----------
    folder : path
        Where to; it is made if it is not there.
    seed : int
        Of the weights.

    Returns
    -------
    Path
        The folder.
    """
    from transformers import VideoMAEConfig, VideoMAEModel

    config = VideoMAEConfig(
        image_size=224,
        patch_size=16,
        num_frames=16,
        tubelet_size=2,
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN_SIZE,
        use_mean_pooling=False,
    )
    preprocessor = {
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": _IMAGENET_MEAN,
        "image_processor_type": "VideoMAEImageProcessor",
        "image_std": _IMAGENET_STD,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 224},
    }
    return _save(VideoMAEModel, config, preprocessor, Path(folder), seed)


def save_tiny_wavlm(folder: str | os.PathLike[str], *, seed: int = 0, do_normalize: bool = True) -> Path:
    """Save a WavLM of two layers and 64 dimensions with random weights.

    Parameters
    ----------
    folder : path
        Where to; it is made if it is not there.
    seed : int
        Of the weights.
    do_normalize : bool
        Whether its preprocessing normalises each clip; published checkpoints differ in it.

    Returns
    -------
    Path
        The folder.
    """
    from transformers import WavLMConfig, WavLMModel

    config = WavLMConfig(
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * HIDDEN_SIZE,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    preprocessor = {
        "do_normalize": do_normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 16_000,
    }
    return _save(WavLMModel, config, preprocessor, Path(folder), seed)


def _save(model_class: Any, config: Any, preprocessor: dict[str, Any], folder: Path, seed: int) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n", encoding="utf-8")
    return folder
