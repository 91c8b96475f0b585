"""Promises of the decoder contract: the right file, stream, clock, frame and samples, and nothing invented."""

import dataclasses
import os
import subprocess
import sys

import av
import numpy as np
import pytest
import soxr
from av.stream import Disposition

from poise.errors import ExtractSettingsError, MediaError, MissingDependencyError
from poise.extract.clips import ClipSettings
from poise.extract.media.decode import (
    _decoded_frames,
    _Leap,
    _OpenClips,
    check_decoder,
    frames_on_screen,
    read_frames,
)
from poise.extract.media.opening import check_media_file
from poise.extract.media.probe import probe
from poise.extract.media.sound import SoundReader
from poise.extract.reading import RecordingReader
from tests.extract.plain_encoders import Grey, Loudness
from tests.media import cut_off, grey, join, remux, tone, write_sound, write_video


def read_all(path, *, decoder="pyav", clips=None, **encoders):
    """Every clip of a file, by modality, and the reader."""
    chosen = encoders or {"video": Grey(), "audio": Loudness()}
    reader = RecordingReader(path, chosen, clips=clips or ClipSettings(), decoder=decoder)
    found = {modality: [] for modality in chosen}
    for modality, clip in reader.read():
        found[modality].append(clip)
    return found, reader


def every_frame(path, decoder="pyav"):
    """All frames of a file, decoded."""
    found = probe(path)
    (clip,) = read_frames(found, [np.arange(len(found.video.pts))], lambda frame: frame, decoder=decoder)
    return np.stack(clip[1])


class TestWhichFile:
    def test_a_pipe_is_refused_without_opening_it(self, tmp_path):
        """Opening a named pipe would wait for ever."""
        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(MediaError, match="is a named pipe"):
            check_media_file(tmp_path / "pipe.mp4")

    def test_a_folder_and_a_device_are_refused(self, tmp_path):
        """Only regular files are media files."""
        with pytest.raises(MediaError, match="is a folder"):
            check_media_file(tmp_path)
        with pytest.raises(MediaError, match="is a device"):
            check_media_file("/dev/null")

    def test_a_url_is_never_fetched(self):
        """It is the name of a file that is not there."""
        with pytest.raises(MediaError, match="local files only"):
            check_media_file("http://127.0.0.1:9/video.mp4")

    def test_an_empty_file_is_refused(self, tmp_path):
        """Zero bytes are named as such."""
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(MediaError, match="0 bytes"):
            check_media_file(tmp_path / "empty.mp4")

    @pytest.mark.parametrize(
        "text", ["ffconcat version 1.0\nfile good.mp4\n", "#EXTM3U\n/etc/hostname\n", "plain text"]
    )
    def test_a_playlist_under_a_media_name_is_refused(self, tmp_path, text):
        """FFmpeg would follow it to other files."""
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(MediaError, match="not a media file that poise opens"):
            probe(tmp_path / "list.mp4")

    @pytest.mark.parametrize(
        ("content", "helps"),
        [(b"path,label\r\n\xc3\xa4.mp4,low\n", False), (b"PK\x03\x04\x14\x00", False), (b"\x01VOB\x00\x02", True)],
    )
    def test_converting_is_advised_where_it_may_help(self, tmp_path, content, helps):
        """Of an unknown film, not of a table or a ZIP."""
        (tmp_path / "odd.mp4").write_bytes(content)
        with pytest.raises(MediaError, match="not a media file that poise opens") as caught:
            check_media_file(tmp_path / "odd.mp4")
        assert ("ffmpeg" in str(caught.value)) == helps
        assert str(caught.value).endswith("." if not helps else "`.")

    def test_a_cut_off_header_is_an_error_of_the_file(self, tmp_path):
        """An MP4 whose index is lost cannot be opened, and the message says what to expect."""
        broken = cut_off(write_video(tmp_path / "good.mp4"), tmp_path / "broken.mp4", 0.5)
        with pytest.raises(MediaError, match="cannot be opened"):
            probe(broken)

    def test_a_file_with_nothing_to_encode_is_an_error(self, tmp_path):
        """Subtitles alone are no recording."""
        with av.open(str(tmp_path / "empty.wav"), "w") as container:
            container.add_stream("pcm_s16le", rate=16_000)
            container.start_encoding()
        with pytest.raises(MediaError, match="nothing to encode"):
            probe(tmp_path / "empty.wav")

    @pytest.mark.parametrize("name", ["ünïcode ß.mp4", "a 'quoted' name.mp4", "concat:a|b.mp4", "-dash.mp4", "%d.mp4"])
    def test_odd_names_are_only_names(self, tmp_path, name):
        """Nothing in a name is an instruction."""
        assert probe(write_video(tmp_path / name, seconds=0.4)).video is not None


