"""From the name of an encoder to the encoder: aliases, Hugging Face ids, local folders, and the two without weights.

What the encoders do lives in their own modules, which are imported only when one of them is asked for.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from poise.errors import EncoderError, ExtractSettingsError, UnknownEncoderError
from poise.extract.encoders.base import Encoder
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

_SENSE = {"video": "picture", "audio": "sound"}


def encoder_names(modality: Modality) -> tuple[str, ...]:
    """Names that :func:`make_encoder` knows without looking for weights."""
    return (*ALIASES[modality], WEIGHT_FREE[modality])


def make_encoder(
    name: str | os.PathLike[str], modality: Modality, *, n_frames: int = 16, device: str = "auto"
) -> Encoder:
    """The encoder of that name; its weights are found now and loaded later.

    Parameters
    ----------
    name : str or path
        An alias (``videomae-base``, ``wavlm-base-plus``), a Hugging Face id, a local folder, ``motion`` or ``prosody``.
    modality : {"video", "audio"}
        What it is to encode.
    n_frames : int
        Frames of each clip that a VideoMAE looks at. ``motion`` has a rate of its own.
    device : str
        ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    Encoder

    Raises
    ------
    ExtractSettingsError
        There is no such device.
    UnknownEncoderError
        No encoder of this modality has that name.
    WeightsNotFoundError
        Its weights are neither on this machine nor reachable.
    EncoderError
        Its files are not those of an encoder that poise can run.
    """
    text = os.fspath(name)
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        raise ExtractSettingsError(f"There is no device {device!r}. Expected auto, cpu, cuda or cuda:N.")
    _check_modality(text, modality)
    if text == WEIGHT_FREE[modality]:
        return _weight_free(modality)
    source = ALIASES[modality].get(text, text)
    if source == text and not _is_location(text):
        raise UnknownEncoderError(_unknown(text, modality))
    feature_name = text if text in ALIASES[modality] else (Path(text).expanduser().absolute().name or "encoder")
    return _pretrained(source, feature_name, modality, n_frames, device)


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
    known = encoder_names(modality)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"There is no {modality} encoder {name!r}.{hint} Expected {', '.join(known)}, a Hugging Face id "
        "(OWNER/NAME) or a local folder."
    )


def _weight_free(modality: Modality) -> Encoder:
    if modality == "video":
        from poise.extract.encoders.motion import MotionEncoder

        return MotionEncoder()
    from poise.extract.encoders.prosody import ProsodyEncoder

    return ProsodyEncoder()


def _pretrained(source: str, name: str, modality: Modality, n_frames: int, device: str) -> Encoder:
    from poise.extract.encoders.videomae import VideoMAEEncoder
    from poise.extract.encoders.wavlm import WavLMEncoder
    from poise.extract.encoders.weights import find_weights

    weights = find_weights(source)
    model_type = str(weights.config.get("model_type"))
    types: dict[Modality, frozenset[str]] = {"video": VideoMAEEncoder.model_types, "audio": WavLMEncoder.model_types}
    if model_type in types[modality]:
        if modality == "video":
            return VideoMAEEncoder(weights, name=name, n_frames=n_frames, device=device)
        return WavLMEncoder(weights, name=name, device=device)
    for other, known_types in types.items():
        if model_type in known_types:
            raise UnknownEncoderError(
                f"{source} encodes {_SENSE[other]}, not {_SENSE[modality]}: its model type is {model_type!r}. "
                f"Give it with --{other}."
            )
    known = ", ".join(sorted(types[modality]))
    raise EncoderError(f"{source} is a model of type {model_type!r}, which poise cannot run. Expected one of {known}.")
