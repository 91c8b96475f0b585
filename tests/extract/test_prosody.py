"""Promises of the weight-free encoder of sound."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.pitch import PitchSettings, track_pitch
from poise.extract.encoders.prosody import ProsodyEncoder

ENCODER = ProsodyEncoder()
TIME_S = np.arange(80_000) / 16_000
RNG = np.random.default_rng(0)
NOISE = RNG.normal(0.0, 1.0, 80_000)


def buzz(f0_hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """A voice-like sound with falling harmonics."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, TIME_S.shape)) / 16_000
    return np.sum([np.sin(k * phase) / k for k in range(1, 12)], axis=0) * 0.1


def describe(samples: NDArray[np.float64]) -> dict[str, float]:
    """Features of one clip by name."""
    clip = PreparedClip(start_s=0.0, end_s=len(samples) / 16_000, data=samples.astype(np.float32), times_s=np.zeros(0))
    return dict(zip(ENCODER.feature_names, ENCODER.encode([clip])[0].tolist(), strict=True))


@pytest.mark.parametrize("f0_hz", [80.0, 120.0, 210.0, 380.0])
def test_a_tone_has_its_own_pitch(f0_hz: float) -> None:
    """A steady sound of 120 Hz has its fundamental at 120 Hz, and is steady."""
    features = describe(buzz(f0_hz))
    assert 100 * 2 ** (features["f0_median_st"] / 12) == pytest.approx(f0_hz, rel=0.01)
    assert features["f0_spread_st"] < 0.1
    assert features["voiced_share"] > 0.98
    assert features["steady_longest_s"] > 4


def test_a_glide_has_its_slope() -> None:
    """Rising one semitone a second is measured as that, with the range that follows."""
    features = describe(buzz(120 * 2 ** (TIME_S / 12)))
    assert features["f0_slope_st_per_s"] == pytest.approx(1.0, abs=0.05)
    assert features["f0_range_st"] == pytest.approx(4.0, abs=0.3)


def test_pitch_survives_noise() -> None:
    """20 dB under a voice, noise moves the median by less than a tenth of a semitone."""
    clean = buzz(150.0)
    noisy = clean + 0.1 * clean.std() * NOISE
    assert describe(noisy)["f0_median_st"] == pytest.approx(describe(clean)["f0_median_st"], abs=0.1)


def test_noise_is_not_voiced() -> None:
    """White noise has no fundamental and no pauses."""
    features = describe(0.1 * NOISE)
    assert features["voiced_share"] < 0.02
    assert features["pause_share"] == 0.0


def test_doubling_the_gain_moves_only_the_level() -> None:
    """Twice as loud is 6.02 dB more level and nothing else."""
    sound = buzz(130 + 20 * np.sin(6 * TIME_S)) * (np.sin(2 * np.pi * 1.5 * TIME_S) > -0.5) + 0.001 * NOISE
    single, double = describe(sound), describe(2 * sound)
    for name, value in single.items():
        expected = value + 20 * np.log10(2) if name in ("level_db", "level_peak_db") else value
        assert double[name] == pytest.approx(expected, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("floor", [0.0, 0.001, 0.02])
def test_three_bursts_a_second_are_counted(floor: float) -> None:
    """Bursts are counted as syllables at their rate, in quiet and in noise."""
    features = describe(buzz(140.0) * (TIME_S * 3 % 1 < 0.5) + floor * NOISE)
    assert features["syllables_per_s"] == pytest.approx(3.0, abs=0.25)
    assert features["syllable_gap_median_s"] == pytest.approx(1 / 3, abs=0.03)
    assert features["rhythm_syllable_share"] > 0.7


@pytest.mark.parametrize("floor", [0.0, 0.001, 0.02])
def test_pauses_are_found(floor: float) -> None:
    """One second of sound, one of pause: two pauses of a second each in five seconds, whatever the noise."""
    features = describe(buzz(140.0) * (TIME_S % 2 < 1) + floor * NOISE)
    assert features["pauses_per_s"] == pytest.approx(0.4)
    assert features["pause_mean_s"] == pytest.approx(1.0, abs=0.06)
    assert features["pause_share"] == pytest.approx(0.4, abs=0.03)
    assert features["speech_run_mean_s"] == pytest.approx(1.0, abs=0.06)


def test_closures_are_not_pauses() -> None:
    """Gaps shorter than 0.2 s belong to the speech."""
    assert describe(buzz(140.0) * (TIME_S * 4 % 1 < 0.6))["pauses_per_s"] == 0.0


def test_a_steady_tone_is_one_syllable() -> None:
    """A level that does not move has no more than one peak."""
    assert describe(buzz(120.0))["syllables_per_s"] <= 0.21


def test_colour_tells_bright_from_dark() -> None:
    """Noise is brighter, flatter and less tilted than a voice."""
    voice, noise = describe(buzz(120.0)), describe(0.1 * NOISE)
    for name in ("centroid_mean_khz", "rolloff_mean_khz", "flatness_db", "tilt_db_per_octave", "flux_mean"):
        assert noise[name] > voice[name], name
    assert noise["tilt_db_per_octave"] == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(80_000),
        np.full(80_000, 0.5),
        (np.arange(80_000) == 40_000).astype(float),
        np.where(np.arange(80_000) % 2, 1.0, -1.0),
        buzz(120.0)[:1_600],
        buzz(120.0)[:100],
        np.zeros(1_600),
        1e-4 * NOISE,
        1e4 * NOISE,
    ],
    ids=["silence", "offset", "click", "nyquist", "tenth", "tiny", "short silence", "faint", "huge"],
)
def test_any_sound_gives_finite_numbers(samples: NDArray[np.float64]) -> None:
    """Silence, clicks, a tenth of a second and absurd levels all give finite features."""
    assert np.isfinite(list(describe(samples).values())).all()


def test_silence_says_so() -> None:
    """Silence has the lowest level and no voice."""
    features = describe(np.zeros(16_000))
    assert features["level_db"] == -100.0
    assert features["voiced_share"] == 0.0


def test_the_track_marks_where_the_voice_is() -> None:
    """Frames of the gap are unvoiced, frames of the voice are not."""
    sound = (buzz(200.0) * (TIME_S % 2 < 1)).astype(np.float32)
    f0_hz, strength = track_pitch(sound, 16_000, PitchSettings())
    assert np.isnan(f0_hz[110:190]).all()
    assert f0_hz[10:90] == pytest.approx(200.0, rel=0.01)
    assert strength[10:90].min() > 0.9


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    """Clips encoded together are described exactly as alone."""
    clips = [
        PreparedClip(start_s=0.0, end_s=1.0, data=sound.astype(np.float32), times_s=np.zeros(0))
        for sound in (buzz(100.0), 0.1 * NOISE, np.zeros(16_000))
    ]
    together = ENCODER.encode(clips)
    np.testing.assert_array_equal(together, np.concatenate([ENCODER.encode([clip]) for clip in clips]))
    assert ENCODER.encode([]).shape == (0, ENCODER.dim)


def test_settings_are_json_and_names_are_unique() -> None:
    """Settings survive JSON, and every number of an embedding has a name of its own."""
    settings = ENCODER.settings()
    assert json.loads(json.dumps(settings)) == settings
    assert isinstance(settings["algorithm"], int)
    assert len(set(ENCODER.feature_names)) == ENCODER.dim