class TestProbe:
    def test_both_streams_share_one_clock(self, tmp_path):
        """A sound track that starts late starts late on the clock, and the recording lasts until the later end."""
        found = probe(write_video(tmp_path / "late.mp4", sound_start_s=0.7))
        assert found.video.times_s[0] == 0.0
        assert found.audio.start_s == pytest.approx(0.7, abs=0.03)
        assert found.duration_s == pytest.approx(4.7, abs=0.05)

    def test_time_zero_is_the_earlier_stream(self, tmp_path):
        """A picture that starts late starts late on the clock too."""
        found = probe(write_video(tmp_path / "late.mp4", video_start_s=0.5))
        assert found.audio.start_s == pytest.approx(0.0, abs=1e-6)
        assert found.video.times_s[0] == pytest.approx(0.5, abs=0.03)

    @pytest.mark.parametrize(
        ("name", "codecs"),
        [
            ("a.mkv", {"sound_codec": "flac"}),
            ("a.webm", {"codec": "libvpx", "sound_codec": "libopus"}),
            ("a.avi", {"codec": "mpeg4", "sound_codec": "mp3"}),
            ("a.ts", {}),
            ("a.mov", {"codec": "mpeg4", "sound_codec": "pcm_s16le"}),
        ],
    )
    def test_every_container_tells_its_frames_and_ends(self, tmp_path, name, codecs):
        """Packets without timestamps are replaced by those of the decoded frames."""
        found = probe(write_video(tmp_path / name, **codecs))
        assert len(found.video.pts) == 100
        assert found.duration_s == pytest.approx(4.0, abs=0.1)
        assert found.truncation("video") == found.truncation("audio") == ""
        assert len(every_frame(tmp_path / name)) == 100

    def test_a_truncated_file_says_so(self, tmp_path):
        """An MP4 with its index in front opens, and holds less than it declares."""
        good = write_video(tmp_path / "good.mp4", options={"movflags": "faststart"})
        found = probe(cut_off(good, tmp_path / "cut.mp4", 0.6))
        assert "truncated: the file declares 4.00 s of video" in found.truncation("video")
        assert found.truncation("audio") != ""

    def test_missing_streams_are_named(self, tmp_path):
        """The reason is there for the outcome."""
        assert probe(write_video(tmp_path / "mute.mp4", sound=None)).without["audio"].startswith("no sound")
        assert probe(write_sound(tmp_path / "voice.wav", tone(1))).without["video"].startswith("no picture")


