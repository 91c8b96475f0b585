"""Promises of the quality flags: light and loudness are told in the words that are documented, and nothing else is."""

import numpy as np
import pytest

from poise.extract.quality import glance, is_uneven, judge_picture, judge_sound, summarise
from tests.media import tone

RATE = 16_000
NOISE = np.random.default_rng(0)


def speech(level=0.1, seconds=5.0):
    """Bursts and pauses, as speech has them."""
    samples = NOISE.standard_normal(round(seconds * RATE)).astype(np.float32) * level
    samples[np.arange(len(samples)) // 4000 % 3 == 2] *= 1e-4
    return samples


class TestSound:
    @pytest.mark.parametrize(
        ("samples", "words"),
        [
            (speech(), ()),
            (speech(0.003), ("quiet",)),
            (np.concatenate([speech(seconds=0.3), np.zeros(5 * RATE, np.float32)]), ("mostly-silent",)),
            (np.zeros(RATE, np.float32), ("mostly-silent",)),
            (np.clip(tone(5, sample_rate_hz=RATE, level=3.0), -1, 1), ("clipped",)),
            (tone(5, sample_rate_hz=RATE, level=0.98), ()),
            (np.full(10, 0.5, np.float32), ()),
        ],
    )
    def test_each_word_has_its_cause(self, samples, words):
        """Speech with pauses has none; very short clips do not fail."""
        assert judge_sound(samples, RATE) == words

    def test_the_level_is_that_of_what_is_heard(self):
        """Long pauses do not make a loud speaker quiet."""
        assert judge_sound(np.concatenate([speech(0.05, 1.0), np.zeros(4 * RATE, np.float32)]), RATE) == ()


class TestPicture:
    times = np.arange(8) / 2.0

    def words(self, frames):
        return judge_picture([glance(frame) for frame in frames], self.times[: len(frames)])

    def scene(self, seed=0, level=120.0, spread=40.0):
        rng = np.random.default_rng(seed)
        return np.clip(rng.normal(level, spread, (90, 120, 3)), 0, 255).astype(np.uint8)

    def test_each_word_has_its_cause(self):
        """A lit, moving picture has none."""
        assert self.words([self.scene(n) for n in range(8)]) == ()
        assert self.words([self.scene(n, level=12, spread=8) for n in range(8)]) == ("dark",)
        assert self.words([self.scene()] * 8) == ("frozen",)
        assert self.words([np.full((90, 120, 3), 10 * n, np.uint8) for n in range(8)]) == ("blank",)
        assert self.words([np.zeros((90, 120, 3), np.uint8)] * 8) == ("blank", "dark", "frozen")

    def test_noise_of_a_camera_is_no_frozen_picture(self):
        """One level of noise is change enough; a coder's rounding is not."""
        base, rng = self.scene().astype(np.int16), np.random.default_rng(1)
        noisy = [np.clip(base + rng.normal(0, 1.5, base.shape).round(), 0, 255).astype(np.uint8) for _ in range(8)]
        assert self.words(noisy) == ()

    def test_a_short_clip_may_stand_still(self):
        """One second of the same is no fault."""
        assert self.words([self.scene()] * 3) == ()

    @pytest.mark.parametrize("shape", [(1, 1), (17, 33), (16, 16), (4320, 7680)])
    def test_every_size_is_looked_at_coarsely(self, shape):
        """From one pixel to 8K."""
        seen = glance(np.full((*shape, 3), 255, np.uint8))
        assert seen.mean() == pytest.approx(1.0, abs=1e-6)
        assert seen.size <= 200 * 200


class TestRate:
    @pytest.mark.parametrize("fps", [1, 12, 23.976, 25, 29.97, 59.94, 240])
    def test_an_even_rate_stays_even_when_timestamps_are_rounded(self, fps):
        """As Matroska and WebM do, to the millisecond; a few frames that were dropped change nothing."""
        times = np.arange(300) / fps
        kept = np.delete(times, [50, 51, 120])
        for some in (times, kept, np.round(times, 3)):
            assert not is_uneven(some)

    def test_a_rate_that_varies_is_told(self):
        """Half at 30 and half at 15 frames a second, and steps at random."""
        assert is_uneven(np.cumsum(np.r_[np.full(60, 1 / 30), np.full(60, 1 / 15)]))
        assert is_uneven(np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 100)))

    def test_one_or_two_frames_have_no_rate(self):
        """Nothing is said of them."""
        for n in range(3):
            assert not is_uneven(np.arange(n) ** 2.0)


def test_words_of_clips_become_flags_of_the_recording() -> None:
    """With the numbers of the clips, and alone where at least half of them have it."""
    assert summarise([]) == ()
    assert summarise([(), ()]) == ()
    assert summarise([("a",), (), ("a",), ("a", "b"), ()]) == ("a", "a:0,2-3", "b:3")
