"""One recording that a run works on: what is wanted of it, what is there already, and what has come so far.

Which recordings are worked on, and in what order, is for :mod:`poise.extract.pipeline`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from poise.errors import DecoderDiedError, MediaError
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoding import Collected, EncodedModality
from poise.extract.outcomes import RecordingOutcome
from poise.extract.reading import Notes, describe_error
from poise.extract.workers.source import ClipSource
from poise.store.schema import Entry, Modality, RecordingFeatures

Item = tuple[Modality, PreparedClip]
Stamp = tuple[int, int, int]
"""Inode, size and time of the last change of a file."""


class ChangedWhileReadError(MediaError):
    """The bytes that were decoded are not those that were hashed."""


@dataclass(eq=False)
class Job:
    """One recording that is worked on.

    Attributes
    ----------
    row : int
        The row of the manifest that it is worked on for.
    path, file, key, stamp
        The recording as the manifest gives it, its absolute path, its bytes' hash, and inode, size and time of the last
        change when they were hashed.
    recipe : str
        What is done to the file on the fly to make a copy.
    encoders : mapping of modality to Encoder
        What is still to be extracted.
    known : mapping of modality to Entry
        What the store has already.
    attempts : int
        How often it was tried, this time included.
    duration_s, notes
        What reading found; known once ``is_read``.
    collected : dict of modality to Collected
        Embeddings so far.
    is_read, is_over : bool
        Whether all its clips were read; whether it was handed to the store.
    error : Exception or None
        What ended it.
    is_remembered : bool
        Whether the store is to remember that error: it is one of the file, and not of this run.
    not_durable : set of modality
        Where the store has not confirmed it yet.
    verdict : RecordingOutcome or None
        Its outcome, to be told once the store has confirmed it.
    """

    row: int
    path: str
    file: Path
    key: str
    stamp: Stamp
    recipe: str
    encoders: Mapping[Modality, Encoder]
    known: Mapping[Modality, Entry]
    attempts: int
    duration_s: float = float("nan")
    notes: dict[Modality, Notes] = field(default_factory=dict)
    collected: dict[Modality, Collected] = field(default_factory=dict)
    is_read: bool = False
    error: Exception | None = None
    is_remembered: bool = True
    is_over: bool = False
    not_durable: set[Modality] = field(default_factory=set)
    verdict: RecordingOutcome | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all clips that were read are encoded."""
        return self.is_read and all(
            len(collected) == self.notes[modality].n_clips for modality, collected in self.collected.items()
        )

    def read(self, source: ClipSource) -> Iterator[Item]:
        """The clips of the recording; called in a worker."""
        for modality in self.encoders:
            yield from self._read_modality(source, modality)
        if stamp_of(self.file) != self.stamp:
            raise ChangedWhileReadError(f"{self.file} changed while it was read. Run the command again.")

    def _read_modality(self, source: ClipSource, modality: Modality) -> Iterator[Item]:
        n_given = 0
        for may_repeat in (True, False):
            try:
                for number, clip in enumerate(source.clips(self.file, modality, self.recipe)):
                    if number >= n_given:
                        n_given += 1
                        yield modality, clip
            except DecoderDiedError as error:
                if not math.isnan(source.duration_s):
                    self.duration_s = source.duration_s
                if may_repeat and error.again:  # it may have been for want of memory, or for what came before
                    continue
                self.notes[modality] = Notes(describe_error(error), {"unreadable"}, n_given)
            else:
                self.duration_s, self.notes[modality] = source.duration_s, source.notes
            return

    def features(self, encoded: EncodedModality) -> RecordingFeatures:
        """One modality on its way into the store."""
        return RecordingFeatures(
            key=self.key,
            path=self.path,
            duration_s=self.duration_s,
            outcome=encoded.outcome,
            embeddings=encoded.embeddings,
            clip_times=encoded.clip_times,
            reason=encoded.reason,
            flags=encoded.flags,
            attempts=self.attempts,
        )

    def failure(self, modality: Modality, error: Exception) -> RecordingFeatures:
        """One modality that could not be extracted."""
        nothing = Collected(self.encoders[modality].shape).finish(
            Notes(reason=describe_error(error), flags={"unreadable"})
        )
        return self.features(nothing)


def stamp_of(file: Path) -> Stamp:
    """Inode, size and time of the last change of a file."""
    status = os.stat(file)
    return status.st_ino, status.st_size, status.st_mtime_ns
