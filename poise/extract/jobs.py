"""One recording that a run works on: what is wanted of it, what is there already, and what has come so far.

Which recordings are worked on, and in what order, is for :mod:`poise.extract.planning` and :mod:`poise.extract.run`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from poise.errors import InvalidFeaturesError, MediaError, NotReadableNowError
from poise.extract.assignments import Assignment, Found
from poise.extract.encoders.base import Encoder
from poise.extract.encoding import Collected, EncodedModality
from poise.extract.outcomes import RecordingOutcome
from poise.extract.reading import Notes
from poise.store.schema import Entry, Modality, RecordingFeatures
from poise.text import describe_error


@dataclass(eq=False)
class Job:
    """One recording that is worked on.

    Attributes
    ----------
    row : int
        The row of the manifest that it is worked on for.
    path, key
        The recording as the manifest gives it, and its bytes' hash.
    assignment : Assignment
        What is to be read of its file.
    encoders : mapping of modality to Encoder
        What is still to be extracted.
    known : mapping of modality to Entry
        What the store has already.
    attempts : int
        How often it was tried, this time included.
    found : Found
        What reading found; complete once ``is_read``.
    collected : dict of modality to Collected
        Embeddings so far.
    is_read, is_over : bool
        Whether all its clips were read; whether it was handed to the store.
    n_over : dict of modality to int
        Clips so far that were encoded, or could not be.
    error : Exception or None
        What ended the reading of it.
    failures : dict of modality to Exception
        Why a clip could not be encoded, which costs the modality.
    not_durable : set of modality
        Where the store has not confirmed it yet.
    verdict : RecordingOutcome or None
        Its outcome, to be told once the store has confirmed it.
    """

    row: int
    path: str
    key: str
    assignment: Assignment
    encoders: Mapping[Modality, Encoder]
    known: Mapping[Modality, Entry]
    attempts: int
    found: Found = field(default_factory=Found)
    collected: dict[Modality, Collected] = field(default_factory=dict)
    is_read: bool = False
    n_over: Counter[Modality] = field(default_factory=Counter)
    error: Exception | None = None
    failures: dict[Modality, Exception] = field(default_factory=dict)
    is_over: bool = False
    not_durable: set[Modality] = field(default_factory=set)
    verdict: RecordingOutcome | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it was read and all its clips are over."""
        return self.is_read and all(
            self.n_over[modality] == self.found.notes[modality].n_clips for modality in self.encoders
        )

    @property
    def kept(self) -> tuple[Modality, ...]:
        """Modalities whose outcome the store is to remember: what is a fault of this run is tried again in the next."""
        return tuple(modality for modality in self.encoders if is_of_the_file(self.failures.get(modality)))

    def result(self, modality: Modality) -> RecordingFeatures:
        """What became of one modality, on its way into the store."""
        error = self.error or self.failures.get(modality)
        if error is not None:
            return self.failure(modality, error)
        return self._features(self.collected[modality].finish(self.found.notes[modality]))

    def failure(self, modality: Modality, error: Exception) -> RecordingFeatures:
        """One modality that could not be extracted."""
        nothing = Collected(self.encoders[modality].shape).finish(
            Notes(reason=describe_error(error), flags={"unreadable"})
        )
        return self._features(nothing)

    def _features(self, encoded: EncodedModality) -> RecordingFeatures:
        return RecordingFeatures(
            key=self.key,
            path=self.path,
            duration_s=self.found.duration_s,
            outcome=encoded.outcome,
            embeddings=encoded.embeddings,
            clip_times=encoded.clip_times,
            reason=encoded.reason,
            flags=encoded.flags,
            attempts=self.attempts,
        )


def is_of_the_file(error: Exception | None) -> bool:
    """Whether an error would come again with the same bytes. No error is none of this run."""
    if isinstance(error, NotReadableNowError):
        return False
    # what else an encoder makes of a clip may be for want of memory
    return error is None or isinstance(error, MediaError | InvalidFeaturesError)
