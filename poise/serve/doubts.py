"""When a prediction is not to be believed, and what is said then: the rules of docs/predict.md.

Rules and words alone: flags come from extraction, distances from ``familiarity``, sets of levels from ``confidence``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.splits import Protocol

DECISIVE = {
    "short": "it is shorter than the shortest clip that the model was trained on",
    "blank": "its picture has one colour throughout",
    "frozen": "its picture stands still",
    "mostly-silent": "hardly anything can be heard in it",
    "unfamiliar-picture": "its picture is unlike any recording that the model was trained on",
    "unfamiliar-sound": "its sound is unlike any recording that the model was trained on",
}
"""Flags of recordings in which there is nothing to judge, or nothing that the model knows: it abstains."""

MILD = {
    "no-picture": "it has no picture that can be used, so that its sound alone was judged",
    "no-sound": "it has no sound that can be used, so that its picture alone was judged",
    "dark": "its picture is very dark",
    "quiet": "its sound is very quiet",
    "clipped": "its sound was recorded too loud and is clipped",
    "truncated": "the file ends before it should",
    "damaged": "parts of the file could not be decoded",
    "unreadable": "parts of the file could not be read",
    "sound-sanitised": "its sound has impossible values, which were replaced",
    "sound-gap": "there are gaps in its sound",
    "picture-gap": "there are gaps in its picture",
    "restarts": "its timestamps begin anew, as where two recordings were put one behind the other",
    "sound-overlap": "parts of its sound lie over others, and were left out",
}
"""Flags of recordings that are worse than they should be: a level is given, and not trusted."""

HARMLESS = {
    "variable-rate": "its frames come at a varying rate",
    "resized": "the size of its picture changes, and the clips in which it does are left out",
}
"""Flags that are told and change nothing."""

_OF_CLIPS = re.compile(r"([a-z-]+):([0-9,-]+)")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What there is to say of a recording; see :class:`poise.serve.prediction.Prediction`.

    Attributes
    ----------
    because, doubts, notes : tuple of str
    """

    because: tuple[str, ...]
    doubts: tuple[str, ...]
    notes: tuple[str, ...]


def judge_recording(
    flags: Mapping[str, NDArray[np.float64]], possible: Sequence[str], levels: Sequence[str]
) -> Judgement:
    """Put flags and possible levels into words.

    Parameters
    ----------
    flags : mapping of str to ndarray of shape (n_clips, 2), float64
        Flags of the recording, and for each the spans of its modality's clips in seconds.
    possible : sequence of str
        Levels that the probabilities leave possible; empty where nothing is promised.
    levels : sequence of str
        All levels that the model knows.
    """
    because = [words for flag, words in DECISIVE.items() if flag in flags]
    if len(possible) == len(levels):
        because.append(f"its probabilities rule out no level from {levels[0]} to {levels[-1]}")
    mild = [words for flag, words in MILD.items() if flag in flags]
    notes = [words for flag, words in HARMLESS.items() if flag in flags]
    for flag, spans in flags.items():
        match = _OF_CLIPS.fullmatch(flag)
        if match and match[1] not in flags:  # where half of the clips have it, it was said above
            notes.append(f"{_few(match[1])} {_seconds(spans[list(clips_of(flag))])}")
    return Judgement(because=tuple(because), doubts=(*because, *mild), notes=tuple(notes))


def judge_model(strategy: str, validation: Sequence[Mapping[str, Any]], audit: Mapping[str, Any]) -> tuple[str, ...]:
    """What speaks against a model itself, whatever it is shown.

    Parameters
    ----------
    strategy : str
    validation : sequence of mapping
        Lines of the leaderboard.
    audit : mapping
        ``verdict`` and ``sentence``.

    Returns
    -------
    tuple of str
        A verdict other than ``supported``, in the audit's own sentence. Else what the figures say: only a protocol
        that keeps speakers apart speaks for the model, and of several the one that flatters least.
    """
    if audit.get("verdict") != "supported":
        return (f"the model's audit does not support it. {audit.get('sentence') or 'It was not audited.'}",)
    found = [
        (row["interval"]["qwk"], row["protocol"])
        for row in validation
        if row["strategy"] == strategy
        and Protocol.parse(row["protocol"]).keeps_speakers_apart
        and row["interval"].get("qwk") is not None
    ]
    if not found:
        return ("the model's validation says nothing about speakers it has not heard",)
    (low, high), protocol = min(found)
    if low <= 0:
        return (
            f"the model was no better than chance under {protocol}: its quadratic kappa may be "
            f"anything from {low:.2f} to {high:.2f}",
        )
    return ()


def clips_of(flag: str) -> Iterator[int]:
    """Numbers of the clips that a flag names, as 0, 1, 2, 3 and 7 of ``dark:0-3,7``; none of a recording's flag.

    >>> list(clips_of("dark:0-3,7")), list(clips_of("dark"))
    ([0, 1, 2, 3, 7], [])
    """
    match = _OF_CLIPS.fullmatch(flag)
    for part in match[2].split(",") if match else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _few(word: str) -> str:
    words = {
        "blank": "the picture has one colour",
        "frozen": "the picture stands still",
        "dark": "the picture is very dark",
        "mostly-silent": "hardly anything can be heard",
        "quiet": "the sound is very quiet",
        "clipped": "the sound is clipped",
        "unfamiliar-picture": "the picture is unlike the training recordings",
        "unfamiliar-sound": "the sound is unlike the training recordings",
    }
    return words.get(word, word)


def _seconds(spans: NDArray[np.float64]) -> str:
    """Consecutive spans as ``from 0 to 20 s and from 30 to 40 s``."""
    joined: list[list[float]] = []
    for start_s, end_s in spans.tolist():
        if joined and start_s <= joined[-1][1] + 1e-3:
            joined[-1][1] = end_s
        else:
            joined.append([start_s, end_s])
    return " and ".join(f"from {start_s:.4g} to {end_s:.4g} s" for start_s, end_s in joined)