class TestFrames:
    def test_the_frame_on_screen_is_the_last_one_before(self, tmp_path):
        """At a frame's own time it is that frame; just before, the one before; before the first, the first."""
        track = probe(write_video(tmp_path / "a.mp4", frame_times_s=[0, 0.5, 1.0, 3.0], sound=None)).video
        times = np.array([-0.01, 0.0, 0.49, 0.5, 0.99, 2.9, 3.0, 9.0])
        assert frames_on_screen(times, track).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]

    def test_each_clip_gets_the_frames_of_its_times(self, tmp_path):
        """The grey of a frame tells its number."""
        path = write_video(tmp_path / "grey.mp4", seconds=4, fps=25, picture=grey(2), sound=None)
        found, _ = read_all(path, video=Grey(), clips=ClipSettings(window_s=2, hop_s=2, min_tail_s=1))
        times = [[0.25, 0.75, 1.25, 1.75], [2.25, 2.75, 3.25, 3.75]]
        for clip, expected in zip(found["video"], times, strict=True):
            numbers = np.floor(np.array(expected) * 25 + 1e-6)
            np.testing.assert_allclose(clip.data[:, 0], 2 * numbers, atol=2)
            np.testing.assert_allclose(clip.times_s, numbers / 25, atol=1e-6)

    def test_uneven_frame_rates_go_by_time(self, tmp_path):
        """Twenty frames in the first second and one a second later are not spread by number."""
        frame_times = [*np.arange(20) / 20, 1.0, 2.0, 3.0, 3.9]
        path = write_video(tmp_path / "vfr.mp4", frame_times_s=frame_times, picture=grey(5), sound=None)
        found, _ = read_all(path, video=Grey(), clips=ClipSettings(window_s=2, hop_s=2, min_tail_s=1))
        np.testing.assert_allclose(found["video"][0].data[:, 0], [25, 75, 100, 100], atol=3)

    def test_overlapping_clips_share_frames(self, tmp_path):
        """A frame of two clips is prepared once and is in both."""
        path = write_video(tmp_path / "grey.mp4", picture=grey(2), sound=None)
        prepared = []
        wanted = [np.array([0, 10, 20]), np.array([10, 20, 30]), np.array([20, 20, 40])]
        clips = dict(read_frames(probe(path), wanted, lambda f: prepared.append(1) or f[:1, 0, 0]))
        assert [np.round(np.stack(clips[i])[:, 0] / 2).astype(int).tolist() for i in range(3)] == [
            list(w) for w in wanted
        ]
        assert len(prepared) == 5

    @pytest.mark.parametrize("rotation", [90, 180, 270])
    def test_pictures_are_turned_upright(self, tmp_path, rotation):
        """Both decoders turn a picture as its file asks."""
        plain = every_frame(write_video(tmp_path / "plain.mp4", seconds=0.4, sound=None))
        path = write_video(tmp_path / "turned.mp4", seconds=0.4, sound=None, rotation=rotation)
        turned = every_frame(path)
        assert turned.shape[1:3] == (plain.shape[1:3] if rotation == 180 else plain.shape[2:0:-1])
        np.testing.assert_array_equal(turned, np.rot90(plain, k=-rotation // 90, axes=(1, 2)))
        np.testing.assert_array_equal(turned, every_frame(path, "decord"))

    @pytest.mark.parametrize(("degrees", "turns"), [(40, 0), (-40, 0), (60, 1), (-60, 3), (120, 1), (-120, 3)])
    def test_odd_angles_are_turned_to_the_nearest_quarter(self, tmp_path, degrees, turns):
        """However a phone was held, both ways alike."""
        plain = every_frame(write_video(tmp_path / "plain.mp4", seconds=0.2, sound=None))
        turned = every_frame(write_video(tmp_path / "turned.mp4", seconds=0.2, sound=None, rotation=degrees))
        np.testing.assert_array_equal(turned, np.rot90(plain, k=-turns, axes=(1, 2)))

    def test_frames_are_turned_clockwise_by_the_angle_a_player_shows(self, tmp_path):
        """The top of the stored picture is on the right after 90 degrees clockwise."""
        half = np.zeros((64, 96, 3), np.uint8)
        half[:32] = 255
        path = write_video(
            tmp_path / "turned.mp4", seconds=0.2, sound=None, picture=lambda _number, _time: half, rotation=90
        )
        frame = every_frame(path)[0]
        assert frame[:, 40:].mean() > 200
        assert frame[:, :24].mean() < 50

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.mp4", {}),
            ("a.mkv", {"codec": "libx265", "sound_codec": "flac"}),
            ("a.mp4", {"codec": "mpeg4"}),
            ("a.webm", {"codec": "libvpx", "sound_codec": "libopus"}),
            ("late.mp4", {"video_start_s": 0.5}),
            ("vfr.mp4", {"frame_times_s": [0, 0.04, 0.5, 0.6, 2.0, 3.5]}),
            ("b.mp4", {"codec_options": {"x264-params": "bframes=8:b-adapt=0:b-pyramid=normal:open-gop=1:keyint=12"}}),
            ("sparse.mp4", {"seconds": 8, "keyframe_every": 10_000}),
            ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
            ("a.avi", {"codec": "mpeg4", "sound_codec": "mp3"}),
            ("a.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus"}),
            ("a.wmv", {"codec": "wmv2", "sound": None}),
            ("a.flv", {"codec": "flv", "sound_codec": "mp3", "sample_rate_hz": 44_100}),
            ("a.mkv", {"codec": "ffv1", "sound_codec": "flac"}),
            ("large.mp4", {"seconds": 1, "size": (1280, 720)}),
        ],
    )
    def test_both_decoders_return_identical_pixels(self, tmp_path, name, options):
        """PyAV and decord agree bit for bit, through clips too."""
        path = write_video(tmp_path / name, **options)
        np.testing.assert_array_equal(every_frame(path), every_frame(path, "decord"))
        by_pyav, _ = read_all(path, video=Grey())
        by_decord, _ = read_all(path, video=Grey(), decoder="decord")
        assert len(by_pyav["video"]) == len(by_decord["video"]) == 1
        np.testing.assert_array_equal(by_pyav["video"][0].data, by_decord["video"][0].data)
        np.testing.assert_array_equal(by_pyav["video"][0].times_s, by_decord["video"][0].times_s)

    def test_both_decoders_take_the_best_of_two_pictures(self, tmp_path):
        """The best stream is the one that the file marks as its default here, and it is not the first."""
        path = tmp_path / "two.mp4"
        noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            streams = []
            for pixels in (np.zeros((64, 64, 3), np.uint8), noise):
                stream = container.add_stream("libx264", rate=25)
                stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
                streams.append((stream, pixels))
            streams[1][0].disposition = Disposition.default
            for number in range(25):
                for stream, pixels in streams:
                    frame = av.VideoFrame.from_ndarray(np.roll(pixels, 7 * number, axis=1), format="rgb24")
                    frame.pts = number
                    container.mux(stream.encode(frame))
            for stream, _ in streams:
                container.mux(stream.encode(None))
        assert probe(path).video.stream == 1
        assert every_frame(path).shape == (25, 96, 128, 3)
        np.testing.assert_array_equal(every_frame(path), every_frame(path, "decord"))

    def test_damage_in_the_middle_costs_only_the_clips_it_touches(self, tmp_path):
        """What cannot be decoded is left out, never filled."""
        good = write_video(tmp_path / "good.mp4", seconds=8, sound=None, keyframe_every=25)
        data = bytearray(good.read_bytes())
        middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
        data[middle : middle + 3000] = bytes(3000)
        (tmp_path / "bad.mp4").write_bytes(bytes(data))
        clips = ClipSettings(window_s=1, hop_s=1, min_tail_s=0.5)
        whole, _ = read_all(good, video=Grey(), clips=clips)
        found, reader = read_all(tmp_path / "bad.mp4", video=Grey(), clips=clips)
        kept = {clip.start_s: clip.data for clip in found["video"]}
        assert 4 <= len(kept) < len(whole["video"]) == 8
        assert "damaged" in reader.notes["video"].flags
        assert "clips of picture could not be decoded" in reader.notes["video"].reason
        for clip in whole["video"]:
            if clip.start_s in kept and clip.start_s < 3:
                np.testing.assert_array_equal(kept[clip.start_s], clip.data)

    @pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "mpeg2video"), ("a.mov", "mpeg4")])
    def test_damage_that_a_decoder_could_hide_is_told(self, tmp_path, name, codec):
        """Its own repair of a picture is none: a clip is as it was, or left out, and the recording is flagged."""
        rng = np.random.default_rng(0)
        noisy = rng.integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
        options = {"preset": "ultrafast", "x264-params": "cabac=0"} if codec == "libx264" else {}
        good = write_video(
            tmp_path / name, seconds=8, sound=None, keyframe_every=25, codec=codec, codec_options=options,
            picture=lambda number, _: noisy[number % 8], time_base_per_frame=1,
        )  # fmt: skip
        data = bytearray(good.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4096] = bytes(4096)
        bad = tmp_path / f"bad-{name}"
        bad.write_bytes(bytes(data))
        clips = ClipSettings(window_s=1, hop_s=1, min_tail_s=0.5)
        whole = {clip.start_s: clip.data for clip in read_all(good, video=Grey(), clips=clips)[0]["video"]}
        found, reader = read_all(bad, video=Grey(), clips=clips)
        assert 5 <= len(found["video"]) < 8
        assert "damaged" in reader.notes["video"].flags
        for clip in found["video"]:
            np.testing.assert_array_equal(clip.data, whole[clip.start_s])

    @pytest.mark.parametrize("late_s", [3.0, 5 * 3600.0])
    def test_one_wild_timestamp_costs_the_clips_that_need_its_frame(self, tmp_path, late_s):
        """All others keep theirs."""
        good = write_video(tmp_path / "good.mp4", seconds=8, fps=10, sound=None, picture=grey(2))

        def change(number, packet):
            if number == 12:
                packet.pts += round(late_s / packet.time_base)

        path = remux(good, tmp_path / "wild.mp4", change)
        clips = ClipSettings(window_s=1, hop_s=1, min_tail_s=0.5)
        whole = {clip.start_s: clip.data for clip in read_all(good, video=Grey(), clips=clips)[0]["video"]}
        found = {clip.start_s: clip.data for clip in read_all(path, video=Grey(), clips=clips)[0]["video"]}
        same = [start_s for start_s, data in whole.items() if np.array_equal(found.get(start_s), data)]
        assert len(same) >= 6

    def test_a_picture_that_changes_its_size_loses_the_clip_in_which_it_does(self, tmp_path):
        """Clips before and after are whole."""
        parts = [
            write_video(tmp_path / "wide.ts", seconds=6, size=(128, 96), sound=None),
            write_video(tmp_path / "high.ts", seconds=6, size=(96, 128), sound=None, video_start_s=6),
        ]
        clips = ClipSettings(window_s=4, hop_s=4, min_tail_s=1)
        found, reader = read_all(join(tmp_path / "both.ts", *parts), video=Grey(), clips=clips)
        assert [round(clip.start_s) for clip in found["video"]] == [0, 8]
        assert reader.notes["video"].reason == "1 clip that the picture's size changes in is left out"
        assert "resized" in reader.notes["video"].flags

    def test_timestamps_that_begin_anew_are_told(self, tmp_path):
        """Two recordings one behind the other, as if both began at 0, are not passed off as the first one."""
        parts = [write_video(tmp_path / f"{number}.ts", seconds=4) for number in range(2)]
        found = probe(join(tmp_path / "both.ts", *parts))
        assert "the timestamps of video go back at" in found.restarts("video")
        assert "the timestamps of audio go back at" in found.restarts("audio")
        assert probe(parts[0]).restarts("video") == probe(parts[0]).restarts("audio") == ""
        _, reader = read_all(tmp_path / "both.ts")
        assert "restarts" in reader.notes["audio"].flags & reader.notes["video"].flags

    def test_a_picture_that_comes_back_late_is_seen_from_then_on(self, tmp_path):
        """A frame from minutes ago stands for nothing, also where a new one comes within the clip."""
        path = write_video(tmp_path / "a.mp4", frame_times_s=[0, 1, *(104 + np.arange(240) / 10)], sound=None)
        found, reader = read_all(path, video=Grey())
        clip = next(clip for clip in found["video"] if clip.start_s == 100)
        assert clip.times_s[0] >= 104
        assert not any(60 < clip.start_s < 100 for clip in found["video"])
        assert "picture-gap" in reader.notes["video"].flags

    def test_a_truncated_file_keeps_its_whole_clips(self, tmp_path):
        """Clips that were decoded completely count; the rest is said to be missing."""
        good = write_video(tmp_path / "good.mp4", seconds=8, options={"movflags": "faststart"})
        clips = ClipSettings(window_s=1, hop_s=1, min_tail_s=0.5)
        found, reader = read_all(cut_off(good, tmp_path / "cut.mp4", 0.6), clips=clips)
        assert 2 <= len(found["video"]) <= 6
        assert "truncated" in reader.notes["video"].flags
        assert "truncated" in reader.notes["audio"].flags

    def test_a_file_without_picture_has_no_frames(self, tmp_path):
        """Reading frames of a sound file gives none."""
        assert list(read_frames(probe(write_sound(tmp_path / "a.wav", tone(1))), [], lambda frame: frame)) == []


