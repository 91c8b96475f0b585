"""One recording that a run works on: what is wanted of it, what is there already, and what has come so far.

Which recordings are worked on, and in what order, is for :mod:`poise.extract.planning` and :mod:`poise.extract.run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from poise.extract.assignments import Assignment, Found
from poise.extract.encoders.base import Encoder
from poise.extract.encoding import Collected, EncodedModality
from poise.extract.outcomes import RecordingOutcome
from poise.extract.reading import Notes, describe_error
from poise.store.schema import Entry, Modality, RecordingFeatures


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
    key: str
    assignment: Assignment
    encoders: Mapping[Modality, Encoder]
    known: Mapping[Modality, Entry]
    attempts: int
    found: Found = field(default_factory=Found)
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
            len(collected) == self.found.notes[modality].n_clips for modality, collected in self.collected.items()
        )

    def result(self, modality: Modality) -> RecordingFeatures:
        """One modality whose clips are all encoded, on its way into the store."""
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
