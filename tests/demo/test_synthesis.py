"""Promises of the demo's synthetic interviews."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from poise.demo.face import Portrait
from poise.demo.gestures import Manner, move
from poise.demo.interviews import LABELS, synthesise, write_interviews, write_recording
from poise.demo.people import VOICES, behave, deliver, meet
from poise.demo.speech import SAMPLE_RATE_HZ, Utterance, speak
from poise.errors import EncoderError, MissingDependencyError, OutputError

SENTENCE = Utterance(text="I started by measuring where the time was going")


@pytest.fixture(scope="module")
def interviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of two speakers with three recordings each."""
    return write_interviews(tmp_path_factory.mktemp("interviews"), n_speakers=2, per_speaker=3, seed=5)


def read_rows(manifest: Path) -> list[dict[str, str]]:
    """Rows of a manifest."""
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("voice", VOICES)
def test_speech_depends_on_its_arguments_alone(voice: str) -> None:
    """What was spoken before, and by whom, changes no sample; breathy voices included."""
    first = speak(voice, [SENTENCE])[0]
    speak("en-us+f4", [Utterance(text="um", rate_wpm=90), SENTENCE])
    np.testing.assert_array_equal(speak(voice, [SENTENCE])[0], first)
    assert first.dtype == np.float32
    assert 0.05 < np.abs(first).max() <= 1.0


def test_speech_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The library is silent on the terminal."""
    speak("en-gb-x-rp+f3", [SENTENCE])
    assert capfd.readouterr() == ("", "")


def test_a_higher_rate_is_shorter() -> None:
    """Words a minute are obeyed."""
    slow, fast = speak("en-us", [Utterance(text=SENTENCE.text, rate_wpm=rate) for rate in (120, 240)])
    assert len(slow) > 1.6 * len(fast) > SAMPLE_RATE_HZ


def test_an_unknown_voice_is_named() -> None:
    """A voice that espeak-ng does not have is an error that names it."""
    with pytest.raises(EncoderError, match="no voice 'en-atlantis'; expected a language"):
        speak("en-atlantis", [SENTENCE])


def test_a_missing_espeak_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the wheel the error gives the command, from the set as from the speech."""
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'poise\[demo\]'"):
        speak("en-us", [SENTENCE])
    with pytest.raises(MissingDependencyError, match=r"pip install 'poise\[demo\]'"):
        write_interviews(tmp_path, n_speakers=1, per_speaker=3)


def test_an_espeak_without_its_data_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A damaged installation is named, and a sound one works afterwards."""
    import espeakng_loader

    with monkeypatch.context() as patch:
        patch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "nothing"))
        with pytest.raises(EncoderError, match="does not start with its data in .*nothing"):
            speak("en-us", [SENTENCE])
    assert len(speak("en-us", [SENTENCE])[0]) > SAMPLE_RATE_HZ


def test_the_same_seed_gives_the_same_data() -> None:
    """Samples and pixels repeat with the seed, also in another process, and differ with another seed."""
    first = synthesise(speaker=0, take=2, label="low", seed=3)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        again = pool.submit(synthesise, speaker=0, take=2, label="low", seed=3).result()
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(first.frames, again.frames)
    other = synthesise(speaker=0, take=2, label="low", seed=4)
    assert len(other.samples) != len(first.samples) or not np.array_equal(other.samples, first.samples)


def test_a_recording_is_written_as_the_same_bytes(tmp_path: Path, interviews: Path) -> None:
    """A file written again, alone or among others, has the same bytes, so that its key in a store is the same."""
    row = read_rows(interviews)[0]
    for name in ("first.mp4", "second.mp4"):
        path = write_recording(tmp_path / name, speaker=0, take=0, label=row["label"], seed=5)
        assert path.read_bytes() == (interviews.parent / row["path"]).read_bytes()


def test_every_speaker_has_every_label_equally_often(interviews: Path) -> None:
    """The speaker alone says nothing about the label."""
    counts = Counter((row["speaker"], row["label"]) for row in read_rows(interviews))
    assert counts == {(speaker, label): 1 for speaker in ("s01", "s02") for label in LABELS}


def test_the_files_hold_picture_and_sound_of_one_length(interviews: Path) -> None:
    """Each file is H.264 and AAC, 13 to 15 seconds, so that windows of five seconds give three clips."""
    for row in read_rows(interviews):
        with av.open(str(interviews.parent / row["path"])) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            n_frames = sum(1 for _ in container.decode(video=0))
        with av.open(str(interviews.parent / row["path"])) as container:
            n_samples = sum(frame.samples for frame in container.decode(audio=0))
        assert 13.0 <= n_frames / 15 <= 15.0
        assert n_samples / SAMPLE_RATE_HZ == pytest.approx(n_frames / 15, abs=0.2)


def test_progress_counts_every_file(tmp_path: Path) -> None:
    """The callback hears of each file and of the total."""
    seen: list[tuple[int, int]] = []
    write_interviews(tmp_path, n_speakers=1, per_speaker=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file in the way of the folder, or a folder that is not there, is named."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="cannot be written to .*taken"):
        write_interviews(tmp_path / "taken" / "deeper")
    with pytest.raises(OutputError, match="recording .*new.mp4 cannot be written"):
        write_recording(tmp_path / "absent" / "new.mp4", speaker=8, take=0, label="high")


def test_composure_changes_voice_and_manner() -> None:
    """More composed: fewer fillers, shorter pauses, livelier pitch, more nods, fewer looks away and fidgets."""
    person = meet(0, seed=0)
    low, high = deliver(person, -1.0), deliver(person, 1.0)
    assert low.filler_share > high.filler_share
    assert low.pause_s > high.pause_s
    assert low.pitch_range < high.pitch_range
    tense, calm = behave(person, -1.0), behave(person, 1.0)
    assert tense.nods_per_s < calm.nods_per_s
    assert tense.aversions_per_s > calm.aversions_per_s
    assert tense.fidgets_per_s > calm.fidgets_per_s


def test_a_pose_is_drawn_where_it_is() -> None:
    """The mouth opens, the eyes close and the head moves in the picture, not only in the numbers."""
    manner = Manner(
        nods_per_s=0.5,
        nod_px=8.0,
        aversions_per_s=0.3,
        aversion_s=1.0,
        blinks_per_s=0.5,
        fidgets_per_s=0.2,
        fidget_px=5.0,
        sway_px=2.0,
    )
    loudness = (np.arange(60) % 10 > 5).astype(float)
    pose = move(manner, loudness, 15.0, np.random.default_rng(0))
    person = meet(1, seed=0)
    portrait = Portrait(person.look, seed=0)
    frames = np.stack([portrait.draw(pose, i) for i in range(60)]).astype(float)
    assert frames.shape == (60, 240, 320, 3)
    assert pose.eyelid.max() > 0.9
    # noise alone moves a pixel of the still wall; the head's surroundings move much more
    assert frames[:, 100:180, 100:220].std(axis=0).mean() > 2 * frames[:, 180:220, 4:40].std(axis=0).mean()
