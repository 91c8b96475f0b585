"""Promises of the clip plan."""

import json

import numpy as np
import pytest

from poise.errors import ExtractSettingsError, MediaError
from poise.extract.clips import ClipSettings, plan_clips


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (10.0, [[0, 10]]),
        (12.9, [[0, 10]]),
        (13.0, [[0, 10], [10, 13]]),
        (20.0, [[0, 10], [10, 20]]),
        (24.5, [[0, 10], [10, 20], [20, 24.5]]),
        (3.0, [[0, 3]]),
        (9.5, [[0, 9.5]]),
    ],
)
def test_full_windows_and_a_long_enough_tail_are_clips(duration_s, expected):
    """Windows lie on the hop grid; a tail of at least min_tail_s is kept."""
    times, flags = plan_clips(duration_s, ClipSettings())
    assert times.tolist() == expected
    assert flags == ()


def test_a_recording_shorter_than_the_tail_is_one_flagged_clip():
    """It keeps its own length."""
    times, flags = plan_clips(1.25, ClipSettings())
    assert times.tolist() == [[0.0, 1.25]]
    assert flags == ("short",)


@pytest.mark.parametrize("noise", [-1e-7, 0.0, 1e-7])
def test_float_noise_neither_adds_nor_loses_a_clip(noise):
    """A recording of 9.9999999 s has the clips of one of 10 s."""
    assert len(plan_clips(10 + noise, ClipSettings())[0]) == 1
    assert len(plan_clips(13 + noise, ClipSettings())[0]) == 2
    assert plan_clips(3 + noise, ClipSettings())[1] == ()
    assert len(plan_clips(0.3 * 3 + noise, ClipSettings(window_s=0.3, hop_s=0.3, min_tail_s=0.1))[0]) == 3


def test_windows_may_overlap():
    """A hop shorter than the window gives overlapping clips, and the tail begins on the same grid."""
    times, _ = plan_clips(12.0, ClipSettings(hop_s=5.0))
    assert times.tolist() == [[0, 10], [5, 12]]


def test_windows_may_leave_gaps():
    """A hop longer than the window leaves out what lies between."""
    times, _ = plan_clips(35.0, ClipSettings(hop_s=15.0))
    assert times.tolist() == [[0, 10], [15, 25], [30, 35]]


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_no_duration_is_an_error(duration_s):
    """There is no clip in nothing."""
    with pytest.raises(MediaError, match="Expected more than nothing"):
        plan_clips(duration_s, ClipSettings())


def test_an_absurd_duration_is_an_error():
    """Broken timestamps must not plan millions of clips."""
    with pytest.raises(MediaError, match="they are broken"):
        plan_clips(1e7, ClipSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_s": "10"}, "Expected a number of seconds"),
        ({"window_s": float("nan")}, "Expected a number of seconds"),
        ({"hop_s": 0.0}, "0.1 s or more"),
        ({"window_s": -1.0}, "0.1 s or more"),
        ({"min_tail_s": 0.0}, "at most window_s"),
        ({"min_tail_s": 11.0}, "at most window_s"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """Each names what was given and what is expected."""
    with pytest.raises(ExtractSettingsError, match=message):
        ClipSettings(**settings)


def test_settings_survive_json():
    """Whole numbers and floats mean the same, so that they have one fingerprint."""
    settings = ClipSettings(window_s=5, hop_s=5)
    assert ClipSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert json.dumps(settings.to_json()) == json.dumps(ClipSettings(window_s=5.0, hop_s=5.0).to_json())
    with pytest.raises(ExtractSettingsError, match="Unknown clip setting 'window'"):
        ClipSettings.from_json({"window": 5})


def test_times_are_float64_pairs():
    """Shape (n_clips, 2) whatever the recording."""
    for duration_s in (0.1, 5.0, 61.0):
        times, _ = plan_clips(duration_s, ClipSettings())
        assert times.dtype == np.float64
        assert times.shape[1] == 2
        assert (np.diff(times, axis=1) > 0).all()
