"""Two encoders small enough to know their results by heart, and ways in which encoders go wrong. No test lives here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoders.base import AudioEncoder, PreparedClip, VideoEncoder


class Grey(VideoEncoder):
    """Brightness of the first and the last of four frames of a clip."""

    name = "grey"
    dim = 2
    batch_size = 3

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def settings(self) -> Mapping[str, Any]:
        return {"scale": self.scale}

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        return start_s + (end_s - start_s) * (np.arange(4) + 0.5) / 4

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        return np.array([frame.mean()], dtype=np.float32)

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        return self.scale * np.array([[clip.data[0, 0], clip.data[-1, 0]] for clip in clips], dtype=np.float32)


class Loudness(AudioEncoder):
    """Root mean square and length of a clip."""

    name = "loudness"
    dim = 2
    batch_size = 3

    def settings(self) -> Mapping[str, Any]:
        return {}

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        return np.array([[np.sqrt(np.mean(clip.data**2)), len(clip.data) / 16_000] for clip in clips], dtype=np.float32)


class Moody(Loudness):
    """Does ``error`` for clips louder than ``limit``; what it does is an exception to raise or a value to give."""

    name = "moody"

    def __init__(self, error: Exception | float, *, limit: float = 0.1) -> None:
        self.error = error
        self.limit = limit

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        embeddings = super().encode(clips)
        loud = embeddings[:, 0] > self.limit
        if loud.any() and isinstance(self.error, Exception):
            raise self.error
        if not isinstance(self.error, Exception):
            embeddings[loud] = self.error
        return embeddings
