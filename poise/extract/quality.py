"""What is seen and heard of a clip before any encoder: words for what may make its embedding mean little.

Nothing is judged here but light, loudness and the rate of frames; no face is looked for. A clip that is flagged is
stored like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

DARK = 25 / 255
"""Mean brightness of a dark picture."""

BLANK = 2 / 255
"""Standard deviation over the pixels of a picture of one colour."""

STILL = 0.5 / 255
"""Mean difference between two frames that show the same; the noise of a camera is several times that."""

MIN_STILL_S = 2.0
"""A shorter clip may show the same throughout."""

SILENT_DB = -60.0
"""Level of a piece of sound in which nothing is heard, relative to full scale."""

QUIET_DB = -40.0
"""Level of what is heard, where speech at a usual distance has -30 to -15 dB."""

MOSTLY = 0.9
"""Share of silent pieces above which hardly anything is said."""

CLIPPED = 0.99
MAX_CLIPPED_SHARE = 1e-3

UNEVEN = 0.2
MIN_UNEVEN_S = 2e-3
MAX_UNEVEN_SHARE = 0.05
"""A rate varies where more steps than this share differ from the usual one by a fifth, and by more than rounding."""

_PIECE_S = 0.05
_GRID = 48  # pixels along the shorter side that are looked at


def glance(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A coarse picture of a frame: what :func:`judge_picture` looks at.

    Parameters
    ----------
    frame : ndarray of shape (height, width, 3), uint8
        RGB.

    Returns
    -------
    ndarray of shape (rows, columns), float32
        Brightness of some pixels, 0 to 1 (ITU-R BT.601 luma).
    """
    step = max(1, min(frame.shape[:2]) // _GRID)
    some = frame[::step, ::step].astype(np.float32)
    return some @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)


def judge_picture(glances: Sequence[NDArray[np.float32]], times_s: NDArray[np.float64]) -> tuple[str, ...]:
    """Words for the picture of a clip: ``blank``, ``dark``, ``frozen``.

    Parameters
    ----------
    glances : sequence of ndarray of shape (rows, columns), float32
        One for each frame, in order of time.
    times_s : ndarray of shape (n_frames,), float64
        The timestamp of each frame, seconds.
    """
    words = []
    if all(float(seen.std()) < BLANK for seen in glances):
        words.append("blank")
    if float(np.mean([seen.mean() for seen in glances])) < DARK:
        words.append("dark")
    changes = [float(np.abs(seen - glances[0]).mean()) for seen in glances]
    if max(changes) < STILL and times_s[-1] - times_s[0] >= MIN_STILL_S:
        words.append("frozen")
    return tuple(words)


def is_uneven(times_s: NDArray[np.float64]) -> bool:
    """Whether frames come at a varying rate, as telephones and screen recorders write them.

    Parameters
    ----------
    times_s : ndarray of shape (n_frames,), float64
        Timestamps of a recording's frames, seconds, ascending.
    """
    steps = np.diff(times_s)
    if len(steps) < 2:
        return False
    usual = float(np.median(steps))
    return bool(np.mean(np.abs(steps - usual) > max(UNEVEN * usual, MIN_UNEVEN_S)) > MAX_UNEVEN_SHARE)


def judge_sound(samples: NDArray[np.float32], sample_rate_hz: int) -> tuple[str, ...]:
    """Words for the sound of a clip: ``clipped``, ``mostly-silent``, ``quiet``.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,), float32
        Mono, full scale is 1.
    sample_rate_hz : int
        Samples per second.
    """
    size = max(1, round(_PIECE_S * sample_rate_hz))
    n_pieces = max(1, len(samples) // size)
    pieces = samples[: n_pieces * size].astype(np.float64).reshape(n_pieces, -1)
    levels_db = 10 * np.log10(np.maximum(np.mean(pieces**2, axis=1), 1e-12))  # (n_pieces,)
    heard = levels_db > SILENT_DB
    words = []
    if np.mean(np.abs(samples) >= CLIPPED) > MAX_CLIPPED_SHARE:
        words.append("clipped")
    if np.mean(~heard) > MOSTLY:
        words.append("mostly-silent")
    if heard.any() and 10 * np.log10(np.mean(10 ** (levels_db[heard] / 10))) < QUIET_DB:
        words.append("quiet")
    return tuple(words)


def summarise(clip_words: Sequence[Iterable[str]]) -> tuple[str, ...]:
    """Words of clips as flags of their recording.

    Parameters
    ----------
    clip_words : sequence of iterable of str
        The words of each clip.

    Returns
    -------
    tuple of str
        Each word with the numbers of its clips, as ``dark:0-3,7``; the word alone too where half of the clips have it.

    Examples
    --------
    >>> summarise([("dark",), ("dark", "frozen"), ()])
    ('dark', 'dark:0-1', 'frozen:1')
    """
    clips: dict[str, list[int]] = {}
    for number, words in enumerate(clip_words):
        for word in words:
            clips.setdefault(word, []).append(number)
    flags = [f"{word}:{_spans(numbers)}" for word, numbers in clips.items()]
    flags += [word for word, numbers in clips.items() if 2 * len(numbers) >= len(clip_words)]
    return tuple(sorted(flags))


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers as ``0-3,7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
