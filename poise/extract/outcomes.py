"""How an extraction ended: one typed outcome for each recording, over all modalities, and the report of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from poise.extract.stale import StaleRecording
from poise.store.schema import Entry, Modality, RecordingFeatures

RunOutcome = Literal["stored", "already", "partial", "failed"]
"""``partial``: something of it is stored and something is missing, the reason says what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingOutcome:
    """How one recording ended in one run.

    Attributes
    ----------
    path : str
        The recording as the manifest gives it.
    key : str or None
        Hash of the file's bytes; None if it could not be read.
    outcome : {"stored", "already", "partial", "failed"}
        How it ended.
    reason : str
        What is missing or wrong; empty if nothing is.
    n_clips : int
        Clips stored, of the modality that has more.
    flags : tuple of str
        Words that qualify it, as ``short`` or ``truncated``.
    attempts : int
        How often it was tried.
    """

    path: str
    key: str | None
    outcome: RunOutcome
    reason: str = ""
    n_clips: int = 0
    flags: tuple[str, ...] = ()
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """What one run of ``extract`` did.

    Attributes
    ----------
    outcomes : tuple of RecordingOutcome
        One for each row of the manifest, in its order.
    seconds : float
        How long it took.
    waiting_s : float
        How long of that the encoders had nothing to do, because nothing was decoded yet.
    n_clips_encoded : int
        Clips encoded in this run, of all encoders together.
    feature_sets : dict of str to str
        Name of the feature set of each modality, ``encoder@fingerprint``.
    stale : tuple of StaleRecording
        Recordings in the store whose file has other bytes now.
    """

    outcomes: tuple[RecordingOutcome, ...]
    seconds: float
    waiting_s: float
    n_clips_encoded: int
    feature_sets: Mapping[Modality, str]
    stale: tuple[StaleRecording, ...] = ()

    @property
    def counts(self) -> dict[RunOutcome, int]:
        """How many recordings ended in each way."""
        found = Counter(outcome.outcome for outcome in self.outcomes)
        return {outcome: found[outcome] for outcome in get_args(RunOutcome)}

    @property
    def failed_share(self) -> float:
        """Share of recordings that failed."""
        return self.counts["failed"] / len(self.outcomes) if self.outcomes else 0.0

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: the counts and the outcomes, see ``docs/cli.md``."""
        return {
            **{str(outcome): count for outcome, count in self.counts.items()},
            "outcomes": [{**asdict(outcome), "flags": list(outcome.flags)} for outcome in self.outcomes],
            "seconds": self.seconds,
            "waiting_s": self.waiting_s,
            "n_clips_encoded": self.n_clips_encoded,
            "feature_sets": dict(self.feature_sets),
            "stale": [asdict(recording) for recording in self.stale],
        }


def judge(
    path: str, key: str, parts: Mapping[Modality, Entry | RecordingFeatures], *, already: bool
) -> RecordingOutcome:
    """One outcome from how a recording ended in each feature set.

    Parameters
    ----------
    path, key : str
        The recording.
    parts : mapping of modality to Entry or RecordingFeatures
        How it ended in each feature set that was asked for.
    already : bool
        Whether all of it was known before.
    """
    stored = [part for part in parts.values() if part.outcome == "stored"]
    reason = _reason(parts)
    outcome: RunOutcome
    if not stored:
        outcome = "failed"
    elif already:
        outcome = "already"
    else:
        outcome = "partial" if reason else "stored"
    return RecordingOutcome(
        path=path,
        key=key,
        outcome=outcome,
        reason=reason,
        n_clips=max((n_clips_of(part) for part in stored), default=0),
        flags=tuple(sorted({flag for part in parts.values() for flag in part.flags})),
        attempts=max(part.attempts for part in parts.values()),
    )


def n_clips_of(part: Entry | RecordingFeatures) -> int:
    """Number of clips that a feature set has of a recording."""
    return part.n_clips if isinstance(part, Entry) else len(part.embeddings)


def _reason(parts: Mapping[Modality, Entry | RecordingFeatures]) -> str:
    reasons = {modality: part.reason for modality, part in parts.items() if part.reason}
    if len(reasons) == len(parts) and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{modality}: {reason}" for modality, reason in reasons.items())
