"""Media files to clip embeddings in a store: decode, cut into clips, encode, each recording once."""

from __future__ import annotations

from poise.extract.clips import ClipSettings, plan_clips
from poise.extract.encoders.registry import make_encoder
from poise.extract.encoding import EncodedModality
from poise.extract.file_encoder import encode_file
from poise.extract.fingerprint import build_spec
from poise.extract.media.probe import probe
from poise.extract.outcomes import ExtractReport, RecordingOutcome
from poise.extract.pipeline import extract
from poise.extract.run import ExtractProgress
from poise.extract.workers.source import DecodeLimits

__all__ = [
    "ClipSettings",
    "DecodeLimits",
    "EncodedModality",
    "ExtractProgress",
    "ExtractReport",
    "RecordingOutcome",
    "build_spec",
    "encode_file",
    "extract",
    "make_encoder",
    "plan_clips",
    "probe",
]