class TestDecord:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("narrow.mp4", {"size": (48, 96)}),
            ("fields.mp4", {"codec_options": {"x264-params": "interlaced=1"}}),
            ("odd.webm", {"codec": "libvpx-vp9", "size": (97, 75)}),
            ("ten.mp4", {"codec_options": {"profile": "high10"}, "pix_fmt": "yuv420p10le"}),
        ],
    )
    def test_other_pixels_than_those_of_pyav_are_refused(self, tmp_path, name, options):
        """The first frames tell; PyAV itself reads all of it."""
        path = write_video(tmp_path / name, sound=None, **options)
        with pytest.raises(
            MediaError, match=r"(different pixels in frame \d|expected \(96, 48, 3\)). Use --decoder pyav"
        ):
            every_frame(path, "decord")
        assert len(every_frame(path)) == 100

    def test_a_damaged_beginning_cannot_be_compared(self, tmp_path):
        """Without PyAV's first frames decord is not believed."""
        path = write_video(tmp_path / "a.mp4", sound=None)
        data = bytearray(path.read_bytes())
        data[data.index(b"mdat") + 4 : data.index(b"mdat") + 1500] = bytes(1496)
        path.write_bytes(bytes(data))
        with pytest.raises(MediaError, match="its first frames are damaged"):
            every_frame(path, "decord")

    def test_what_an_edit_list_hides_is_refused(self, tmp_path):
        """Decord would show the frames before time 0, and number all others wrongly."""
        path = write_video(tmp_path / "cut.mp4", sound=None, video_start_s=-0.2)
        assert len(every_frame(path)) == 95
        with pytest.raises(MediaError, match="decord sees 100 frames, expected 95"):
            every_frame(path, "decord")

    def test_what_decord_cannot_open_is_an_error_of_the_file(self, tmp_path):
        """Its own exceptions do not escape."""
        good = write_video(tmp_path / "good.mp4", seconds=8, options={"movflags": "faststart"}, sound=None)
        with pytest.raises(MediaError, match="decord .* Use --decoder pyav"):
            every_frame(cut_off(good, tmp_path / "cut.mp4", 0.5), "decord")

    def test_it_is_optional(self, tmp_path, monkeypatch):
        """Without decord the message names PyAV."""
        path = write_video(tmp_path / "a.mp4", sound=None)
        monkeypatch.setitem(sys.modules, "decord", None)
        with pytest.raises(MissingDependencyError, match="--decoder pyav"):
            every_frame(path, "decord")

    def test_an_unknown_decoder_is_refused(self):
        """The known ones are listed."""
        with pytest.raises(ExtractSettingsError, match="pyav, decord"):
            check_decoder("opencv")


