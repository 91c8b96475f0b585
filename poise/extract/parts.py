"""A file that is worked on alone, modality by modality: what is read of it, what has come, and what became of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError, NotReadableNowError, PoiseError
from poise.extract.assignments import Assignment, Found, stamp_of
from poise.extract.clips import ClipSettings, plan_clips
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoding import Collected, EncodedModality
from poise.extract.reading import Notes
from poise.extract.workers.process import DecodeProcess
from poise.extract.workers.source import ClipSource
from poise.store.schema import Modality
from poise.text import describe_error

Item = tuple[PreparedClip, float]
"""A clip, and the length of its recording in seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedFile:
    """What became of one file.

    Attributes
    ----------
    modalities : dict of modality to EncodedModality
        One for each encoder, empty where the file has no such modality or a clip of it could not be encoded.
    failures : dict of modality to Exception
        Why a clip could not be encoded.
    duration_s : float
        Length of the recording in seconds; NaN where that did not become known.
    seconds : dict of str to float
        ``decode``: the encoders waited for clips; ``encode``: all else until the last embedding; ``load``: weights
        were loaded, at the first file.
    """

    modalities: dict[Modality, EncodedModality]
    failures: dict[Modality, Exception]
    duration_s: float
    seconds: dict[str, float]

    @classmethod
    def of(cls, parts: Sequence[Part], seconds: dict[str, float]) -> EncodedFile:
        """From parts that have ended."""
        lengths = [part.found.duration_s for part in parts if math.isfinite(part.found.duration_s)]
        return cls(
            modalities={part.modality: part.finish() for part in parts},
            failures={part.modality: part.failure for part in parts if part.failure is not None},
            duration_s=max(lengths, default=math.nan),
            seconds=seconds,
        )


@dataclass(eq=False)
class Part:
    """One modality of a file.

    Attributes
    ----------
    modality : {"video", "audio"}
    encoder : Encoder
    assignment : Assignment
        What is to be read.
    stop : threading.Event
        Set when the file is no longer wanted, or all of it was read.
    collected : Collected
        Embeddings so far.
    found : Found
        What reading found; complete once it ended.
    failure : Exception or None
        Why a clip could not be encoded, which costs the modality.
    n_expected, n_done : int
        Clips that will come, 0 while unknown, and that came.
    """

    modality: Modality
    encoder: Encoder
    assignment: Assignment
    stop: threading.Event
    collected: Collected
    found: Found = field(default_factory=Found)
    failure: Exception | None = None
    n_expected: int = 0
    n_done: int = 0

    @classmethod
    def of(cls, file: Path, encoder: Encoder, stop: threading.Event) -> Part:
        """What an encoder wants of a file.

        Raises
        ------
        NotReadableNowError
            The file went away.
        """
        try:
            stamp = stamp_of(file)
        except OSError as error:
            raise NotReadableNowError(f"{file} went away: {error.strerror}. Expected a media file.") from error
        assignment = Assignment(file=file, stamp=stamp, recipe="", modalities=(encoder.modality,))
        return cls(encoder.modality, encoder, assignment, stop, Collected(encoder.shape))

    def read(self, source: ClipSource) -> Iterator[Item]:
        """The clips, from a source that one thread keeps; called in that thread."""
        if isinstance(source, DecodeProcess):
            source.stop = self.stop
        if self.stop.is_set():
            return
        for _, clip in self.assignment.read(source, self.found):
            yield clip, source.duration_s
            if self.stop.is_set():
                return

    def expect(self, duration_s: float, clips: ClipSettings) -> None:
        """Know how many clips a recording of that length has; fewer may come."""
        if not self.n_expected and not self.found.notes:
            self.n_expected = len(plan_clips(duration_s, clips)[0])

    def take(self, clip: PreparedClip, result: NDArray[np.float32] | Exception) -> None:
        """Keep the embedding of a clip, or why there is none."""
        self.n_done += 1
        if isinstance(result, Exception):
            self.failure = self.failure or result
        else:
            self.collected.add(clip, result)

    def end(self, error: Exception | None) -> None:
        """All clips were read, or an error ended that.

        Raises
        ------
        PoiseError
            The file cannot be read; where it was another error, a MediaError that says which.
        """
        if isinstance(error, PoiseError):
            raise error
        if error is not None:
            raise MediaError(f"{self.assignment.file} cannot be read: {describe_error(error)}.") from error
        self.n_expected = self.found.notes[self.modality].n_clips

    def finish(self) -> EncodedModality:
        """What became of it: a clip that could not be encoded costs all of it, as in an extraction."""
        if self.failure is None:
            return self.collected.finish(self.found.notes[self.modality])
        return Collected(self.encoder.shape).finish(Notes(describe_error(self.failure), {"unreadable"}))
