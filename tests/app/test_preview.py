"""Promises of previews: browsers play what they are given, and a bad file ends a process and no more."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from poise.app import preview
from poise.app.jobs import Watch
from poise.app.preview import Preview, make_preview
from poise.app.preview_child import MAX_FPS, SHORT_SIDE, find_mime, write_preview
from poise.errors import CancelledError, DecoderDiedError, MediaError
from poise.extract.media.probe import probe
from tests.media import cut_off, grey, remux, write_video


def always() -> Watch:
    return Watch(lambda: True)


def make(path: Path) -> Preview:
    """A preview, made in this process: what the child does is seen here."""
    found = probe(path)
    mime = find_mime(found)
    if mime:
        return Preview(data=None, mime=mime)
    target = path.with_name("made.mp4")
    note = write_preview(found, target)
    return Preview(data=target.read_bytes(), mime="video/mp4", note=note)


@pytest.mark.parametrize(
    ("name", "settings", "mime"),
    [
        ("a.mp4", {}, "video/mp4"),
        ("a.mov", {"sound": None}, "video/mp4"),
        ("a.webm", {"codec": "libvpx", "sound_codec": "libopus", "time_base_per_frame": 40}, "video/webm"),
        ("a.mkv", {}, ""),
        ("a.avi", {"codec": "mpeg4", "sound_codec": "mp3", "time_base_per_frame": 1}, ""),
        ("a.mp4", {"codec": "mpeg4", "time_base_per_frame": 1}, ""),
        ("a.mp4", {"pix_fmt": "yuv444p"}, ""),
        ("a.mp4", {"codec": "libx265", "sound": None}, ""),
    ],
    ids=["h264 mp4", "h264 mov", "vp8 webm", "h264 mkv", "avi", "mpeg4 mp4", "h264 4:4:4", "hevc"],
)
def test_what_browsers_play_is_left_as_it_is(tmp_path: Path, name: str, settings: dict[str, object], mime: str) -> None:
    """Containers, codecs and pixels that every browser plays are given to it; a copy is made of the others."""
    path = write_video(tmp_path / name, seconds=1.0, fps=12, **settings)
    assert find_mime(probe(path)) == mime


def test_a_preview_has_the_same_seconds_and_is_small(tmp_path: Path) -> None:
    """A large film of an unplayable kind becomes H.264 and AAC of its length, at most 480 lines high."""
    path = write_video(tmp_path / "a.mkv", seconds=2.0, fps=60, size=(1280, 720))
    made = make(path)
    assert made.data is not None
    with av.open(str(tmp_path / "made.mp4")) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height) == (854, SHORT_SIDE)
        frames = [frame.time for frame in container.decode(video=0)]
    assert len(frames) <= 2 * (MAX_FPS + 5)
    assert frames[0] == pytest.approx(0, abs=0.05)
    assert frames[-1] == pytest.approx(2, abs=0.1)
    assert find_mime(probe(tmp_path / "made.mp4")) == "video/mp4"
    assert "smaller copy" in made.note


def test_a_preview_is_upright(tmp_path: Path) -> None:
    """A film that is to be turned is turned in its preview, as it is for the model."""
    path = write_video(
        tmp_path / "a.mp4", seconds=0.5, size=(96, 64), rotation=90, codec="mpeg4", time_base_per_frame=1
    )
    make(path)
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 96)


def test_a_preview_begins_when_the_recording_does(tmp_path: Path) -> None:
    """Clocks that begin late are set back, so that the timeline fits; a late sound stays late."""
    path = write_video(
        tmp_path / "a.mp4", seconds=1.0, video_start_s=5.0, sound_start_s=5.5, picture=grey(), sound="tone"
    )
    assert find_mime(probe(path)) == ""
    make(path)
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert float(next(container.decode(video=0)).time) == pytest.approx(0, abs=0.05)
    with av.open(str(tmp_path / "made.mp4")) as container:
        samples = [(frame.time, np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0)]
    assert next(time for time, loud in samples if loud > 0.05) == pytest.approx(0.5, abs=0.1)


def test_a_sound_alone_is_played_as_one(tmp_path: Path) -> None:
    """A container with nothing but sound gets a player for sound."""
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert find_mime(probe(tmp_path / "a.mp4")) == "audio/mp4"


def test_the_process_says_how_far_it_is_and_gives_the_preview(tmp_path: Path) -> None:
    """From outside: a film of an unplayable kind comes back as an MP4, one of a playable kind as it is."""
    watch = always()
    made = make_preview(write_video(tmp_path / "a.mkv", seconds=1.0), watch)
    assert made.mime == "video/mp4"
    assert made.data is not None
    assert made.data[4:8] == b"ftyp"
    assert make_preview(write_video(tmp_path / "b.mp4", seconds=1.0), watch) == Preview(data=None, mime="video/mp4")


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """Text under the name of a film, half a film, and an endless one name the file."""
    (tmp_path / "text.mp4").write_text("no film at all, but long enough to be looked at")
    half = cut_off(write_video(tmp_path / "whole.mp4", seconds=1.0), tmp_path / "half.mp4", 0.4)
    for path in (tmp_path / "text.mp4", half):
        with pytest.raises(MediaError, match=path.name):
            make_preview(path, always())


def test_a_picture_of_absurd_size_is_not_made_into_a_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is looked at before anything of it is decoded."""
    path = write_video(tmp_path / "a.mkv", seconds=0.2)
    monkeypatch.setattr("poise.app.preview_child._MAX_PIXELS", 10)
    with pytest.raises(MediaError, match=r"a\.mkv has 96 x 64 pixels"):
        write_preview(probe(path), tmp_path / "made.mp4")