class TestPassingOver:
    """Frames that no clip needs are not decoded where a keyframe lets decoding begin later."""

    @pytest.mark.parametrize(
        ("name", "codec", "options"),
        [
            ("closed.mp4", "libx264", {}),
            ("open.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:scenecut=0:keyint=10"}),
            ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}),
            ("flat.mp4", "libx264", {"x264-params": "bframes=8:b-adapt=0:b-pyramid=none:scenecut=0:keyint=10"}),
            ("fields.mp4", "libx264", {"x264-params": "interlaced=1:bframes=3:b-adapt=0"}),
            ("hevc.mp4", "libx265", {"x265-params": "bframes=4:b-adapt=0:open-gop=1:keyint=10:log-level=none"}),
            ("a.webm", "libvpx", {}),
            ("a.mkv", "mpeg4", {}),
            ("every.mkv", "ffv1", {}),
            ("a.ts", "libx264", {}),
            ("a.avi", "mpeg4", {}),
        ],
    )
    @pytest.mark.parametrize("far_s", [0.5, 10.0])
    def test_changes_no_pixel(self, tmp_path, monkeypatch, name, codec, options, far_s):
        """Over every codec and kind of keyframe, with and without seeking."""
        monkeypatch.setattr("poise.extract.media.decode.FAR_S", far_s)
        path = write_video(
            tmp_path / name, seconds=12, codec=codec, keyframe_every=10, sound=None, codec_options=options
        )
        found, all_frames = probe(path), every_frame(path)
        last = len(found.video.pts) - 1
        wanted = [np.array([3, 4, 5]), np.array([97, 98]), np.array([100, 131]), np.array([last - 1, last])]
        got = dict(read_frames(found, wanted, lambda frame: frame))
        assert sorted(got) == [0, 1, 2, 3]
        for number, indices in enumerate(wanted):
            np.testing.assert_array_equal(got[number], all_frames[indices])

    def test_decodes_a_part_of_a_sparse_plan(self, tmp_path):
        """Two frames of three hundred cost two groups of pictures."""
        found = probe(write_video(tmp_path / "a.mp4", seconds=12, keyframe_every=10, sound=None))
        wanted, seen = [np.array([3]), np.array([255])], []
        clips, leap = _OpenClips(wanted), _Leap(found.video)
        for index, frame in _decoded_frames(found, found.video, leap, clips.next_after):
            if frame is not None:
                seen.append(index)
                if index == 255:
                    break
                if clips.wants(index):
                    clips.put(index, np.zeros(1))
        assert leap.n_made == 1
        assert len(seen) < 30

    def test_frames_that_none_refers_to_are_left_out(self, tmp_path):
        """Between two frames that are needed a decoder shows less than all."""
        options = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none:scenecut=0"}
        found = probe(write_video(tmp_path / "a.mp4", seconds=6, sound=None, codec_options=options))
        clips = _OpenClips([np.arange(0, 150, 10)])
        leap = _Leap(found.video)
        shown = [index for index, _ in _decoded_frames(found, found.video, leap, clips.next_after)]
        assert set(range(0, 150, 10)) <= set(shown)
        assert len(shown) < 75
        assert leap.n_skipped > 75

    def test_damage_after_a_leap_costs_only_the_clips_it_touches(self, tmp_path):
        """What cannot be found by leaping is looked for frame by frame before it is given up."""
        path = write_video(tmp_path / "a.mp4", seconds=12, keyframe_every=10, sound=None)
        found = probe(path)
        lying = dataclasses.replace(found.video, keyframes=found.video.pts)  # every frame is said to be a keyframe
        wanted = [np.array([3]), np.array([104, 105]), np.array([257])]
        got = dict(read_frames(dataclasses.replace(found, video=lying), wanted, lambda frame: frame))
        all_frames = every_frame(path)
        for number, indices in enumerate(wanted):
            np.testing.assert_array_equal(got[number], all_frames[indices])


