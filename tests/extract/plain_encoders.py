"""Two encoders small enough to know their results by heart, and ways in which encoders go wrong. No test lives here."""

from __future__ import annotations

import os
import signal
import sys
import time
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


class Deadly(Grey):
    """Does ``deed`` to the process that looks at a frame brighter than 200; ``once`` names a file that remembers it."""

    name = "deadly"

    def __init__(self, deed: str, *, once: str | None = None) -> None:
        super().__init__()
        self.deed = deed
        self.once = once

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        if frame.mean() > 200 and not (self.once and os.path.exists(self.once)):
            if self.once:
                open(self.once, "w").close()
            {"crash": _crash, "hang": _hang, "hoard": _hoard, "exit": _exit}[self.deed]()
        return super().prepare_frame(frame)


class Fickle(Grey):
    """Crashes when it is shown a frame brighter than 200, and from then on refuses every frame."""

    name = "fickle"

    def __init__(self, *, once: str) -> None:
        super().__init__()
        self.once = once

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        if os.path.exists(self.once):
            raise RuntimeError("no more")
        if frame.mean() > 200:
            open(self.once, "w").close()
            _crash()
        return super().prepare_frame(frame)


class Wordy(Grey):
    """Says too much when it is shown a picture, and what a terminal would act on."""

    name = "wordy"

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        raise RuntimeError(f"the picture\0 of {frame.dtype} is {'very ' * 1_000_000}bad\x1b[2J")


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    time.sleep(600)


def _hoard() -> None:
    np.ones(1 << 40, np.uint8)


def _exit() -> None:
    print("the codec says no", file=sys.stderr, flush=True)
    os._exit(7)


class Loudness(AudioEncoder):
    """Root mean square and length of a clip."""

    name = "loudness"
    dim = 2
    batch_size = 3

    def settings(self) -> Mapping[str, Any]:
        return {}

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        return np.array([[np.sqrt(np.mean(clip.data**2)), len(clip.data) / 16_000] for clip in clips], dtype=np.float32)


class Fatal(Grey):
    """Kills the process that encodes, or the one that has files decoded; ``once`` names a file that remembers it."""

    name = "fatal"

    def __init__(self, victim: str, *, once: str) -> None:
        super().__init__()
        self.victim = victim
        self.once = once

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        if self.victim == "who decodes" and not os.path.exists(self.once):
            open(self.once, "w").close()
            os.kill(os.getppid(), signal.SIGKILL)
        return super().prepare_frame(frame)

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        if self.victim == "who encodes" and not os.path.exists(self.once):
            open(self.once, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(clips)


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


class Meddler(Loudness):
    """Touches or removes a file whenever it is given samples."""

    def __init__(self, path: str, deed: str = "touch") -> None:
        self.path = path
        self.deed = deed

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.deed == "touch":
            os.utime(self.path, ns=(1, 1))
        elif os.path.exists(self.path):
            os.remove(self.path)
        return samples
