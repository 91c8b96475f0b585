"""What a media file holds, found by reading its packets once: streams, timestamps, and where they end.

Nothing here makes pictures or sound of them; decoding lives in :mod:`poise.extract.media.decode` and
:mod:`poise.extract.media.sound`.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from numpy.typing import NDArray

from poise.errors import MediaError
from poise.extract.media.heartbeat import beat
from poise.extract.media.opening import check_media_file, open_media
from poise.store.schema import Modality

MAX_LOST_SHARE = 0.02
MAX_LOST_S = 0.1

MAX_BACK_S = 1.0
MAX_BEHIND = 10
"""So many packets in a row that are so far behind the latest timestamp are a new beginning, and no reordering."""

_DECLARE_DURATION = {"mov", "matroska", "avi", "wav", "flac", "w64"}
_MAX_FIRST_PACKETS = 200  # a sound track that gives nothing in this many packets gives nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoTrack:
    """The picture of a recording.

    Attributes
    ----------
    stream : int
        Index of the stream in the file.
    pts : ndarray of shape (n_frames,), int64
        Presentation timestamps in the stream's own unit, ascending, each once.
    times_s : ndarray of shape (n_frames,), float64
        The same in seconds on the recording's clock.
    keyframes : ndarray of shape (n_keyframes,), int64
        Those of them from which decoding can begin; none where the file does not tell.
    end_s : float
        When the last frame goes, in seconds on the recording's clock.
    declared_end_s : float or None
        When the file says that it goes.
    width, height : int
        Size of the coded picture in pixels, before any rotation.
    """

    stream: int
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    keyframes: NDArray[np.int64]
    end_s: float
    declared_end_s: float | None
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """The sound of a recording.

    Attributes
    ----------
    stream : int
        Index of the stream in the file.
    start_s, end_s : float
        Span of the track in seconds on the recording's clock.
    declared_end_s : float or None
        When the file says that it ends.
    """

    stream: int
    start_s: float
    end_s: float
    declared_end_s: float | None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One media file.

    Attributes
    ----------
    path : Path
        The file, absolute.
    origin_s : float
        The container's time at which the recording's clock shows 0.
    duration_s : float
        Length of the recording: until the later of its two streams ends.
    video : VideoTrack or None
        The picture.
    audio : AudioTrack or None
        The sound.
    without : dict of str to str
        Why a modality is not there.
    restarted_s : dict of str to float
        Where timestamps of a modality begin anew, as where two recordings were put one behind the other: when that is
        in seconds of the container's clock.
    """

    path: Path
    origin_s: float
    duration_s: float
    video: VideoTrack | None
    audio: AudioTrack | None
    without: dict[Modality, str] = field(default_factory=dict)
    restarted_s: dict[Modality, float] = field(default_factory=dict)

    def restarts(self, modality: Modality) -> str:
        """Where the timestamps of a stream begin anew; empty if they do not."""
        if modality not in self.restarted_s:
            return ""
        time_s = self.restarted_s[modality] - self.origin_s
        return (
            f"the timestamps of {modality} go back at {time_s:.2f} s: what is behind that may lie over what is before"
        )

    def truncation(self, modality: Modality) -> str:
        """How much of a stream is not in the file although the file says it is; empty if nothing much."""
        track = self.video if modality == "video" else self.audio
        if track is None or track.declared_end_s is None:
            return ""
        lost_s = track.declared_end_s - track.end_s
        if lost_s <= max(MAX_LOST_SHARE * track.declared_end_s, MAX_LOST_S):
            return ""
        return f"truncated: the file declares {track.declared_end_s:.2f} s of {modality} and holds {track.end_s:.2f} s"


