"""What a feature is: specs and their fingerprints, feature sets, and one recording's features.

Pure data: nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poise.errors import InvalidFeaturesError

FORMAT_VERSION = 1
"""Version of the file layout in ``docs/file-format.md``."""

FLOAT16_MAX = 65_504.0

Spec = Mapping[str, Any]
"""Everything that changes the numbers of a feature set, as JSON; see ``docs/file-format.md``."""

Modality = Literal["video", "audio"]

Outcome = Literal["stored", "missing", "failed"]
"""How one recording ended in one feature set; ``missing``: the file is fine but has no such modality."""


def canonical_json(value: Any) -> str:
    """JSON in ASCII with sorted keys and no spaces: the same value always gives the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(spec: Spec) -> str:
    """First 16 hexadecimal digits of the sha256 of the spec's canonical JSON."""
    return hashlib.sha256(canonical_json(spec).encode()).hexdigest()[:16]


def set_name(spec: Spec) -> str:
    """``encoder@fingerprint``, safe as a folder name."""
    encoder = re.sub(r"[^A-Za-z0-9._+-]", "-", str(spec["encoder"]["name"])).lstrip(".") or "encoder"
    return f"{encoder[:80]}@{fingerprint(spec)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingFeatures:
    """One recording in one feature set, on its way into the store.

    Attributes
    ----------
    key : str
        64 hexadecimal digits; see :func:`poise.store.identity.file_key`.
    path : str
        Path of the media file as the manifest gives it.
    duration_s : float
        Length of the recording in seconds; NaN where unknown.
    outcome : {"stored", "missing", "failed"}
        How it ended.
    embeddings : ndarray of shape (n_clips, dim) or (n_clips, n_layers, dim), float32
        No clips unless the outcome is ``stored``.
    clip_times : ndarray of shape (n_clips, 2), float64
        Start and end of each clip in seconds; NaN where unknown.
    reason : str
        Why it is missing or failed, or what about it is incomplete.
    flags : tuple of str
        Words that qualify the recording, as ``short`` or ``truncated``.
    attempts : int
        How often it was tried.
    """

    key: str
    path: str
    duration_s: float
    outcome: Outcome
    embeddings: NDArray[Any]
    clip_times: NDArray[np.float64]
    reason: str = ""
    flags: tuple[str, ...] = ()
    attempts: int = 1

    def check(self, dtype: str) -> None:
        """Refuse what must never be stored.

        Raises
        ------
        InvalidFeaturesError
            A value is NaN or infinite or does not fit in ``dtype``, or the shapes disagree.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", self.key):
            raise InvalidFeaturesError(f"{self.path}: the key {self.key!r} is not 64 hexadecimal digits.")
        if self.clip_times.shape != (len(self.embeddings), 2):
            raise InvalidFeaturesError(
                f"{self.path}: clip times of shape {self.clip_times.shape}, expected ({len(self.embeddings)}, 2)."
            )
        if (self.outcome == "stored") != (len(self.embeddings) > 0):
            raise InvalidFeaturesError(f"{self.path}: {len(self.embeddings)} clips with the outcome {self.outcome}.")
        if not np.isfinite(self.embeddings).all():
            raise InvalidFeaturesError(f"{self.path}: an embedding holds NaN or infinity; it is not stored.")
        if dtype == "float16" and len(self.embeddings) and np.abs(self.embeddings).max() > FLOAT16_MAX:
            raise InvalidFeaturesError(
                f"{self.path}: an embedding of size {np.abs(self.embeddings).max():.3g} does not fit in float16. "
                "Use --dtype float32."
            )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the store remembers of one recording in one feature set.

    Attributes
    ----------
    key : str
        Key of the recording.
    paths : tuple of str
        Every name that its bytes were given under.
    outcome : {"stored", "missing", "failed"}
        How it ended.
    n_clips : int
        Number of stored clips.
    duration_s : float
        Length in seconds; NaN where unknown.
    reason, flags, attempts
        As in :class:`RecordingFeatures`.
    """

    key: str
    paths: tuple[str, ...]
    outcome: Outcome
    n_clips: int
    duration_s: float
    reason: str
    flags: tuple[str, ...]
    attempts: int


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """All embeddings made by one encoder with one set of settings.

    Attributes
    ----------
    name : str
        ``encoder@fingerprint``.
    encoder : str
        Name of the encoder.
    modality : {"video", "audio"}
        What it was made from.
    dim : int
        Length of one embedding.
    n_recordings, n_clips : int
        How much is stored.
    n_missing, n_failed : int
        Recordings that have no such modality, and that could not be read.
    fingerprint : str
        16 hexadecimal digits.
    spec : dict
        Everything that changes the numbers.
    """

    name: str
    encoder: str
    modality: Modality
    dim: int
    n_recordings: int
    n_clips: int
    n_missing: int
    n_failed: int
    fingerprint: str
    spec: dict[str, Any]

    @property
    def imported(self) -> bool:
        """Whether the features were made by other software and are matched to recordings by file name."""
        return "imported" in self.spec


def spec_differences(first: Spec, second: Spec) -> list[str]:
    """Settings in which two specs differ, as ``clips.hop_s: 10.0 / 5.0``."""
    left, right = dict(_flatten(first)), dict(_flatten(second))
    return [
        f"{name}: {left.get(name, 'not set')} / {right.get(name, 'not set')}"
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, json.dumps(value)
