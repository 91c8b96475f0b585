"""Who is interviewed in the demo: looks, voices and habits of each speaker, and what composure changes in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poise.demo.answers import Delivery
from poise.demo.face import Colour, Look
from poise.demo.gestures import Manner

VOICES = (
    "en-us+f2",
    "en-us+m3",
    "en-us+f4",
    "en-us+m1",
    "en-gb-x-rp+f3",
    "en-us+m5",
    "en-us+f1",
    "en-gb-scotland+m2",
    "en-us+m7",
)
SKINS: tuple[Colour, ...] = ((226, 180, 152), (150, 102, 76), (204, 156, 124), (112, 76, 58), (236, 196, 172))
HAIRS: tuple[Colour, ...] = ((70, 44, 28), (26, 20, 18), (120, 80, 40), (150, 146, 142), (96, 40, 24), (170, 130, 70))
SHIRTS: tuple[Colour, ...] = ((62, 84, 130), (150, 60, 60), (70, 110, 90), (90, 80, 120), (190, 184, 170), (50, 54, 60))
WALLS: tuple[Colour, ...] = ((176, 182, 170), (150, 170, 190), (190, 178, 160), (160, 160, 164))
IRISES: tuple[Colour, ...] = ((80, 110, 140), (60, 40, 30), (90, 110, 70), (84, 60, 40))


@dataclass(frozen=True, kw_only=True)
class Person:
    """A speaker: what composure does not change. Habits are factors around 1.

    Attributes
    ----------
    look : Look
        Face and room.
    voice : str
        Voice of espeak-ng.
    rate_wpm, pitch, pitch_range, level_db : float
        Usual way to speak.
    pausing, filling : float
        How much the person pauses and says "um" compared with others.
    nodding, wandering, blinking, fidgeting, swaying : float
        How much the person moves in each way compared with others.
    """

    look: Look
    voice: str
    rate_wpm: float
    pitch: float
    pitch_range: float
    level_db: float
    pausing: float
    filling: float
    nodding: float
    wandering: float
    blinking: float
    fidgeting: float
    swaying: float


def meet(number: int, seed: int) -> Person:
    """The speaker of that number (from 0) in the set of that seed."""
    rng = np.random.default_rng((seed, number, 0))
    nodding, wandering, blinking, fidgeting, swaying = np.exp(rng.normal(0.0, 0.18, 5))
    voice = VOICES[number % len(VOICES)]
    return Person(
        look=_look(number, rng, long_hair="+f" in voice),
        voice=voice,
        rate_wpm=rng.normal(172.0, 7.0),
        pitch=rng.normal(50.0, 5.0),
        pitch_range=rng.normal(48.0, 4.0),
        level_db=rng.normal(-24.0, 3.0),
        pausing=float(np.exp(rng.normal(0.0, 0.12))),
        filling=float(np.exp(rng.normal(0.0, 0.18))),
        nodding=float(nodding),
        wandering=float(wandering),
        blinking=float(blinking),
        fidgeting=float(fidgeting),
        swaying=float(swaying),
    )


def _look(number: int, rng: np.random.Generator, *, long_hair: bool) -> Look:
    return Look(
        skin=SKINS[number % len(SKINS)],
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        shirt=SHIRTS[number % len(SHIRTS)],
        wall=WALLS[int(rng.integers(len(WALLS)))],
        iris=IRISES[int(rng.integers(len(IRISES)))],
        head_x=rng.uniform(148.0, 172.0),
        head_y=rng.uniform(106.0, 118.0),
        head_half_width=rng.uniform(43.0, 50.0),
        head_half_height=rng.uniform(57.0, 64.0),
        hair_px=rng.uniform(10.0, 13.0) if long_hair else rng.uniform(5.0, 8.0),
        long_hair=long_hair,
    )


def deliver(person: Person, composure: float) -> Delivery:
    """How the person speaks with that composure (about -1.5 to 1.5, 0 is usual)."""
    return Delivery(
        voice=person.voice,
        rate_wpm=person.rate_wpm * (1.0 + 0.09 * composure),
        rate_jitter=0.09 * float(np.exp(-0.4 * composure)),
        pitch=person.pitch,
        pitch_range=person.pitch_range + 20.0 * composure,
        pause_s=0.42 * person.pausing * float(np.exp(-0.5 * composure)),
        filler_share=min(0.9, 0.16 * person.filling * float(np.exp(-0.9 * composure))),
        break_share=min(0.9, 0.30 * float(np.exp(-0.6 * composure))),
        level_db=person.level_db,
    )


def behave(person: Person, composure: float) -> Manner:
    """How the person moves with that composure (about -1.5 to 1.5, 0 is usual)."""
    return Manner(
        nods_per_s=0.22 * person.nodding * float(np.exp(0.7 * composure)),
        nod_px=6.5 * person.nodding,
        aversions_per_s=0.22 * person.wandering * float(np.exp(-0.7 * composure)),
        aversion_s=0.9 * float(np.exp(-0.3 * composure)),
        blinks_per_s=0.35 * person.blinking * float(np.exp(-0.5 * composure)),
        fidgets_per_s=0.25 * person.fidgeting * float(np.exp(-0.6 * composure)),
        fidget_px=5.5 * person.fidgeting * float(np.exp(-0.25 * composure)),
        sway_px=2.2 * person.swaying,
    )