@dataclass
class _Scan:
    """What the packets of one stream said, in seconds of the container's clock."""

    stream: Any
    pts: array[int] = field(default_factory=lambda: array("q"))
    keyframes: array[int] = field(default_factory=lambda: array("q"))
    last_pts: int | None = None
    last_duration: int = 0
    total_duration: int = 0
    n_without_pts: int = 0
    behind: int = 0
    restarted_s: float | None = None
    first_s: float | None = None

    def add(self, packet: Packet[Any]) -> None:
        self.total_duration += packet.duration or 0
        if packet.pts is None:
            self.n_without_pts += 1
        elif self.last_pts is None or packet.pts > self.last_pts:
            self.last_pts, self.last_duration, self.behind = packet.pts, packet.duration or 0, 0
        elif self.seconds(self.last_pts - packet.pts) > MAX_BACK_S:
            self.behind += 1
            if self.behind == MAX_BEHIND and self.restarted_s is None:
                self.restarted_s = self.seconds(self.last_pts)

    def seconds(self, value: int) -> float:
        return value * self.unit_s

    @property
    def unit_s(self) -> float:
        """Length of one tick of the stream's clock."""
        return float(self.stream.time_base.numerator / self.stream.time_base.denominator)


def probe(path: str | os.PathLike[str]) -> Probe:
    """Read the packets of a media file once, without decoding more than the first sound.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Probe

    Raises
    ------
    MediaError
        The file cannot be opened, or has neither picture nor sound.
    """
    checked = check_media_file(path)
    with closing(open_media(checked)) as container:
        without: dict[Modality, str] = {}
        video = _choose(container, "video", without)
        audio = _choose(container, "audio", without)
        scans = {scan.stream.index: scan for scan in (video, audio) if scan is not None}
        if scans:
            _scan(container, scans, audio)
        if video is not None and video.n_without_pts:
            video.pts, video.keyframes = _decoded_pts(checked, video.stream.index), array("q")
        video, audio = _with_content(video, audio, without)
        if video is None and audio is None:
            raise MediaError(
                f"{checked} has nothing to encode: {'; '.join(without.values())}. Expected a picture or a sound stream."
            )
        return _build(checked, container, video, audio, without)


def packets(container: InputContainer, streams: Sequence[Any]) -> Iterator[Packet[Any]]:
    """Packets of some streams until the file ends or breaks off."""
    source = container.demux(streams)
    while True:
        try:
            packet = next(source)
        except (StopIteration, av.error.FFmpegError):
            return
        except IndexError:
            source = container.demux(streams)  # PyAV does not know streams that begin in the middle: read on
            continue
        beat()
        yield packet


def frame_pts(frame: Any) -> int | None:
    """When a decoded frame is to be shown, in the stream's unit."""
    pts = frame.pts if frame.pts is not None else frame.dts
    return None if pts is None else int(pts)


def _choose(container: InputContainer, modality: Modality, without: dict[Modality, str]) -> _Scan | None:
    stream: Any = container.streams.best(modality)
    what = "picture" if modality == "video" else "sound"
    if stream is not None and stream.disposition & Disposition.attached_pic:
        stream = None  # cover art
    if stream is None:
        without[modality] = f"no {what}: the file has no {modality} stream"
    elif stream.codec_context is None:
        without[modality] = f"no {what}: this ffmpeg cannot decode the {modality} stream"
    else:
        return _Scan(stream)
    return None


def _scan(container: InputContainer, scans: dict[int, _Scan], audio: _Scan | None) -> None:
    tries = _MAX_FIRST_PACKETS
    for packet in packets(container, [scan.stream for scan in scans.values()]):
        if packet.size == 0:
            continue
        scan = scans[packet.stream_index]
        if scan is audio and audio.first_s is None and tries:
            tries -= 1
            _find_first_sound(packet, audio)
        if packet.is_discard:
            continue
        scan.add(packet)
        if scan is not audio and packet.pts is not None:
            scan.pts.append(packet.pts)
            if packet.is_keyframe:
                scan.keyframes.append(packet.pts)