def test_a_recording_of_which_nothing_can_be_decoded_has_no_preview(tmp_path: Path) -> None:
    """Its packets are there, but none of them is a picture."""

    def spoil(_number: int, packet: Any) -> None:
        packet.update(b"\0" * packet.size)

    path = remux(write_video(tmp_path / "a.mkv", seconds=0.5, sound=None, codec="mpeg4"), tmp_path / "b.mkv", spoil)
    with pytest.raises(MediaError, match=r"Nothing of .*b\.mkv can be decoded"):
        write_preview(probe(path), tmp_path / "made.mp4")


def test_only_the_beginning_of_a_long_recording_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor is told that the rest is missing."""
    monkeypatch.setattr("poise.app.preview_child.MAX_S", 0.5)
    made = make(write_video(tmp_path / "a.mkv", seconds=2.0))
    assert "holds the first" in made.note
    with av.open(str(tmp_path / "made.mp4")) as container:
        assert (container.duration or 0) / av.time_base < 1


def test_a_preview_ends_when_it_is_no_longer_wanted(tmp_path: Path) -> None:
    """Its process is ended with it."""
    path = write_video(tmp_path / "a.mkv", seconds=1.0)
    watch = always()
    watch.cancel()
    with pytest.raises(CancelledError):
        make_preview(path, watch)


def test_a_process_that_is_silent_dies_or_babbles_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a film does to the process that reads it, a visitor gets a sentence."""
    path = write_video(tmp_path / "a.mkv", seconds=0.5)
    for code, message in [
        ("import time; time.sleep(600)", "kept the preview waiting"),
        ("raise SystemExit(3)", "ended with code 3"),
        ("import os; os.kill(os.getpid(), 11)", "ended with code -11"),
        ("print('hello')", "something else than it should"),
        ("print('x' * 200000, end='')", "ended with code"),
    ]:
        command = [sys.executable, "-c", code]
        monkeypatch.setattr(
            preview,
            "_child",
            lambda *_, command=command: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL),
        )
        with pytest.raises(DecoderDiedError, match=message):
            make_preview(path, always(), stall_s=1.0 if "sleep" in code else 60.0)
