"""Promises of augmentation: every part of a recipe does what it says, measured, and nothing else."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError, MediaError
from poise.extract.augment import Augmentation, Augmenter, augment_picture, augment_sound
from poise.extract.augment.sound import REVERB_S, context_s, room_response
from poise.extract.augment.stretch import STRETCH_MARGIN_S, stretch
from poise.extract.media.decode import frames_on_screen, read_frames
from poise.extract.media.probe import probe
from poise.extract.media.sound import SoundReader
from tests.media import Picture, tone, write_sound, write_video

RATE = 16_000


def colours(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A picture of which no two pixels and no two channels are alike."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def voice(seconds: float, hz: float = 140.0) -> NDArray[np.float32]:
    """Harmonics that swell and fade, as syllables do."""
    times = np.arange(round(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * hz * n * times) / n for n in range(1, 9))
    return (0.1 * sound * (1.1 + np.sin(2 * np.pi * 3 * times))).astype(np.float32)


def apply(
    samples: NDArray[np.float32], text: str, *, n_before: int = 0, start_s: float = 0.0, n_samples: int | None = None
) -> NDArray[np.float32]:
    """All of some samples, but for the context, through a recipe."""
    recipe = Augmentation.parse(text)
    n = round((len(samples) - n_before) / recipe.speed) if n_samples is None else n_samples
    return augment_sound(samples, recipe, n_before=n_before, n_samples=n, start_s=start_s, sample_rate_hz=RATE)


def peak_hz(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * RATE / (8 * len(samples)))


def level_db(samples: NDArray[np.floating]) -> float:
    return float(10 * np.log10(np.mean(np.asarray(samples, np.float64) ** 2)))


class TestPicture:
    def test_a_flip_mirrors_left_and_right_only(self) -> None:
        """Every pixel of an asymmetric picture lands in the mirrored column of its own row."""
        frame = colours()
        flipped = augment_picture(frame, Augmentation(flip=True))
        assert np.array_equal(flipped, np.fliplr(frame))
        assert not np.array_equal(flipped, frame)
        assert flipped.flags.c_contiguous

    @pytest.mark.parametrize("share", [0.08, -0.12])
    def test_brightness_adds_a_share_of_full_scale(self, share: float) -> None:
        """255 times the share, for every value that does not hit black or white; those stop there."""
        lit = augment_picture(colours(), Augmentation(brightness=share)).astype(int)
        moved = colours() + 255 * share
        assert np.abs(lit - np.clip(moved, 0, 255)).max() <= 0.5
        assert {lit.min(), lit.max()} & {0, 255}

    def test_contrast_spreads_around_mid_grey(self) -> None:
        """Distances from 127.5 grow by the factor; the mean of mid grey stays."""
        frame = np.arange(60, 196, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
        spread = augment_picture(frame, Augmentation(contrast=1.2)).astype(float)
        assert np.abs((spread - 127.5) - 1.2 * (frame - 127.5)).max() <= 0.5
        assert spread.mean() == pytest.approx(frame.mean(), abs=0.2)

    @pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25)])
    def test_a_crop_is_a_piece_of_the_picture_in_its_shape(self, x: float, y: float) -> None:
        """Nine tenths of both sides, from where the recipe says, pixels untouched."""
        frame = colours(400, 600)
        piece = augment_picture(frame, Augmentation(crop=(0.9, x, y)))
        top, left = round(40 * y), round(60 * x)
        assert piece.shape == (360, 540, 3)
        assert np.array_equal(piece, frame[top : top + 360, left : left + 540])

    def test_the_smallest_picture_can_be_cropped(self) -> None:
        """A picture of one pixel keeps it."""
        assert augment_picture(colours(1, 1), Augmentation(crop=(0.85, 1, 1))).shape == (1, 1, 3)

    def test_parts_go_together_and_frames_know_nothing_of_each_other(self) -> None:
        """Crop, then mirror, then light; whatever came before, one frame gives one picture and is not written to."""
        frame, recipe = colours(), Augmentation(crop=(0.9, 1, 0), flip=True, brightness=0.1, contrast=0.9)
        frame.setflags(write=False)
        first = augment_picture(frame, recipe)
        augment_picture(255 - frame, recipe)
        assert np.array_equal(augment_picture(frame, recipe), first)
        step = augment_picture(augment_picture(frame, Augmentation(crop=(0.9, 1, 0))), Augmentation(flip=True))
        assert np.array_equal(augment_picture(step, Augmentation(brightness=0.1, contrast=0.9)), first)
        assert first.dtype == np.uint8

    def test_sound_alone_leaves_the_picture(self) -> None:
        """Gain, noise, pitch and echo, and speed, change no pixel."""
        recipe = Augmentation.parse("speed=1.05+noise=25+pitch=1+gain=-3+reverb=0.3")
        assert np.array_equal(augment_picture(colours(), recipe), colours())


class TestSpeedAndPitch:
    @pytest.mark.parametrize("speed", [0.95, 0.98, 1.02, 1.05])
    def test_speed_changes_the_length_and_not_the_pitch(self, speed: float) -> None:
        """D seconds become D / speed; a tone stays where it was, to a tenth of a per cent, and as clean."""
        samples = tone(4, hz=220, sample_rate_hz=RATE)
        fast = apply(samples, f"speed={speed}")
        assert len(fast) == round(4 * RATE / speed)
        assert peak_hz(fast[2000:-2000]) == pytest.approx(220, rel=1e-3)
        assert level_db(fast) == pytest.approx(level_db(samples), abs=0.3)

    @pytest.mark.parametrize("pitch", [-1, -0.5, 0.5, 1])
    def test_pitch_moves_the_tone_and_not_the_length(self, pitch: float) -> None:
        """By so many semitones, to a fiftieth of one."""
        moved = apply(tone(3, hz=220, sample_rate_hz=RATE), f"pitch={pitch}")
        assert len(moved) == 3 * RATE
        assert 12 * np.log2(peak_hz(moved[2000:-2000]) / 220) == pytest.approx(pitch, abs=0.02)

    def test_speed_and_pitch_go_together(self) -> None:
        """A fast copy with a deeper voice is both."""
        both = apply(tone(3, hz=220, sample_rate_hz=RATE), "speed=1.05+pitch=-1")
        assert len(both) == round(3 * RATE / 1.05)
        assert 12 * np.log2(peak_hz(both[2000:-2000]) / 220) == pytest.approx(-1, abs=0.02)

    @pytest.mark.parametrize(("speed", "pitch"), [(0.95, 0), (1.05, 0), (0.98, 1), (1.0, -1)])
    def test_clicks_stay_clicks_at_their_time(self, speed: float, pitch: float) -> None:
        """Within 20 ms of time / speed from start to end, and not smeared: what plosives and pauses are made of."""
        samples = np.random.default_rng(0).normal(0, 1e-4, 8 * RATE).astype(np.float32)
        places = np.arange(RATE // 4, len(samples) - RATE // 4, RATE // 4)
        samples[places] = 0.9
        stretched = stretch(samples, speed=speed, pitch=pitch, sample_rate_hz=RATE)
        for place in places:
            middle = round(place / speed)
            near = np.abs(stretched[middle - 1600 : middle + 1600])
            assert abs(int(np.argmax(near)) - 1600) <= 0.02 * RATE
            assert near.max() > 0.45
            assert (near > 0.1 * near.max()).sum() <= 40

    def test_the_end_is_sound_and_not_silence(self) -> None:
        """The last windows overlap with the mirrored end, so a steady tone is steady to its last sample."""
        for text in ("speed=0.95", "speed=1.05", "pitch=1"):
            stretched = apply(tone(2, hz=220, sample_rate_hz=RATE), text)
            assert level_db(stretched[-800:]) == pytest.approx(level_db(stretched), abs=1)
            assert level_db(stretched[:800]) == pytest.approx(level_db(stretched), abs=1)

    def test_shortest_clips_can_be_stretched(self) -> None:
        """A tenth of a second, which is the least that encoders take, and less."""
        for n in (2, 100, 1600):
            assert len(apply(tone(1, sample_rate_hz=RATE)[:n], "speed=1.05+pitch=0.5")) == round(n / 1.05)


class TestSound:
    @pytest.mark.parametrize("snr_db", [22, 26, 30])
    def test_noise_lies_so_far_below_the_clip(self, snr_db: float) -> None:
        """Within half a dB of the recipe, for a loud clip and for a faint one; white; of mean 0."""
        for level in (1.0, 0.003):
            samples = (level * voice(3)).astype(np.float32)
            noise = apply(samples, f"noise={snr_db}") - samples
            assert level_db(samples) - level_db(noise) == pytest.approx(snr_db, abs=0.5)
            assert abs(noise.mean()) < 0.02 * noise.std()
            power = np.abs(np.fft.rfft(noise)) ** 2
            halves = power[: len(power) // 2].sum() / power.sum()
            assert halves == pytest.approx(0.5, abs=0.02)

    def test_noise_comes_from_seed_and_time(self) -> None:
        """The same clip has the same noise; another clip, or another seed, noise that has nothing to do with it."""
        samples = voice(2)
        noise = {
            (seed, start_s): apply(samples, f"noise=25+seed={seed}", start_s=start_s) - samples
            for seed in (1, 2)
            for start_s in (0.0, 10.0, 10.000001)
        }
        again = apply(samples, "noise=25+seed=1", start_s=10.0) - samples
        assert np.array_equal(again, noise[1, 10.0])
        different = list(noise.values())
        for i, one in enumerate(different):
            for other in different[:i]:
                assert abs(np.corrcoef(one, other)[0, 1]) < 0.03

    def test_noise_is_these_numbers_for_ever(self) -> None:
        """A library that draws other numbers from one seed would change features under an unchanged key."""
        noise = apply(np.full(4, 0.5, np.float32), "noise=30+seed=17", start_s=2.5) - np.float32(0.5)
        assert noise.tolist() == pytest.approx(NOISE_OF_SEED_17, abs=1e-7)

    @pytest.mark.parametrize("text", ["noise=22", "reverb=0.5", "gain=6", "speed=0.95+pitch=1+noise=22+reverb=0.5"])
    def test_silence_stays_silence(self, text: str) -> None:
        """Nothing is heard where nothing was."""
        assert not apply(np.zeros(RATE, np.float32), text).any()

    @pytest.mark.parametrize("gain", [-6, -3, 4.5])
    def test_gain_is_decibels(self, gain: float) -> None:
        """The waveform is the same, so much louder."""
        samples = voice(1)
        louder = apply(samples, f"gain={gain}")
        assert level_db(louder) - level_db(samples) == pytest.approx(gain, abs=0.01)
        assert np.corrcoef(louder, samples)[0, 1] > 0.999999

    def test_nothing_is_clipped(self) -> None:
        """What would go beyond full scale is turned down as a whole: its shape stays."""
        samples = tone(1, hz=220, level=0.9, sample_rate_hz=RATE)
        louder = apply(samples, "gain=6")
        assert np.abs(louder).max() == pytest.approx(1.0)
        assert np.corrcoef(louder, samples)[0, 1] > 0.999999
        assert np.abs(apply(voice(2) * 2, "speed=1.05+reverb=0.5+noise=22+gain=6")).max() <= 1.0

    def test_the_echo_dies_away_by_60_db(self) -> None:
        """The energy left after a click falls in a line, 60 dB over the room's time, from the level of the recipe."""
        response = room_response(0.25, 3, RATE).astype(np.float64)
        assert np.sqrt((response[1:] ** 2).sum()) / response[0] == pytest.approx(0.25, rel=1e-3)
        assert (response**2).sum() == pytest.approx(1, rel=1e-3)
        left_db = 10 * np.log10(np.cumsum((response[:0:-1]) ** 2)[::-1] / (response[1:] ** 2).sum())
        for share in (0.25, 0.5, 0.75):
            assert left_db[round(share * REVERB_S * RATE)] == pytest.approx(-60 * share, abs=3)

    def test_a_click_rings_in_its_clip(self) -> None:
        """The click keeps its place and nearly its height; the echo comes after it; another seed is another room."""
        samples = np.zeros(RATE, np.float32)
        samples[4000] = 0.8
        rung = apply(samples, "reverb=0.5+seed=1")
        assert np.abs(rung[:4000]).max() < 1e-6
        assert int(np.argmax(np.abs(rung))) == 4000
        assert rung[4000] == pytest.approx(0.8 / np.sqrt(1.25), rel=1e-3)
        assert (rung[4001:].astype(float) ** 2).sum() == pytest.approx(0.25 * rung[4000] ** 2, rel=0.01)
        assert not np.allclose(rung, apply(samples, "reverb=0.5+seed=2"))

    def test_what_came_before_the_clip_rings_into_it(self) -> None:
        """With context, a clip is the piece that it is of the whole; without, its start would be dry."""
        recipe = Augmentation(reverb=0.4, seed=5)
        samples, n_before = voice(3), round(context_s(recipe) * RATE)
        whole = apply(samples, str(recipe))
        piece = apply(samples[2 * RATE - n_before :], str(recipe), n_before=n_before)
        assert np.abs(piece - whole[2 * RATE :]).max() < 1e-3
        dry = apply(samples[2 * RATE :], str(recipe))
        assert np.abs(dry - whole[2 * RATE :])[:1600].max() > 0.01

    def test_context_is_what_a_recipe_needs(self) -> None:
        """Nothing for gain and noise, the echo's length in source time, and a margin where sound is stretched."""
        assert context_s(Augmentation(gain=3, noise=25, flip=True)) == 0
        assert context_s(Augmentation(reverb=0.2)) == REVERB_S
        assert context_s(Augmentation(reverb=0.2, speed=1.05)) == pytest.approx(REVERB_S * 1.05 + STRETCH_MARGIN_S)

    def test_pictures_alone_leave_the_sound(self) -> None:
        """Flip, light and crop change no sample."""
        samples = voice(1)
        assert np.array_equal(apply(samples, "flip+brightness=0.1+contrast=1.2+crop=0.9:0:0"), samples)

    def test_too_little_sound_is_an_error_and_not_silence(self) -> None:
        """A clip is never filled up; one sample that rounding took is held."""
        with pytest.raises(
            MediaError, match="A clip of 16000 samples at speed 1.05 was to be made of 8000. Expected about"
        ):
            apply(voice(0.5), "speed=1.05", n_samples=RATE)
        with pytest.raises(MediaError, match="was to be made of 0"):
            apply(voice(0.5), "gain=1", n_before=RATE // 2, n_samples=1)
        assert len(apply(voice(0.5), "gain=1", n_samples=RATE // 2 + 1)) == RATE // 2 + 1
        assert len(apply(voice(0.5), "gain=1", n_samples=0)) == 0

    def test_no_input_is_written_to_and_the_numbers_are_the_same_again(self) -> None:
        """Transforms are pure."""
        samples = voice(1)
        samples.setflags(write=False)
        text = "speed=0.98+pitch=0.5+noise=24+gain=-2+reverb=0.3+seed=8"
        first = apply(samples, text, start_s=3.0)
        assert first.dtype == np.float32
        assert np.array_equal(first, apply(samples, text, start_s=3.0))


def flash(at_s: float, fps: int) -> Picture:
    """Black, and white for one frame."""

    def picture(number: int, _time_s: float) -> NDArray[np.uint8]:
        return np.full((1, 1, 3), 255 if number == round(at_s * fps) else 0, dtype=np.uint8)

    return picture


class TestClock:
    def test_a_copy_lasts_its_sources_length_over_the_speed(self) -> None:
        """Spans and times of the copy map to the source and back."""
        copy = Augmenter.from_text("speed=1.05")
        assert copy.copy_time(21.0) == pytest.approx(20.0)
        assert copy.source_span(10.0, 20.0) == pytest.approx((10.5, 21.0))
        times = np.array([0.0, 1.0, 9.5])
        assert copy.source_times(times).tolist() == pytest.approx([0.0, 1.05, 9.975])
        assert copy.copy_time(copy.source_times(times)).tolist() == pytest.approx(times.tolist())

    def test_an_empty_text_is_the_recording_itself(self) -> None:
        """Nothing is changed, and a wrong text is refused."""
        plain = Augmenter.from_text("")
        assert plain.source_span(3.0, 4.0) == (3.0, 4.0)
        assert plain.context_s == 0
        assert np.array_equal(plain.picture(colours()), colours())
        with pytest.raises(ExtractSettingsError, match="Did you mean 'flip'"):
            Augmenter.from_text("flap")

    def test_it_can_be_sent_to_a_decoding_process(self) -> None:
        """By pickle."""
        copy = Augmenter.from_text("speed=0.95+noise=25+seed=4")
        assert pickle.loads(pickle.dumps(copy)) == copy

    @pytest.mark.parametrize("speed", [0.95, 1.05])
    def test_picture_and_sound_keep_one_clock(self, tmp_path, speed: float) -> None:
        """A flash and a click at 7.2 s of a real file come at 7.2 / speed in both streams, within a frame."""
        fps, at_s = 25, 7.2
        click = np.random.default_rng(0).normal(0, 1e-3, 9 * RATE).astype(np.float32)
        click[round(at_s * RATE) : round(at_s * RATE) + 40] = 0.9
        path = tmp_path / "flash.mkv"
        write_video(path, seconds=9, picture=flash(at_s, fps), sound=click, sample_rate_hz=RATE, sound_codec="flac")
        copy, found = Augmenter.from_text(f"speed={speed}"), probe(path)
        assert found.video is not None
        span = (6.0, 8.0)
        times = np.arange(*span, 1 / 50)
        wanted = frames_on_screen(copy.source_times(times), found.video)
        ((_, frames),) = read_frames(found, [wanted], lambda frame: copy.picture(frame).mean(keepdims=True))
        seen_s = times[int(np.argmax(np.ravel(frames)))]
        with SoundReader(found) as reader:
            reader.read_until(copy.source_span(*span)[1])
            reader.forget_before(copy.source_span(*span)[0] - copy.context_s)
            sound = copy.read_sound(reader, *span)
        heard_s = span[0] + np.argmax(np.abs(sound)) / RATE
        assert len(sound) == 2 * RATE
        assert seen_s == pytest.approx(at_s / speed, abs=0.04)
        assert heard_s == pytest.approx(at_s / speed, abs=0.02)


class TestReadSound:
    @pytest.fixture
    def reader(self, tmp_path) -> Callable[[float, float], SoundReader]:
        samples = voice(6)

        def make(until_s: float, keep_from_s: float = 0.0) -> SoundReader:
            reader = SoundReader(probe(write_sound(tmp_path / "voice.wav", samples)))
            reader.read_until(until_s)
            reader.forget_before(keep_from_s)
            return reader

        return make

    def test_nothing_done_is_the_sources_own_sound(self, reader) -> None:
        """A recipe that concerns the picture alone hands samples through."""
        sound = Augmenter.from_text("flip").read_sound(reader(6.0), 1.0, 3.0)
        assert np.array_equal(sound, reader(6.0).cut(1.0, 3.0))

    @pytest.mark.parametrize("text", ["reverb=0.4+seed=5", "speed=1.05+reverb=0.4", "speed=0.95", "pitch=1+gain=-3"])
    def test_the_context_is_enough(self, reader, text: str) -> None:
        """A reader that kept only the context gives the same clip as one that kept everything."""
        copy = Augmenter.from_text(text)
        first_s, last_s = copy.source_span(2.0, 4.0)
        kept, forgot = reader(6.0), reader(last_s, first_s - copy.context_s)
        assert np.array_equal(copy.read_sound(kept, 2.0, 4.0), copy.read_sound(forgot, 2.0, 4.0))

    def test_the_first_clip_has_no_context_and_its_full_length(self, reader) -> None:
        """The reader cuts from its first sample on: what is asked for before it must not move the clip."""
        for text in ("reverb=0.4", "speed=1.05", "speed=0.95"):
            copy = Augmenter.from_text(text)
            assert len(copy.read_sound(reader(6.0), 0.0, 2.0)) == 2 * RATE
            assert len(copy.read_sound(reader(6.0), 0.05, 2.05)) == 2 * RATE

    @pytest.mark.parametrize("speed", [0.95, 0.98, 1.02, 1.05])
    def test_the_last_clip_ends_with_the_track(self, reader, speed: float) -> None:
        """No more than the track holds, whatever span is asked for."""
        copy = Augmenter.from_text(f"speed={speed}")
        end_s = copy.copy_time(6.0)
        assert len(copy.read_sound(reader(6.0), end_s - 1.0, end_s)) == RATE
        assert len(copy.read_sound(reader(6.0), end_s - 1.0, end_s + 5.0)) == pytest.approx(RATE, abs=1)
        assert len(copy.read_sound(reader(6.0), end_s + 1.0, end_s + 2.0)) == 0


NOISE_OF_SEED_17 = [0.0073336958885, -0.0119760930538, 0.0184479355813, 0.0131067633629]