def _find_first_sound(packet: Packet[Any], scan: _Scan) -> None:
    """Codecs drop the samples that only fill the encoder's delay, so only the first decoded frame tells the start."""
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return
    if frames:
        scan.first_s = float(frames[0].time) if frames[0].time is not None else 0.0


def _decoded_pts(path: Path, index: int) -> array[int]:
    """Timestamps of the frames themselves, for containers (AVI) whose packets have none."""
    found = array("q")
    with closing(open_media(path)) as container:
        stream = container.streams[index]
        for packet in packets(container, [stream]):
            try:
                found.extend(pts for frame in packet.decode() if (pts := frame_pts(frame)) is not None)
            except av.error.FFmpegError:
                continue
    return found


def _with_content(
    video: _Scan | None, audio: _Scan | None, without: dict[Modality, str]
) -> tuple[_Scan | None, _Scan | None]:
    if video is not None and not video.pts:
        without["video"] = "no picture: no frame of the video stream can be read"
        video = None
    if audio is not None and audio.first_s is None:
        without["audio"] = "no sound: no sample of the audio stream can be read"
        audio = None
    return video, audio


def _build(
    path: Path, container: InputContainer, video: _Scan | None, audio: _Scan | None, without: dict[Modality, str]
) -> Probe:
    pts = np.unique(np.array(video.pts, dtype=np.int64)) if video is not None else np.empty(0, np.int64)
    starts = [video.seconds(int(pts[0]))] if video is not None else []
    starts += [audio.first_s] if audio is not None and audio.first_s is not None else []
    origin_s = min(starts)
    video_track = audio_track = None
    if video is not None:
        video_track = VideoTrack(
            stream=video.stream.index,
            pts=pts,
            times_s=pts.astype(np.float64) * video.unit_s - origin_s,
            keyframes=np.unique(np.array(video.keyframes, dtype=np.int64)),
            end_s=video.seconds(int(pts[-1]) + _last_duration(video, pts)) - origin_s,
            declared_end_s=_declared_end(container, video, origin_s),
            width=int(video.stream.codec_context.width),
            height=int(video.stream.codec_context.height),
        )
    if audio is not None and audio.first_s is not None:
        by_sum = audio.first_s + audio.seconds(audio.total_duration)
        end_s = audio.seconds(audio.last_pts + audio.last_duration) if audio.last_pts is not None else by_sum
        audio_track = AudioTrack(
            stream=audio.stream.index,
            start_s=audio.first_s - origin_s,
            end_s=max(end_s, audio.first_s) - origin_s,
            declared_end_s=_declared_end(container, audio, origin_s),
        )
    restarted_s: dict[Modality, float] = {}
    if video is not None and video.restarted_s is not None:
        restarted_s["video"] = video.restarted_s
    if audio is not None and audio.restarted_s is not None:
        restarted_s["audio"] = audio.restarted_s
    ends = [track.end_s for track in (video_track, audio_track) if track is not None]
    return Probe(
        path=path,
        origin_s=origin_s,
        duration_s=max(ends),
        video=video_track,
        audio=audio_track,
        without=without,
        restarted_s=restarted_s,
    )


def _last_duration(video: _Scan, pts: NDArray[np.int64]) -> int:
    if video.last_duration and video.last_pts == pts[-1]:
        return video.last_duration
    if len(pts) > 1:
        return int(np.median(np.diff(pts)))
    rate = video.stream.average_rate
    return round(1 / (float(rate) * video.unit_s)) if rate else 0


def _declared_end(container: InputContainer, scan: _Scan, origin_s: float) -> float | None:
    """When the file says that a stream ends; None where it only guesses from what is there (MP3, MPEG-TS, Ogg)."""
    if not _DECLARE_DURATION & set(container.format.name.split(",")):
        return None
    stream = scan.stream
    if stream.duration:
        start = stream.start_time if stream.start_time is not None else 0
        return scan.seconds(start + stream.duration) - origin_s
    hours, _, rest = str(stream.metadata.get("DURATION", "")).partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - origin_s
    except ValueError:
        return None
