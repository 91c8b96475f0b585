"""What a feature is: specs and their fingerprints, feature sets, and one recording's features.

Pure data: nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from poise.errors import InvalidFeaturesError

FORMAT_VERSION = 1
"""Version of the file layout in ``docs/file-format.md``."""

DTYPES = ("float16", "float32")
"""What embeddings can be stored as."""

SET_NAME = re.compile(r"[A-Za-z0-9._+-]+@[0-9a-f]{16}")
"""What a feature set may be called, see :func:`set_name`."""

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


def parse_spec(text: str, name: str) -> Spec:
    """The spec of the feature set ``name`` from its canonical JSON.

    Raises
    ------
    ValueError
        It is not canonical JSON, not the spec that the name says, or lacks what every spec has.
    """
    try:
        spec = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    try:
        if text != canonical_json(spec) or set_name(spec) != name:
            raise ValueError(f"it is not the spec that the name {name} says: it changed")
        shape, modality, dtype = embedding_shape(spec), spec["modality"], spec["dtype"]
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("it is not a spec: its encoder, modality or dtype is missing") from error
    if min(shape) < 1 or modality not in get_args(Modality) or dtype not in DTYPES:
        raise ValueError(f"it is of embeddings {shape} {dtype} {modality}, which cannot be")
    return dict(spec)


def embedding_shape(spec: Spec) -> tuple[int, ...]:
    """Shape of one clip's embedding: ``(dim,)``, or ``(n_layers, dim)`` where the spec keeps several layers."""
    layers = spec["encoder"].get("n_layers")
    dim = int(spec["encoder"]["dim"])
    return (dim,) if layers is None else (int(layers), dim)


def check_key(key: str, path: str, *texts: str) -> None:
    """Refuse a key or a text that cannot be stored.

    Raises
    ------
    InvalidFeaturesError
        The key is not one, or a text has characters that no file name has.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        raise InvalidFeaturesError(f"{path!r}: the key {key!r} is not 64 hexadecimal digits.")
    try:
        "".join((path, *texts)).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidFeaturesError(f"{path!r}: its path, reason or flags are no text: {error}.") from error


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
    embeddings : ndarray of shape (n_clips, [n_layers,] dim), float
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

    def check(self, spec: Spec) -> None:
        """Refuse what must never be stored in the feature set of ``spec``.

        Raises
        ------
        InvalidFeaturesError
            A value is NaN or infinite or does not fit in the dtype, or a shape is not the feature set's.
        """
        check_key(self.key, self.path, self.reason, *self.flags)
        if self.clip_times.shape != (len(self.embeddings), 2):
            raise InvalidFeaturesError(
                f"{self.path}: clip times of shape {self.clip_times.shape}, expected ({len(self.embeddings)}, 2)."
            )
        if (self.outcome == "stored") != (len(self.embeddings) > 0):
            raise InvalidFeaturesError(f"{self.path}: {len(self.embeddings)} clips with the outcome {self.outcome}.")
        expected = embedding_shape(spec)
        if self.embeddings.shape[1:] != expected and len(self.embeddings):
            raise InvalidFeaturesError(
                f"{self.path}: embeddings of shape {self.embeddings.shape}, expected (n_clips, "
                f"{', '.join(map(str, expected))})."
            )
        if self.embeddings.dtype.kind != "f":
            raise InvalidFeaturesError(f"{self.path}: embeddings of type {self.embeddings.dtype}. Expected floats.")
        if np.isinf(self.clip_times).any() or not (math.isnan(self.duration_s) or 0 <= self.duration_s < math.inf):
            raise InvalidFeaturesError(f"{self.path}: a time is infinite, or the duration negative: {self.duration_s}.")
        if not 0 <= self.attempts < 2**31:
            raise InvalidFeaturesError(f"{self.path}: it was tried {self.attempts} times.")
        if not np.isfinite(self.embeddings).all():
            raise InvalidFeaturesError(f"{self.path}: an embedding holds NaN or infinity; it is not stored.")
        largest = float(np.abs(self.embeddings).max(initial=0))
        if largest > float(np.finfo(spec["dtype"]).max):
            more = " Use --dtype float32." if spec["dtype"] == "float16" else ""
            raise InvalidFeaturesError(
                f"{self.path}: an embedding of size {largest:.3g} does not fit in {spec['dtype']}.{more}"
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
    stored_ms : int
        When it was stored, milliseconds since 1970, UTC.
    """

    key: str
    paths: tuple[str, ...]
    outcome: Outcome
    n_clips: int
    duration_s: float
    reason: str
    flags: tuple[str, ...]
    attempts: int
    stored_ms: int


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
    n_layers : int or None
        Layers kept of each embedding; None where there is just one and no axis for it.
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
    n_layers: int | None
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
