"""Promises of rendered copies: what the recipe says can be seen and heard, and one bad source stops nothing."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.errors import MediaError, OutputError
from poise.extract.augment import render
from poise.extract.augment.plan import augment_manifest
from poise.extract.augment.render import render_copies, render_copy, rendered_name
from poise.extract.media.decode import read_frames
from poise.extract.media.probe import Probe, probe
from poise.extract.media.sound import SoundReader
from poise.manifest import read_manifest
from tests.media import Picture, moving, tone, write_sound, write_video
from tests.test_cli import poise

RATE = 48_000


def halves(level: int = 60) -> Picture:
    """Dark on the left, 120 brighter on the right."""

    def picture(_number: int, _time_s: float) -> NDArray[np.uint8]:
        frame = np.full((64, 96, 3), level, dtype=np.uint8)
        frame[:, 48:] += 120
        return frame

    return picture


def frames_of(found: Probe) -> NDArray[np.uint8]:
    assert found.video is not None
    ((_, frames),) = read_frames(found, [np.arange(len(found.video.pts))], lambda frame: frame)
    return np.stack(frames)


def sound_of(found: Probe) -> NDArray[np.float32]:
    with SoundReader(found, sample_rate_hz=RATE) as reader:
        reader.read_until(1e6)
        return reader.cut(reader.start_s or 0.0, reader.end_s)


def test_picture_and_sound_of_a_copy_last_as_long(tmp_path: Path) -> None:
    """At 1.05 times the speed, 4.2 s become 4 s of both, and every frame is there at its own time."""
    source = write_video(tmp_path / "a.mp4", seconds=4.2)
    render_copy(source, "speed=1.05", tmp_path / "c.mp4")
    found = probe(tmp_path / "c.mp4")
    assert found.video is not None
    assert found.audio is not None
    assert len(found.video.pts) == 105
    assert found.video.end_s == pytest.approx(4.0, abs=0.05)
    assert found.audio.end_s == pytest.approx(4.0, abs=0.05)
    assert np.diff(found.video.times_s) == pytest.approx(0.04 / 1.05, abs=1e-3)


def test_what_is_done_to_the_picture_can_be_seen(tmp_path: Path) -> None:
    """Mirrored, lighter and cropped to an even size."""
    source = write_video(tmp_path / "a.mp4", seconds=1, picture=halves(), sound=None)
    render_copy(source, "flip+brightness=0.1+crop=0.9:0.5:0.5", tmp_path / "c.mp4")
    frames = frames_of(probe(tmp_path / "c.mp4"))
    assert frames.shape[1:] == (58, 86, 3)
    assert frames[:, 4:-4, 4:38].mean() == pytest.approx(180 + 25.5, abs=3)
    assert frames[:, 4:-4, 48:-4].mean() == pytest.approx(60 + 25.5, abs=3)


def test_what_is_done_to_the_sound_can_be_heard_without_joints(tmp_path: Path) -> None:
    """A semitone higher from start to end of a file that is longer than two pieces, and as steady where they meet."""
    source = write_sound(tmp_path / "a.wav", tone(21, hz=400, sample_rate_hz=16_000))
    render_copy(source, "pitch=1+gain=-3", tmp_path / "c.mp4")
    found = probe(tmp_path / "c.mp4")
    sound = sound_of(found)
    assert found.video is None
    assert len(sound) == pytest.approx(21 * RATE, abs=0.05 * RATE)
    spectrum = np.abs(np.fft.rfft(sound[RATE:-RATE]))
    assert np.argmax(spectrum) * RATE / len(sound[RATE:-RATE]) == pytest.approx(400 * 2 ** (1 / 12), rel=2e-3)
    levels = np.array([np.sqrt((run**2).mean()) for run in np.array_split(sound[RATE // 10 : -RATE // 2], 1000)])
    middle = 0.3 / np.sqrt(2) * 10 ** (-3 / 20)
    assert np.median(levels) == pytest.approx(middle, rel=0.05)
    assert levels.min() > 0.4 * middle
    assert np.abs(np.diff(sound[: -RATE // 20])).max() < 1.5 * 0.3 * 2 * np.pi * 424 / RATE


def test_sound_that_begins_late_begins_late(tmp_path: Path) -> None:
    """At its own time over the speed, on the picture's clock."""
    source = write_video(tmp_path / "a.mp4", seconds=3, sound_start_s=0.7)
    render_copy(source, "speed=0.95", tmp_path / "c.mp4")
    given, found = probe(source), probe(tmp_path / "c.mp4")
    assert given.audio is not None
    assert found.audio is not None
    assert found.audio.start_s == pytest.approx(given.audio.start_s / 0.95, abs=0.03)  # AAC's first frame is early
    assert found.duration_s == pytest.approx(3.7 / 0.95, abs=0.06)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """Four times as long a file takes about the same."""
    peaks = []
    for seconds in (15, 60):
        source = write_video(tmp_path / f"{seconds}.mp4", seconds=seconds, fps=5, size=(64, 48), picture=moving())
        tracemalloc.start()
        render_copy(source, "speed=1.05+noise=25", tmp_path / "c.mp4")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 2**20


