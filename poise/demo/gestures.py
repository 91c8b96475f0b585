"""How the demo's talking head moves over time: nods, looks away, blinks, fidgets and sways. Drawing is not here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How somebody moves in one recording; rates are events a second, lengths are pixels of a 240-pixel picture.

    Attributes
    ----------
    nods_per_s, nod_px : float
        Rate and size of nods.
    aversions_per_s, aversion_s : float
        Rate and usual length of looks away from the camera.
    blinks_per_s : float
        Rate of blinks.
    fidgets_per_s, fidget_px : float
        Rate and size of sudden changes of posture.
    sway_px : float
        Size of the slow sway.
    """

    nods_per_s: float
    nod_px: float
    aversions_per_s: float
    aversion_s: float
    blinks_per_s: float
    fidgets_per_s: float
    fidget_px: float
    sway_px: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """Where everything is in each frame; all of shape (n_frames,), float64.

    Attributes
    ----------
    head_x, head_y, shoulder_x : ndarray
        Offsets from rest, pixels, right and down.
    gaze_x, gaze_y : ndarray
        Direction of the look, -1..1, 0 into the camera.
    eyelid, mouth, brow : ndarray
        0..1: closed eyes, open mouth, raised brows.
    """

    head_x: Floats
    head_y: Floats
    shoulder_x: Floats
    gaze_x: Floats
    gaze_y: Floats
    eyelid: Floats
    mouth: Floats
    brow: Floats


def move(manner: Manner, loudness: Floats, fps: float, rng: np.random.Generator) -> Pose:
    """Move for as many frames as there are values of loudness.

    Parameters
    ----------
    manner : Manner
        How often and how far.
    loudness : ndarray of shape (n_frames,), float64
        Loudness of the voice in each frame, 0..1; the mouth follows it.
    fps : float
        Frames a second.
    rng : numpy.random.Generator
        Places the events.

    Returns
    -------
    Pose
        Positions for each frame.
    """
    n_frames = len(loudness)
    time_s = np.arange(n_frames) / fps
    nod = _nods(manner, time_s, rng)
    gaze_x, gaze_y = _looks_away(manner, time_s, rng)
    posture_x, posture_y = _fidgets(manner, time_s, rng)
    sway_x, sway_y = _sway(manner, time_s, rng), 0.5 * _sway(manner, time_s, rng)
    beat = np.convolve(loudness, np.ones(4) / 4, mode="same")
    return Pose(
        head_x=sway_x + posture_x + 5.0 * gaze_x,
        head_y=sway_y + posture_y + nod - 1.5 * beat,
        shoulder_x=0.5 * sway_x + 0.6 * posture_x,
        gaze_x=gaze_x,
        gaze_y=gaze_y,
        eyelid=_blinks(manner, time_s, rng),
        mouth=np.clip(loudness * rng.uniform(0.8, 1.1, n_frames), 0.0, 1.0),
        brow=np.clip(1.6 * (beat - 0.5), 0.0, 1.0),
    )


def _events(rate_per_s: float, time_s: Floats, rng: np.random.Generator) -> Floats:
    """Start times of events, seconds: a Poisson process evened out (gaps of gamma shape 3), as habits are."""
    starts, at = [], rng.uniform(0.0, 1.0) / max(rate_per_s, 1e-6)
    while at < time_s[-1]:
        starts.append(at)
        at += rng.gamma(3.0, 1.0 / (3.0 * max(rate_per_s, 1e-6)))
    return np.array(starts)


def _nods(manner: Manner, time_s: Floats, rng: np.random.Generator) -> Floats:
    nod = np.zeros_like(time_s)
    for start_s in _events(manner.nods_per_s, time_s, rng):
        length_s, rhythm_hz = rng.uniform(0.9, 1.4), rng.uniform(1.4, 2.1)
        inside = np.clip((time_s - start_s) / length_s, 0.0, 1.0)
        size_px = manner.nod_px * rng.uniform(0.7, 1.3)
        nod += size_px * np.sin(np.pi * inside) ** 2 * np.sin(2 * np.pi * rhythm_hz * (time_s - start_s))
    return nod


def _looks_away(manner: Manner, time_s: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    away_x, away_y = np.zeros_like(time_s), np.zeros_like(time_s)
    for start_s in _events(manner.aversions_per_s, time_s, rng):
        length_s = manner.aversion_s * rng.uniform(0.6, 1.5)
        share = _ramp(time_s, start_s, 0.12) - _ramp(time_s, start_s + length_s, 0.12)
        to_x, to_y = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.0), rng.uniform(-0.5, 0.8)
        away_x, away_y = away_x * (1 - share) + to_x * share, away_y * (1 - share) + to_y * share
    return away_x, away_y


def _fidgets(manner: Manner, time_s: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    x, y = np.zeros_like(time_s), np.zeros_like(time_s)
    for start_s in _events(manner.fidgets_per_s, time_s, rng):
        share = _ramp(time_s, start_s, rng.uniform(0.2, 0.4))
        to_x, to_y = manner.fidget_px * rng.normal(0.0, 1.0), 0.4 * manner.fidget_px * rng.normal(0.0, 1.0)
        x, y = x * (1 - share) + to_x * share, y * (1 - share) + to_y * share
    return np.clip(x, -24, 24), np.clip(y, -10, 10)


def _blinks(manner: Manner, time_s: Floats, rng: np.random.Generator) -> Floats:
    eyelid = np.zeros_like(time_s)
    for start_s in _events(manner.blinks_per_s, time_s, rng):
        eyelid = np.maximum(eyelid, np.clip(1.6 - np.abs(time_s - start_s - 0.12) / 0.08, 0.0, 1.0))
    return eyelid


def _sway(manner: Manner, time_s: Floats, rng: np.random.Generator) -> Floats:
    total = np.zeros_like(time_s)
    for rhythm_hz in rng.uniform(0.05, 0.35, 3):
        total += np.sin(2 * np.pi * (rhythm_hz * time_s + rng.random())) * manner.sway_px / 2
    return total


def _ramp(time_s: Floats, start_s: float, length_s: float) -> Floats:
    """From 0 to 1, smoothly."""
    share = np.clip((time_s - start_s) / length_s, 0.0, 1.0)
    return np.asarray(share * share * (3 - 2 * share))
