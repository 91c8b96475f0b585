"""Frozen encoders: VideoMAE and WavLM by name, id or folder, and ``motion`` and ``prosody``, which need no weights."""

from __future__ import annotations

from poise.extract.encoders.base import AudioEncoder, Encoder, PreparedClip, VideoEncoder
from poise.extract.encoders.registry import encoder_names, make_encoder

__all__ = [
    "AudioEncoder",
    "Encoder",
    "PreparedClip",
    "VideoEncoder",
    "encoder_names",
    "make_encoder",
]
