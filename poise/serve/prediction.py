"""What is said of one recording. How it is found out lives in ``predict``, what speaks against it in ``doubts``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ClipPrediction:
    """What one clip contributed.

    Attributes
    ----------
    start_s, end_s : float
        Span of the clip in seconds.
    attention : float
        Its share in the recording's prediction; the shares of a recording sum to 1, and are all equal where the
        pooling learns nothing.
    proba : dict of str to float, or None
        What the head says of a recording that is this clip and nothing else. It shows which way a clip pulls, and is
        no validated prediction: heads are trained and validated on whole recordings, and the mean over clips is not
        the recording's probability. None where the pooling needs several clips (``mean-std``).
    flags : tuple of str
        What is unusual about the clip, as ``dark``.
    """

    start_s: float
    end_s: float
    attention: float
    proba: dict[str, float] | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one recording, and whether to believe it.

    Attributes
    ----------
    path : str
        The media file.
    label : str
        The predicted level; where the model abstains its best guess, which is not to be used.
    proba : dict of str to float
        Probability of each level, lowest first.
    likely : tuple of str, or None
        Neighbouring levels, lowest first, one of which is the true one in as many recordings of new speakers as the
        bundle promises (four of five). None where the model could not promise anything.
    because : tuple of str
        Why the model abstains, in words; empty if it does not.
    doubts : tuple of str
        Everything that speaks against believing it: why it abstains, what is worse than it should be about the
        recording, and what is wrong with the model.
    notes : tuple of str
        What else is worth knowing of the recording, and speaks against nothing.
    flags : tuple of str
        What is unusual about the recording, in the words of extraction, and clips of it as ``dark:0-3,7``.
    verdict : str
        Of the audit on the model; anything but ``supported`` is among the doubts.
    duration_s : float
        Length of the recording in seconds; NaN where that did not become known.
    clips : tuple of ClipPrediction
        When in the recording it came from; clips that the model does not use are left out.
    timings : dict of str to float
        Seconds: ``decode`` (encoders waited for decoders), ``encode``, ``head``, ``total``; ``load`` where weights
        were loaded first.
    """

    path: str
    label: str
    proba: dict[str, float]
    likely: tuple[str, ...] | None
    because: tuple[str, ...]
    doubts: tuple[str, ...]
    notes: tuple[str, ...]
    flags: tuple[str, ...]
    verdict: str
    duration_s: float
    clips: tuple[ClipPrediction, ...]
    timings: dict[str, float]

    @property
    def abstains(self) -> bool:
        """Whether the recording, or how it is told from others, gives no ground for a level."""
        return bool(self.because)

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against believing it."""
        return not self.doubts

    def to_json(self) -> dict[str, Any]:
        """As ``poise predict --json`` prints it."""
        return {
            "path": self.path,
            "label": self.label,
            "proba": self.proba,
            "likely": None if self.likely is None else list(self.likely),
            "abstains": self.abstains,
            "because": list(self.because),
            "trusted": self.trusted,
            "doubts": list(self.doubts),
            "notes": list(self.notes),
            "flags": list(self.flags),
            "verdict": self.verdict,
            "duration_s": self.duration_s if math.isfinite(self.duration_s) else None,
            "clips": [{**asdict(clip), "flags": list(clip.flags)} for clip in self.clips],
            "seconds": self.timings,
        }