def test_nothing_is_left_of_a_copy_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither half a file nor a change to what was there; tiny pictures are named as such."""
    (tmp_path / "c.mp4").write_text("precious")
    small = write_video(tmp_path / "a.avi", seconds=0.5, codec="rawvideo", size=(2, 2), sound=None)
    monkeypatch.setattr(render.Augmenter, "picture", lambda _, frame: frame[:1])
    with pytest.raises(MediaError, match="2 x 1 pixels is too small for H.264"):
        render_copy(small, "flip", tmp_path / "c.mp4")
    assert (tmp_path / "c.mp4").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "c.mp4"]


def test_a_file_of_which_nothing_can_be_decoded_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An MP4 without a single picture or sample is no copy."""
    source = write_video(tmp_path / "a.mp4", seconds=0.5, sound=None)
    monkeypatch.setattr(render, "read_frames", lambda *_: iter(()))
    with pytest.raises(MediaError, match="nothing of it can be decoded"):
        render_copy(source, "flip", tmp_path / "c.mp4")
    assert not (tmp_path / "c.mp4").exists()


def test_copies_of_files_with_one_name_do_not_meet() -> None:
    """The name of the rendered file tells the source, and is the copy's own."""
    names = {rendered_name(name) for name in ("a/1.mp4#flip", "b/1.mp4#flip", "a/1.mp4#gain=1")}
    assert len(names) == 3
    assert all(name.startswith("1-") and name.endswith(".mp4") for name in names)
    assert len(rendered_name("x" * 255 + ".mp4#flip")) < 200


def test_one_broken_source_does_not_stop_the_rest(tmp_path: Path) -> None:
    """It is named with its reason, the others are there, the table is written, and the exit code is 3."""
    write_video(tmp_path / "a.mp4", seconds=0.6)
    (tmp_path / "b.mp4").write_text("no film")
    write_sound(tmp_path / "d.wav", tone(0.6, sample_rate_hz=16_000))
    (tmp_path / "m.csv").write_text("path,label\na.mp4,0\nb.mp4,1\nc.mp4,1\nd.wav,0\n")
    command = ("augment", tmp_path / "m.csv", "--out", tmp_path / "m2.csv", "--copies", 1, "--render", tmp_path / "r")
    result = poise(*command, "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert [row["path"].partition("#")[0] for row in document["rendered"]] == ["a.mp4", "d.wav"]
    assert [row["path"].partition("#")[0] for row in document["failed"]] == ["b.mp4", "c.mp4"]
    assert "is not a media file" in document["failed"][0]["reason"]
    assert "failed: c.mp4#" in result.stderr
    for row in document["rendered"]:
        assert probe(row["file"]).duration_s == pytest.approx(0.6, abs=0.1)
    assert len(list((tmp_path / "r").iterdir())) == 2
    made = read_manifest(tmp_path / "m2.csv")
    assert made.file(4) == tmp_path / "a.mp4"  # the table's copies stay on the fly


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "file").touch()
    (tmp_path / "m.csv").write_text("path,label\na.mp4,0\nb.mp4,1\n")
    made = augment_manifest(read_manifest(tmp_path / "m.csv"), copies=1)
    with pytest.raises(OutputError, match="cannot be made: .*Choose another --render"):
        list(render_copies(made, [2], tmp_path / "file" / "r"))
