"""What a copy's recipe does to the sound of one clip; what came long before the clip does not matter to it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError
from poise.extract.augment.stretch import STRETCH_MARGIN_S, stretch
from poise.recipe import Augmentation

REVERB_S = 0.4
"""Time in which the echo falls by 60 dB; what comes later is left out."""

REVERB_DELAY_S = 0.005
"""From the sound itself to the first echo."""

_FALL = np.log(1e6) / 2  # of the amplitude, over the time in which the power falls by 60 dB
_SINCE_NOISE, _SINCE_ECHO = 0, 1  # so that noise and echo of one seed are not the same numbers


def context_s(recipe: Augmentation) -> float:
    """How much sound before a clip is wanted, in seconds of the source; less is possible, as at its start."""
    stretched = STRETCH_MARGIN_S if recipe.speed != 1 or recipe.pitch else 0.0
    return stretched + (REVERB_S * recipe.speed if recipe.reverb else 0.0)


def augment_sound(
    samples: NDArray[np.float32],
    recipe: Augmentation,
    *,
    n_before: int,
    n_samples: int,
    start_s: float,
    sample_rate_hz: int,
) -> NDArray[np.float32]:
    """The sound of one clip of a copy: speed and pitch, echo, noise, gain, in this order.

    Noise is scaled to the clip's own level, echo included: silence stays silence. If the result goes beyond full scale
    the whole clip is turned down until it does not: nothing is cut off.

    Parameters
    ----------
    samples : ndarray of shape (n_before + n_source,), float32
        Mono sound of the source: what lies before the clip, and the clip's span in source time.
    recipe : Augmentation
        What is done.
    n_before : int
        How many of the samples lie before the clip; as many as :func:`context_s` asks for, where there are.
    n_samples : int
        How many samples the clip is to have; ``n_source / speed`` but for rounding.
    start_s : float
        When the clip begins in the copy, seconds; with the seed it chooses the noise.
    sample_rate_hz : int
        Samples per second, before and after.

    Returns
    -------
    ndarray of shape (n_samples,), float32

    Raises
    ------
    MediaError
        There is less sound than the clip is long: nothing is filled in.
    """
    if n_samples == 0:
        return np.zeros(0, np.float32)
    n_source = len(samples) - n_before
    if n_source < 1 or n_source / recipe.speed < n_samples - 1:
        raise MediaError(
            f"A clip of {n_samples} samples at speed {recipe.speed:g} was to be made of {n_source}. "
            f"Expected about {n_samples * recipe.speed:.0f}."
        )
    sound = samples
    if recipe.speed != 1 or recipe.pitch:
        sound = stretch(samples, speed=recipe.speed, pitch=recipe.pitch, sample_rate_hz=sample_rate_hz)
    if recipe.reverb:
        from scipy.signal import oaconvolve

        echo = room_response(recipe.reverb, recipe.seed, sample_rate_hz)
        sound = oaconvolve(sound, echo)[: len(sound)]
    first = round(n_before / recipe.speed)
    clip = _exactly(sound[first:], n_samples)
    if recipe.noise is not None:
        clip = clip + _noise(clip, recipe.noise, recipe.seed, start_s)
    if recipe.gain:
        clip = clip * 10 ** (recipe.gain / 20)
    return _within_scale(clip) if recipe.changes_sound else clip


def _exactly(sound: NDArray[np.floating], n_samples: int) -> NDArray[np.float32]:
    """Rounding of two spans can leave a clip one sample short: then the last one is held."""
    clip = sound[:n_samples].astype(np.float32)
    return np.pad(clip, (0, n_samples - len(clip)), mode="edge") if len(clip) < n_samples else clip


def _noise(clip: NDArray[np.float32], snr_db: float, seed: int, start_s: float) -> NDArray[np.float32]:
    level = float(np.sqrt(np.mean(clip.astype(np.float64) ** 2))) if len(clip) else 0.0
    white = _white(len(clip), seed, _SINCE_NOISE + 2 * round(start_s * 1e6))
    return (white * (level * 10 ** (-snr_db / 20))).astype(np.float32)


@lru_cache(maxsize=8)
def room_response(reverb: float, seed: int, sample_rate_hz: int) -> NDArray[np.float32]:
    """What a click becomes in a small room: the click, and an echo of noise that dies away.

    Parameters
    ----------
    reverb : float
        Level of the whole echo relative to the click's.
    seed : int
        Chooses the room.
    sample_rate_hz : int
        Samples per second.

    Returns
    -------
    ndarray of shape (n_samples,), float32
        Of energy 1, so that sound keeps about the level it had.
    """
    times = np.arange(1, round(REVERB_S * sample_rate_hz)) / sample_rate_hz
    echo = _white(len(times), seed, _SINCE_ECHO) * np.exp(-_FALL * times / REVERB_S) * (times >= REVERB_DELAY_S)
    echo *= reverb / np.sqrt(np.sum(echo**2))
    response = np.concatenate([[1.0], echo])
    response = (response / np.sqrt(np.sum(response**2))).astype(np.float32)
    response.setflags(write=False)
    return response


def _white(n_samples: int, seed: int, stream: int) -> NDArray[np.float64]:
    """White noise of level 1; made of the generator's bits, which no later numpy will change."""
    bits = np.random.Philox(key=[seed, stream % 2**64]).random_raw(n_samples)
    return (bits / 2.0**63 - 1.0) * np.sqrt(3.0)


def _within_scale(clip: NDArray[np.floating]) -> NDArray[np.float32]:
    peak = float(np.abs(clip).max()) if len(clip) else 0.0
    scaled: NDArray[np.float32] = (clip / peak if peak > 1 else clip).astype(np.float32)
    return scaled