def whole_sound(path):
    """Read to the end."""
    sound = SoundReader(probe(path))
    sound.read_until(np.inf)
    return sound


def samples_of(sound):
    """All of it."""
    return sound.cut(sound.start_s, sound.end_s)


class TestSound:
    def test_a_late_track_is_placed_by_its_timestamp(self, tmp_path):
        """A click keeps its time on the recording's clock."""
        samples = np.zeros(48_000 * 3, np.float32)
        samples[48_000:48_100] = 0.9
        path = write_video(tmp_path / "late.mkv", sound=samples, sound_codec="flac", sound_start_s=0.7)
        sound = whole_sound(path)
        assert sound.start_s == pytest.approx(0.7, abs=0.002)
        click_s = sound.start_s + np.argmax(np.abs(samples_of(sound))) / 16_000
        assert click_s == pytest.approx(1.7, abs=0.003)

    def test_samples_that_lie_over_others_are_left_out(self, tmp_path):
        """What follows an overlap keeps its time on the recording's clock."""
        low, high = (tone(10, sample_rate_hz=48_000, hz=hz) for hz in (220, 1500))
        high[7 * 48_000 :] = 0
        first = write_video(tmp_path / "first.ts", seconds=10, sound=low)
        second = write_video(tmp_path / "second.ts", seconds=10, sound=high, video_start_s=8, sound_start_s=8)
        sound = whole_sound(join(tmp_path / "both.ts", first, second))
        assert sound.overlap_s == pytest.approx(2, abs=0.15)
        assert sound.end_s == pytest.approx(18, abs=0.1)
        loud = np.abs(sound.cut(10.5, 17.5)).reshape(-1, 1600).max(axis=1) > 0.05  # tenths of a second
        assert loud.tolist() == [True] * 45 + [False] * 25

    def test_a_clock_that_runs_fast_keeps_sound_and_picture_together(self, tmp_path):
        """Sound whose timestamps fall behind its samples loses a tenth of a second now and then, and never drifts."""
        samples = np.zeros(40 * 48_000, np.float32)
        samples[::48_000] = 0.9
        good = write_sound(tmp_path / "good.mkv", samples, sample_rate_hz=48_000, codec="pcm_s16le")
        path = tmp_path / "fast.mkv"
        with av.open(str(good)) as given, av.open(str(path), "w") as container:
            stream = container.add_stream_from_template(given.streams.audio[0])
            for packet in given.demux(audio=0):
                if packet.dts is not None:
                    packet.pts = packet.dts = round(packet.pts * 0.95)
                    packet.stream = stream
                    container.mux(packet)
        sound = whole_sound(path)
        clicks_s = sound.start_s + np.flatnonzero(samples_of(sound) > 0.15) / 16_000
        expected_s = 0.95 * np.arange(40)
        assert all(np.abs(expected_s - click_s).min() < 0.12 for click_s in clicks_s)
        assert len(clicks_s) > 30
        assert sound.overlap_s == pytest.approx(2, abs=0.2)

    def test_channels_are_averaged_before_resampling(self, tmp_path):
        """Stereo of one signal has that signal's level; ffmpeg's downmix is 3 dB louder."""
        mono = tone(3, sample_rate_hz=44_100)
        path = write_sound(tmp_path / "a.wav", np.stack([mono, mono]), sample_rate_hz=44_100)
        sound = whole_sound(path)
        expected = soxr.resample(mono, 44_100, 16_000, quality="HQ")
        assert len(samples_of(sound)) == pytest.approx(len(expected), abs=1)
        np.testing.assert_allclose(samples_of(sound)[: len(expected)], expected[: len(samples_of(sound))], atol=1e-5)

    @pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
    def test_every_sample_format_has_the_same_scale(self, tmp_path, codec):
        """Full scale is 1 whatever the file stores."""
        sound = whole_sound(write_sound(tmp_path / "a.wav", tone(1, sample_rate_hz=16_000, level=0.5), codec=codec))
        np.testing.assert_allclose(samples_of(sound), tone(1, sample_rate_hz=16_000, level=0.5), atol=0.01)

    def test_values_that_are_no_sound_are_replaced_and_flagged(self, tmp_path):
        """NaN, infinity and absurd values reach no encoder."""
        samples = tone(4, sample_rate_hz=16_000)
        samples[1000], samples[2000], samples[3000] = np.nan, np.inf, 1e30
        found, reader = read_all(write_sound(tmp_path / "bad.wav", samples), audio=Loudness())
        assert np.isfinite(found["audio"][0].data).all()
        assert np.abs(found["audio"][0].data).max() <= 4
        assert "sound-sanitised" in reader.notes["audio"].flags

    def test_a_silent_track_is_a_missing_modality(self, tmp_path):
        """Silence from end to end is not encoded."""
        path = write_video(tmp_path / "silent.mp4", sound=np.zeros(4 * 48_000, np.float32))
        found, reader = read_all(path)
        assert found["audio"] == []
        assert reader.notes["audio"].reason == "silent"
        assert len(found["video"]) == 1

    def test_a_gap_in_the_timestamps_stays_a_gap(self, tmp_path):
        """Late samples are placed by their time, and the clip is flagged."""
        path = tmp_path / "gap.mkv"
        with av.open(str(path), "w") as container:
            audio = container.add_stream("pcm_s16le", rate=16_000)
            audio.layout = "mono"
            for number in range(60):
                data = np.full((1, 1600), 8000, np.int16)
                frame = av.AudioFrame.from_ndarray(data, format="s16", layout="mono")
                frame.sample_rate = 16_000
                frame.pts = number * 1600 + (16_000 if number >= 30 else 0)
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        sound = whole_sound(path)
        assert sound.gaps == [pytest.approx((3.0, 4.0), abs=0.01)]
        assert sound.end_s == pytest.approx(7.0, abs=0.01)
        assert np.abs(sound.cut(3.1, 3.9)).max() == 0
        assert np.abs(sound.cut(2.5, 4.5)[:7_000]).min() > 0.1
        assert len(sound.cut(2.5, 4.5)) == 32_000
        _, reader = read_all(path, audio=Loudness())
        assert "sound-gap" in reader.notes["audio"].flags

    def test_equal_windows_have_equally_many_samples(self, tmp_path):
        """Ten seconds are 160,000 samples, so that clips can share a batch."""
        found, _ = read_all(write_sound(tmp_path / "a.wav", tone(24, sample_rate_hz=16_000)), audio=Loudness())
        assert [len(clip.data) for clip in found["audio"]] == [160_000, 160_000, 64_000]

    @pytest.mark.parametrize("silent_s", [0, 7])
    def test_what_is_read_piece_by_piece_is_what_is_read_at_once(self, tmp_path, silent_s):
        """Overlapping clips, another rate, and silence before the first word."""
        samples = tone(24, sample_rate_hz=44_100)
        samples[: silent_s * 44_100] = 0
        path = write_sound(tmp_path / "a.wav", samples, sample_rate_hz=44_100)
        whole = samples_of(whole_sound(path))
        found, _ = read_all(path, audio=Loudness(), clips=ClipSettings(window_s=5, hop_s=2, min_tail_s=1))
        assert len(found["audio"]) == 11
        for clip in found["audio"]:
            first = round(clip.start_s * 16_000)
            np.testing.assert_array_equal(clip.data, whole[first : first + len(clip.data)])

    @pytest.mark.slow
    def test_two_hours_take_no_more_memory_than_ten_minutes(self, tmp_path):
        """Sound and timestamps are read in pieces."""
        code = (
            "import sys\n"
            "from poise.extract.clips import ClipSettings\n"
            "from poise.extract.reading import RecordingReader\n"
            "from tests.extract.plain_encoders import Grey, Loudness\n"
            "reader = RecordingReader(sys.argv[1], {'video': Grey(), 'audio': Loudness()}, clips=ClipSettings())\n"
            "n_clips = sum(1 for _ in reader.read())\n"
            # not getrusage, which counts what the parent had when it forked
            "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
            "print(n_clips, peak.split()[1])\n"
        )
        peaks = {}
        for minutes in (10, 120):
            sound = np.tile(tone(60, sample_rate_hz=8_000), minutes)
            path = write_video(
                tmp_path / f"{minutes}.mkv",
                seconds=60 * minutes,
                fps=5,
                sound=sound,
                sample_rate_hz=8_000,
                sound_codec="pcm_s16le",
            )
            done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
            n_clips, peaks[minutes] = map(int, done.stdout.split())
            assert n_clips == 2 * 6 * minutes
        assert peaks[120] - peaks[10] < 20_000


