"""Promises over whatever people's folders hold: every file ends in its typed outcome, and the run goes on."""

import os
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest

from poise.extract.clips import ClipSettings
from poise.extract.pipeline import extract
from poise.extract.workers.source import DecodeLimits
from poise.store import FeatureStore
from tests.extract.plain_encoders import Deadly, Grey, Loudness
from tests.media import cut_off, grey, tone, write_sound, write_video
from tests.store.features import manifest_of

CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


def write_frames(path, *, codec="ffv1", pix_fmt="yuv444p", size=(64, 48), n=40, fps=10, options=None):
    """A picture of any format, brighter from frame to frame, without sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        for number in range(n):
            pixels = np.full((size[1], size[0], 3), min(255, 40 + 4 * number), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def write_surround(path):
    """Six channels at 48 kHz."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("flac", rate=48_000, layout="5.1")
        samples = (np.stack([tone(4, hz=200 + 50 * i) for i in range(6)]) * 32_000).astype(np.int16)
        for first in range(0, samples.shape[1], 4096):
            part = np.ascontiguousarray(samples[:, first : first + 4096].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="5.1")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def make_good(folder):
    """Files that must be stored, and what is to be said of them."""
    write_video(folder / "plain.mp4")
    write_video(folder / "wide pause.mp4", keyframe_every=1000)
    write_video(folder / "späť «ok» 録音.mp4")
    write_video(folder / "two\nlines.mp4", sound=tone(4, hz=300))
    write_video(folder / "-rf.mp4", sound=tone(4, hz=310))
    write_video(folder / "#1 %s $HOME.mp4", sound=tone(4, hz=320))
    write_video(folder / "late.mkv", video_start_s=1.5, sound_start_s=1.5)
    write_video(folder / "telephone.mp4", sound=tone(4, sample_rate_hz=8_000), sample_rate_hz=8_000)
    write_video(folder / "interlaced.mp4", codec_options={"x264-params": "tff=1"})
    write_video(folder / "8k.mp4", size=(7680, 4320), seconds=1.2, fps=5)
    (folder / "link.mp4").symlink_to(folder / "telephone.mp4")
    for name, settings in {
        "tiny.mkv": {"size": (16, 16)},
        "odd.mkv": {"size": (17, 33)},
        "one pixel.mkv": {"size": (1, 1)},
        "ten bits.mkv": {"pix_fmt": "yuv420p10le"},
        "alpha.mkv": {"pix_fmt": "bgra"},
        "grey.mkv": {"pix_fmt": "gray"},
        "lossless.avi": {},
        "mpeg2.ts": {"codec": "mpeg2video", "pix_fmt": "yuv420p", "fps": 25, "n": 100},
        "palette.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    }.items():
        write_frames(folder / name, **settings)
    write_surround(folder / "surround.mka")
    write_sound(folder / "voice.ogg", tone(4), sample_rate_hz=48_000, codec="libopus")
    write_sound(folder / "nan.wav", np.where(np.arange(64_000) % 1000 == 7, np.nan, tone(4, sample_rate_hz=16_000)))


GOOD = {
    "plain.mp4": "stored",
    "wide pause.mp4": "stored",
    "späť «ok» 録音.mp4": "already",  # the bytes of plain.mp4
    "two\nlines.mp4": "stored",
    "-rf.mp4": "stored",
    "#1 %s $HOME.mp4": "stored",
    "late.mkv": "stored",
    "telephone.mp4": "stored",
    "interlaced.mp4": "stored",
    "8k.mp4": "stored",
    "link.mp4": "already",
    **dict.fromkeys(["tiny.mkv", "odd.mkv", "one pixel.mkv", "ten bits.mkv", "alpha.mkv", "grey.mkv"], "partial"),
    **dict.fromkeys(["lossless.avi", "mpeg2.ts", "palette.gif", "surround.mka", "voice.ogg", "nan.wav"], "partial"),
}


def make_bad(folder):
    """Files and what is none, of which nothing or not all can be had."""
    whole = write_video(folder / "whole.mp4", seconds=8, options={"movflags": "faststart"})
    for percent in (1, 5, 30, 60, 99):
        cut_off(whole, folder / f"cut {percent}.mp4", percent / 100)
    cut_off(write_video(folder / "late moov.mp4", seconds=8), folder / "no moov.mp4", 0.9)
    whole.unlink()
    (folder / "late moov.mp4").unlink()
    write_video(folder / "one frame.mp4", frame_times_s=[0.0], sound=None)
    write_video(folder / "hour of nothing.mkv", seconds=3600, fps=1, picture=grey(0), sound_codec="pcm_s16le",
                sound=np.zeros(3600 * 8000, np.float32), sample_rate_hz=8_000)  # fmt: skip
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    (folder / "playlist.mp4").write_text("ffconcat version 1.0\nfile plain.mp4\n")
    (folder / "stream.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\nplain.mp4\n")
    (folder / "zeros.mp4").write_bytes(bytes(100_000))
    (folder / "noise.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + np.random.default_rng(0).bytes(100_000))
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "dangling.mp4").symlink_to("nowhere.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")


BAD = {
    "cut 1.mp4": ("failed", "cannot be opened"),
    "cut 5.mp4": ("failed", ""),
    "cut 30.mp4": ("partial", "truncated"),
    "cut 60.mp4": ("partial", "truncated"),
    "cut 99.mp4": ("partial", "truncated"),
    "no moov.mp4": ("failed", "cannot be opened"),
    "one frame.mp4": ("partial", "no sound"),
    "hour of nothing.mkv": ("partial", "silent"),
    "empty.mp4": ("failed", "0 bytes"),
    "text.mp4": ("failed", "not a media file"),
    "playlist.mp4": ("failed", "not a media file"),
    "stream.mp4": ("failed", "not a media file"),
    "zeros.mp4": ("failed", "not a media file"),
    "noise.mkv": ("failed", ""),
    "folder.mp4": ("failed", "is a folder"),
    "pipe.mp4": ("failed", "named pipe"),
    "loop.mp4": ("failed", "cannot be read"),
    "dangling.mp4": ("failed", "cannot be read"),
    "device.mp4": ("failed", "is a device"),
    "nowhere.mp4": ("failed", "cannot be read"),
    "http://example.org/a.mp4": ("failed", "local files only"),
    "file:plain.mp4": ("failed", "cannot be read"),
    "concat:plain.mp4|plain.mp4": ("failed", "cannot be read"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of one run over all of them."""
    folder = tmp_path_factory.mktemp("zoo")
    make_good(folder)
    make_bad(folder)
    store = FeatureStore.create(folder / "s")
    paths = (*GOOD, *BAD)
    report = extract(manifest_of(folder, *paths), store, video=Grey(), audio=Loudness(), clips=CLIPS, workers=2)
    assert store.verify().ok
    return {outcome.path: outcome for outcome in report.outcomes}


@pytest.mark.parametrize("path", GOOD, ids=repr)
def test_what_a_player_plays_is_stored(outcomes, path) -> None:
    """``partial`` only for want of the other modality."""
    found = outcomes[path]
    assert found.outcome == GOOD[path], found.reason
    assert found.n_clips >= 1
    if found.outcome == "partial":
        assert found.reason in {
            "audio: no sound: the file has no audio stream",
            "video: no picture: the file has no video stream",
        }


@pytest.mark.parametrize("path", BAD, ids=repr)
def test_what_cannot_be_had_says_why(outcomes, path) -> None:
    """Each by itself; nothing is opened that is no media file, and nothing fetched."""
    outcome, reason = BAD[path]
    assert outcomes[path].outcome == outcome, outcomes[path]
    assert reason in outcomes[path].reason


def test_odd_pictures_have_the_brightness_they_were_written_with(outcomes, tmp_path) -> None:
    """Sizes, depths and formats change no frame by more than rounding."""
    for name, settings in {
        "odd.mkv": {"size": (17, 33)},
        "ten.mkv": {"pix_fmt": "yuv420p10le"},
        "alpha.mkv": {"pix_fmt": "bgra"},
    }.items():
        write_frames(tmp_path / name, **settings)
    store = FeatureStore.create(tmp_path / "s")
    extract(manifest_of(tmp_path, "odd.mkv", "ten.mkv", "alpha.mkv"), store, video=Grey(), audio=None, clips=CLIPS,
            dtype="float32")  # fmt: skip
    values = store.load().modalities["video"].values
    np.testing.assert_allclose(values, [[48, 108], [128, 188]] * 3, atol=2.1)


@pytest.mark.slow
def test_two_thousand_files_with_broken_ones_and_crashes_are_all_accounted_for(tmp_path) -> None:
    """Exactly the good ones are stored, and the summary adds up."""
    templates = [
        write_video(tmp_path / f"t{i}.mp4", seconds=2.5, fps=10, picture=grey(2), sound=tone(2.5, hz=150 + 20 * i))
        for i in range(5)
    ]
    white = write_video(
        tmp_path / "white.mp4", seconds=2.5, fps=10, picture=lambda *_: np.full((1, 1, 3), 255, np.uint8)
    )
    broken = [
        lambda _: b"",
        lambda data: data[:200],
        lambda data: b"text" + data,
        lambda data: bytes(len(data)),
    ]
    kinds = {}
    for number in range(2000):
        path = f"{number:04d}.mp4"
        data = templates[number % 5].read_bytes()
        if number % 20 == 7:
            data, kinds[path] = broken[number // 20 % 4](data), "failed"
        elif number in (100, 1000, 1500):
            data, kinds[path] = white.read_bytes(), "partial"
        else:
            kinds[path] = "stored"
        # a box that players pass over makes other bytes, and so another recording
        mark = b"" if not data else (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
        (tmp_path / path).write_bytes(data + mark)
    store = FeatureStore.create(tmp_path / "s")
    report = extract(
        manifest_of(tmp_path, *kinds), store, video=Deadly("crash"), audio=Loudness(), clips=CLIPS, workers=2,
        limits=DecodeLimits(stall_s=30),
    )  # fmt: skip
    assert {outcome.path: outcome.outcome for outcome in report.outcomes} == kinds
    assert report.counts == {"stored": 1897, "already": 0, "partial": 3, "failed": 100}
    assert all("SIGSEGV" in outcome.reason for outcome in report.outcomes if outcome.outcome == "partial")
    assert store.verify().ok
    video, audio = sorted(store.indexes(), key=lambda index: index.spec["modality"], reverse=True)
    assert sum(entry.outcome == "stored" for entry in video.values()) == 1897
    assert sum(entry.outcome == "stored" for entry in audio.values()) == 1900
    again = extract(manifest_of(tmp_path, *kinds), store, video=Deadly("crash"), audio=Loudness(), clips=CLIPS)
    assert (again.counts["already"], again.n_clips_encoded) == (1900, 0)
    shutil.rmtree(tmp_path)
