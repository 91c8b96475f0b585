"""Promises of the weight-free encoder of pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.motion import MotionEncoder

ENCODER = MotionEncoder()


def film(fps: float, *, duration_s: float = 5.0, nod_hz: float = 0.0, nod_px: float = 0.0, right_px_per_s: float = 0.0):
    """A grey square on a dark wall (240 x 320), nodding or drifting, as the frames on screen at the encoder's times."""
    asked = ENCODER.frame_times(0.0, duration_s)
    times_s = np.floor(asked * fps + 1e-9) / fps
    down, right = np.mgrid[:240, :320]
    frames = []
    for time_s in times_s:
        y, x = 120 + nod_px * np.sin(2 * np.pi * nod_hz * time_s), 80 + right_px_per_s * time_s
        cover = np.clip(30.5 - np.maximum(np.abs(down - y), np.abs(right - x)), 0, 1)
        picture = np.repeat((40 + 180 * cover).astype(np.uint8)[..., None], 3, axis=2)
        frames.append(ENCODER.prepare_frame(picture))
    return PreparedClip(start_s=0.0, end_s=duration_s, data=np.stack(frames), times_s=times_s)


def describe(clip: PreparedClip) -> dict[str, float]:
    """Features of one clip by name."""
    return dict(zip(ENCODER.feature_names, ENCODER.encode([clip])[0].tolist(), strict=True))


def moving(features: dict[str, float]) -> list[float]:
    """What must be zero when nothing moves."""
    still = ("brightness", "contrast", "still", "place", "share")
    return [value for name, value in features.items() if not name.startswith(still)]


def test_a_still_picture_has_no_motion() -> None:
    """A picture that does not change is still all the time, and every measure of movement is exactly zero."""
    features = describe(film(15))
    assert features["still_share"] == 1.0
    assert moving(features) == [0.0] * len(moving(features))


def test_a_nod_has_its_energy_at_its_rhythm_and_vertically() -> None:
    """Nodding 1.5 times a second shows in the middle vertical band, and turns three times a second."""
    features = describe(film(15, nod_hz=1.5, nod_px=20))
    assert features["vertical_middle"] > 5 * features["vertical_slow"]
    assert features["vertical_middle"] > 5 * features["vertical_fast"]
    assert features["vertical_std"] > 20 * features["horizontal_std"]
    assert features["vertical_turns_per_s"] == pytest.approx(3.0, abs=0.3)


@pytest.mark.parametrize(("nod_hz", "band"), [(0.5, "slow"), (1.5, "middle"), (4.0, "fast")])
def test_rhythms_fall_into_their_bands(nod_hz: float, band: str) -> None:
    """Each rhythm is strongest in the band that holds it."""
    features = describe(film(30, nod_hz=nod_hz, nod_px=8))
    strengths = {name: features[f"vertical_{name}"] for name in ("slow", "middle", "fast")}
    assert max(strengths, key=strengths.__getitem__) == band


def test_speed_is_measured_in_frame_heights_a_second() -> None:
    """30 pixels a second in a picture 240 high are 0.125 heights a second."""
    features = describe(film(15, right_px_per_s=30))
    assert features["speed_mean"] == pytest.approx(0.125, rel=0.05)
    assert features["horizontal_std"] < 0.02


def test_five_frames_a_second_give_the_same_speed_as_fifteen() -> None:
    """Repeated frames are dropped and displacements divided by the true time between frames."""
    slow, fast = describe(film(5, right_px_per_s=30)), describe(film(15, right_px_per_s=30))
    assert slow["speed_mean"] == pytest.approx(fast["speed_mean"], rel=0.05)
    assert slow["energy_mean"] == pytest.approx(fast["energy_mean"], rel=0.1)
    assert slow["still_share"] == fast["still_share"] == 0.0


def test_motion_is_placed_where_it_is() -> None:
    """A square drifting in the left half puts its energy into the left columns."""
    features = describe(film(15, right_px_per_s=5))
    left = sum(value for name, value in features.items() if name.startswith("share_") and name[-1] in "01")
    assert left > 0.99
    assert features["place_right"] < -0.1


@pytest.mark.parametrize("level", [0, 255])
def test_one_frame_and_flat_frames_give_finite_numbers(level: int) -> None:
    """Neither a single frame nor black or white ones make anything infinite."""
    frame = ENCODER.prepare_frame(np.full((48, 64, 3), level, dtype=np.uint8))
    for n_frames in (1, 2, 60):
        clip = PreparedClip(start_s=0.0, end_s=5.0, data=np.stack([frame] * n_frames), times_s=np.arange(n_frames) / 12)
        values = ENCODER.encode([clip])
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_the_same_time_again_changes_nothing() -> None:
    """A clip whose every frame is listed twice is described like the clip itself."""
    clip = film(15, nod_hz=1.5, nod_px=10)
    twice = PreparedClip(
        start_s=0.0, end_s=5.0, data=np.repeat(clip.data, 2, axis=0), times_s=np.repeat(clip.times_s, 2)
    )
    np.testing.assert_array_equal(ENCODER.encode([twice]), ENCODER.encode([clip]))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 3), (72, 96), (241, 319), (33, 2000), (2000, 7), (1080, 1920)])
def test_any_size_of_picture_is_prepared(size: tuple[int, int]) -> None:
    """Tiny, huge, odd and narrow pictures all come out 72 pixels high with their mean grey kept."""
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    prepared = ENCODER.prepare_frame(frame)
    grey: NDArray[np.float64] = frame @ np.array([0.299, 0.587, 0.114])
    assert prepared.shape[0] == 72
    assert 24 <= prepared.shape[1] <= 216
    assert prepared.mean() == pytest.approx(grey.mean(), abs=4)


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    """Clips encoded together are described exactly as alone."""
    clips = [film(15, nod_hz=1.0, nod_px=10), film(15), film(15, right_px_per_s=20)]
    together = ENCODER.encode(clips)
    np.testing.assert_array_equal(together, np.concatenate([ENCODER.encode([clip]) for clip in clips]))
    assert ENCODER.encode([]).shape == (0, ENCODER.dim)


def test_frame_times_stay_inside_the_clip() -> None:
    """Times ascend from the start and never reach the end."""
    times_s = ENCODER.frame_times(10.0, 15.0)
    assert times_s[0] == 10.0
    assert times_s[-1] < 15.0
    assert len(times_s) == 60
    assert len(ENCODER.frame_times(1.0, 1.01)) == 1


def test_settings_are_json_and_names_are_unique() -> None:
    """Settings survive JSON, and every number of an embedding has a name of its own."""
    settings = ENCODER.settings()
    assert json.loads(json.dumps(settings)) == settings
    assert isinstance(settings["algorithm"], int)
    assert len(set(ENCODER.feature_names)) == ENCODER.dim