class TestClipsOfAFile:
    def test_a_modality_has_a_clip_only_where_its_stream_is(self, tmp_path):
        """Sound that covers only the second half has clips only there, at the same spans as the picture."""
        path = write_video(tmp_path / "half.mp4", seconds=8, sound=tone(4), sound_start_s=4.0)
        found, _ = read_all(path, clips=ClipSettings(window_s=2, hop_s=2, min_tail_s=1))
        assert [(clip.start_s, clip.end_s) for clip in found["video"]] == [(0, 2), (2, 4), (4, 6), (6, 8)]
        assert [(clip.start_s, clip.end_s) for clip in found["audio"]] == [(4, 6), (6, 8)]

    def test_what_is_encoded_is_spread_over_the_covered_part(self, tmp_path):
        """A picture that starts in the middle of a clip is looked at from its start on."""
        path = write_video(tmp_path / "late.mp4", seconds=6, video_start_s=4.0, sound=tone(10))
        found, _ = read_all(path)
        assert found["video"][0].times_s[0] == pytest.approx(4 + 6 / 8, abs=0.05)

    def test_the_plan_does_not_depend_on_which_modality_is_read(self, tmp_path):
        """Spans are those of the recording, not of one stream."""
        path = write_video(tmp_path / "late.mp4", sound_start_s=0.7)
        both, _ = read_all(path)
        alone, _ = read_all(path, audio=Loudness())
        assert both["audio"][0].end_s == alone["audio"][0].end_s == both["video"][0].end_s

    def test_a_short_recording_is_one_flagged_clip(self, tmp_path):
        """Shorter than the shortest tail, it is encoded as a whole."""
        found, reader = read_all(write_video(tmp_path / "short.mp4", seconds=1.0))
        assert len(found["video"]) == len(found["audio"]) == 1
        assert "short" in reader.notes["video"].flags

    def test_a_stream_too_short_for_a_clip_is_missing(self, tmp_path):
        """Half a second of sound in eight seconds of picture is no modality, and the reason says so."""
        _, reader = read_all(write_video(tmp_path / "a.mp4", seconds=8, sound=tone(0.5)))
        assert "too short for a clip" in reader.notes["audio"].reason
        _, reader = read_all(write_video(tmp_path / "b.mp4", seconds=0.5, sound=tone(8)))
        assert "too short for a clip" in reader.notes["video"].reason

    def test_a_picture_that_stops_for_minutes_is_a_gap(self, tmp_path):
        """One frame with a broken timestamp does not stand for hours of picture."""
        path = write_video(tmp_path / "a.mp4", frame_times_s=[*np.arange(50) / 25, 400.0], sound=None)
        found, reader = read_all(path, video=Grey())
        assert [clip.start_s for clip in found["video"]][-3:] == [40, 50, 60]
        assert "33 clips that the picture does not change in for a minute are left out" in reader.notes["video"].reason
        assert "picture-gap" in reader.notes["video"].flags

    def test_a_decoder_that_fails_costs_only_its_modality(self, tmp_path):
        """Sound is kept when decord refuses the picture."""
        path = write_video(tmp_path / "narrow.mp4", size=(48, 96))
        found, reader = read_all(path, decoder="decord")
        assert found["video"] == []
        assert "unreadable" in reader.notes["video"].flags
        assert len(found["audio"]) == 1
