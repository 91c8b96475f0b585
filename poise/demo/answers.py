"""What is said in the demo's interviews and in what manner: phrases, pauses and fillers strung to an answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.demo.speech import SAMPLE_RATE_HZ, Utterance, speak

FILLERS = ("um", "uh", "uhm", "er")
PHRASES = (
    "thank you for having me today",
    "I have worked in this field for about six years",
    "most of that time I was part of a small team",
    "we looked after the tools that everybody else depends on",
    "the project I am most proud of began with a complaint",
    "a customer told us that the page was far too slow",
    "I started by measuring where the time was going",
    "then I wrote down what I expected to find",
    "it turned out that I was wrong about almost all of it",
    "so we changed the plan and asked for more help",
    "my manager gave us two extra weeks",
    "in the end it was four times faster than before",
    "I learned to talk to people before writing any code",
    "one of my weaknesses is that I like to finish things alone",
    "I have been trying to share unfinished work earlier",
    "when two people disagree I try to find out what they agree on",
    "there was a month when everything seemed to break at once",
    "we kept a list on the wall and crossed things off together",
    "I would describe myself as patient and quite careful",
    "what I enjoy most is explaining something difficult in simple words",
    "last year I helped two new colleagues to settle in",
    "they asked better questions than I did when I began",
    "I am looking for a place where I can learn from others",
    "your company seems to give people time to do things well",
    "I read about the work that you did with the hospital",
    "that is the kind of problem I would like to work on",
    "in five years I hope to lead a group of my own",
    "but I do not want to stop building things myself",
    "if a deadline is in danger I say so as early as I can",
    "nobody likes to hear it but it is better than a surprise",
)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How somebody speaks in one recording.

    Attributes
    ----------
    voice : str
        Voice of espeak-ng.
    rate_wpm, rate_jitter : float
        Words a minute, and the relative spread of it from phrase to phrase.
    pitch, pitch_range : float
        0..99, see :class:`~poise.demo.speech.Utterance`.
    pause_s : float
        Usual pause between phrases, seconds.
    filler_share : float
        Chance of an "um" before a piece of a phrase, 0..1.
    break_share : float
        Chance that a phrase is broken by a pause in its middle, 0..1.
    level_db : float
        Level of the voice relative to full scale, decibels.
    """

    voice: str
    rate_wpm: float
    rate_jitter: float
    pitch: float
    pitch_range: float
    pause_s: float
    filler_share: float
    break_share: float
    level_db: float


def speak_answer(delivery: Delivery, duration_s: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Speak an answer of a given length.

    Parameters
    ----------
    delivery : Delivery
        Voice and manner.
    duration_s : float
        Length, seconds.
    rng : numpy.random.Generator
        Chooses the phrases and places pauses and fillers.

    Returns
    -------
    ndarray of shape (n_samples,), float32
        22,050 samples a second, with a faint room noise; begins and ends in a short silence.
    """
    pieces = list(_pieces(delivery, duration_s, rng))
    spoken = speak(delivery.voice, [utterance for utterance, _ in pieces])
    n_samples = round(duration_s * SAMPLE_RATE_HZ)
    answer = np.zeros(n_samples, dtype=np.float32)
    at = round(rng.uniform(0.15, 0.4) * SAMPLE_RATE_HZ)
    for samples, (_, pause_s) in zip(spoken, pieces, strict=True):
        if at + len(samples) > n_samples - round(0.1 * SAMPLE_RATE_HZ):
            break
        answer[at : at + len(samples)] = samples
        at += len(samples) + round(pause_s * SAMPLE_RATE_HZ)
    level = float(np.sqrt(np.mean(answer[np.abs(answer) > 0.01] ** 2))) if np.any(np.abs(answer) > 0.01) else 1.0
    answer *= np.float32(10 ** (delivery.level_db / 20) / level)
    room = rng.normal(0.0, 0.0006, n_samples).astype(np.float32)
    return np.asarray(np.clip(answer + room, -1.0, 1.0))


def _pieces(delivery: Delivery, duration_s: float, rng: np.random.Generator) -> Iterator[tuple[Utterance, float]]:
    """More utterances than fit, each with the pause after it in seconds."""
    order = rng.permutation(len(PHRASES))
    n_phrases = min(len(order), int(np.ceil(duration_s / 1.2)))
    for index in order[:n_phrases]:
        for words, is_last in _break(PHRASES[index], delivery.break_share, rng):
            if rng.random() < delivery.filler_share:
                yield _filler(delivery, rng), delivery.pause_s * rng.uniform(0.3, 1.0)
            pause_s = delivery.pause_s * rng.gamma(4.0, 0.25)
            yield _utterance(words, delivery, rng), pause_s if is_last else pause_s * 0.7


def _break(phrase: str, break_share: float, rng: np.random.Generator) -> list[tuple[str, bool]]:
    words = phrase.split()
    if rng.random() >= break_share:
        return [(phrase, True)]
    middle = int(rng.integers(2, len(words) - 1))
    return [(" ".join(words[:middle]), False), (" ".join(words[middle:]), True)]


def _utterance(text: str, delivery: Delivery, rng: np.random.Generator) -> Utterance:
    rate_wpm = delivery.rate_wpm * np.exp(rng.normal(0.0, delivery.rate_jitter))
    return Utterance(
        text=text,
        rate_wpm=int(np.clip(round(rate_wpm), 90, 320)),
        pitch=int(np.clip(round(delivery.pitch + rng.normal(0.0, 2.0)), 0, 99)),
        pitch_range=int(np.clip(round(delivery.pitch_range), 0, 99)),
    )


def _filler(delivery: Delivery, rng: np.random.Generator) -> Utterance:
    """A drawn-out, flat "um"."""
    return Utterance(
        text=str(rng.choice(FILLERS)),
        rate_wpm=int(rng.integers(80, 110)),
        pitch=int(np.clip(round(delivery.pitch - 4), 0, 99)),
        pitch_range=5,
    )
