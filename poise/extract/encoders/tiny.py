"""Small models with random weights, saved as folders: the real classes at a price a test can pay.

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


_TRANSFORMER: dict[str, Any] = {
    "hidden_size": HIDDEN_SIZE,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 2 * HIDDEN_SIZE,
}
_SPEECH: dict[str, Any] = {
    **_TRANSFORMER,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


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
        use_mean_pooling=False,
        **_TRANSFORMER,
    )
    return _save(VideoMAEModel, config, _pictures("VideoMAEImageProcessor", 224, 224), folder, seed)


def save_tiny_timesformer(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a TimeSformer that looks at 8 frames of 64 x 64 pixels; all else as :func:`save_tiny_videomae`."""
    from transformers import TimesformerConfig, TimesformerModel

    config = TimesformerConfig(image_size=64, patch_size=16, num_frames=8, **_TRANSFORMER)
    return _save(TimesformerModel, config, _pictures("VideoMAEImageProcessor", 64, 64), folder, seed)


def save_tiny_vivit(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a ViViT that looks at 8 frames of 64 x 64 pixels, of the classifier's class as published ones are.

    All else as :func:`save_tiny_videomae`.
    """
    from transformers import VivitConfig, VivitForVideoClassification

    config = VivitConfig(image_size=64, tubelet_size=[2, 16, 16], num_frames=8, **_TRANSFORMER)
    preprocessor = _pictures("VivitImageProcessor", 73, 64) | {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "offset": True,
        "rescale_factor": 1 / 127.5,
    }
    return _save(VivitForVideoClassification, config, preprocessor, folder, seed)


def save_tiny_vjepa2(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a V-JEPA 2 that looks at 8 frames of 64 x 64 pixels; all else as :func:`save_tiny_videomae`."""
    from transformers import VJEPA2Config, VJEPA2Model

    config = VJEPA2Config(
        crop_size=64,
        patch_size=16,
        frames_per_clip=8,
        tubelet_size=2,
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=2.0,
        pred_hidden_size=32,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        num_pooler_layers=1,
    )
    name = "video_preprocessor_config.json"
    return _save(VJEPA2Model, config, _pictures("VJEPA2VideoProcessor", 73, 64), folder, seed, name=name)


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

    return _save(WavLMModel, WavLMConfig(**_SPEECH), _samples(do_normalize=do_normalize), folder, seed)


def save_tiny_hubert(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a HuBERT; all else as :func:`save_tiny_wavlm`."""
    from transformers import HubertConfig, HubertModel

    return _save(HubertModel, HubertConfig(**_SPEECH), _samples(do_normalize=True), folder, seed)


def save_tiny_wav2vec2(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Save a wav2vec 2.0 with a final layer norm, as large ones have it; all else as :func:`save_tiny_wavlm`."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(**_SPEECH, do_stable_layer_norm=True, feat_extract_norm="layer")
    return _save(Wav2Vec2Model, config, _samples(do_normalize=True), folder, seed)


def save_tiny_whisper(folder: str | os.PathLike[str], *, seed: int = 0, whole: bool = True) -> Path:
    """Save a Whisper that hears 30 seconds.

    Parameters
    ----------
    folder : path
        Where to; it is made if it is not there.
    seed : int
        Of the weights.
    whole : bool
        Whether it is of the class that transcribes, as published ones are, whose weights have other names.

    Returns
    -------
    Path
        The folder.
    """
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperModel

    config = WhisperConfig(
        d_model=HIDDEN_SIZE,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * HIDDEN_SIZE,
        decoder_ffn_dim=2 * HIDDEN_SIZE,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    preprocessor = {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "sampling_rate": 16_000,
    }
    return _save(WhisperForConditionalGeneration if whole else WhisperModel, config, preprocessor, folder, seed)


def _pictures(processor: str, edge: int, crop: int) -> dict[str, Any]:
    kind = "video_processor_type" if processor.endswith("VideoProcessor") else "image_processor_type"
    return {
        "crop_size": {"height": crop, "width": crop},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": _IMAGENET_MEAN,
        kind: processor,
        "image_std": _IMAGENET_STD,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": edge},
    }


def _samples(*, do_normalize: bool) -> dict[str, Any]:
    return {
        "do_normalize": do_normalize,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": 16_000,
    }


def _save(
    model_class: Any,
    config: Any,
    preprocessor: dict[str, Any],
    folder: str | os.PathLike[str],
    seed: int,
    *,
    name: str = "preprocessor_config.json",
) -> Path:
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    (folder / name).write_text(json.dumps(preprocessor, indent=2) + "\n", encoding="utf-8")
    return folder
