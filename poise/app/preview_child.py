"""What makes a preview: looks whether a browser plays a recording, and if not writes its beginning as H.264 and AAC.

Runs in a process of its own, started by :mod:`poise.app.preview`, and says on stdout how far it is.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from poise.errors import MediaError, PoiseError
from poise.extract.media.heartbeat import listen
from poise.extract.media.opening import open_media
from poise.extract.media.probe import Probe, frame_pts, packets, probe
from poise.orphans import die_with_parent
from poise.text import describe_error

LONG_SIDE, SHORT_SIDE = 854, 480
MAX_FPS = 30
MAX_S = 600.0
"""Only the beginning is made into a preview."""

_MAX_PIXELS = 8192 * 8192
_MAX_MEMORY = 2 << 30
_MAX_FILE = 256 << 20
_TICKS_PER_S = 1000
_SOUND_HZ = 48_000
_EVERY_S = 0.5
_MOV_PICTURES, _MOV_SOUNDS = {"h264"}, {"aac", "mp3"}
_WEBM_PICTURES, _WEBM_SOUNDS = {"vp8", "vp9", "av1", "libdav1d"}, {"opus", "vorbis"}
_SIMPLE_PIXELS = {"yuv420p", "yuvj420p"}
_SMALLER = "This is a smaller copy that browsers can play; the prediction is made from the recording itself."


def main(source: str, target: str) -> None:
    """Look at a recording, make a preview if it takes one, and say what came of it.

    Parameters
    ----------
    source, target : str
        The recording, and the file to write.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit()
    listen(lambda: _say(done_s=0.0, total_s=0.0))
    try:
        found = probe(source)
        mime = find_mime(found)
        if mime:
            _say(mime=mime)
            return
        note = write_preview(found, Path(target))
        _say(mime="video/mp4" if found.video else "audio/mp4", made=True, note=note)
    except (PoiseError, av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        _say(error=str(error) if isinstance(error, PoiseError) else f"No preview can be made: {describe_error(error)}.")


def find_mime(found: Probe) -> str:
    """The type under which a browser plays a recording as it is; empty where none plays every part that is judged.

    Parameters
    ----------
    found : Probe
        The recording.
    """
    with closing(open_media(found.path)) as container:
        pictures = [one for one in container.streams.video if one.codec_context is not None]
        sounds = [one for one in container.streams.audio if one.codec_context is not None]
        # of several tracks a browser may choose others than the model; a late clock would shift the timeline
        if len(pictures) > 1 or len(sounds) > 1 or abs((container.start_time or 0) / av.time_base) > 0.1:
            return ""
        names = {one.codec_context.name for one in pictures}, {one.codec_context.name for one in sounds}
        simple = all(one.codec_context.pix_fmt in _SIMPLE_PIXELS for one in pictures)
        kind = "video" if pictures else "audio"
        if "mov" in container.format.name and names[0] <= _MOV_PICTURES and names[1] <= _MOV_SOUNDS and simple:
            return f"{kind}/mp4"
        webm = "webm" in container.format.name and b"webm" in _first_bytes(found.path)
        if webm and names[0] <= _WEBM_PICTURES and names[1] <= _WEBM_SOUNDS and simple:
            return f"{kind}/webm"
    return ""


def write_preview(found: Probe, target: Path) -> str:
    """Write the beginning of a recording as an MP4 that browsers play.

    Parameters
    ----------
    found : Probe
        The recording.
    target : Path
        The file to write.

    Returns
    -------
    str
        What a visitor should know of it.

    Raises
    ------
    MediaError
        The picture is too large, or nothing of the recording can be decoded.
    """
    if found.video and found.video.width * found.video.height > _MAX_PIXELS:
        raise MediaError(
            f"The picture of {found.path} has {found.video.width} x {found.video.height} pixels, too many for a "
            "preview. Send a smaller one."
        )
    total_s = min(found.duration_s, MAX_S)
    with (
        closing(open_media(found.path)) as source,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        tracks = _make_tracks(found, source, out)
        said = time.monotonic()
        for track, frame, time_s in _decode(source, tracks, found.origin_s):
            if time_s >= MAX_S:
                break
            track.add(frame, time_s)
            if time.monotonic() - said > _EVERY_S:
                said = time.monotonic()
                _say(done_s=time_s, total_s=total_s)
        for track in tracks.values():
            track.end()
    if not target.exists():
        raise MediaError(f"Nothing of {found.path} can be decoded, so there is no preview.")
    return f"{_SMALLER} It holds the first {MAX_S / 60:.0f} minutes." if found.duration_s > MAX_S else _SMALLER


class _PictureTrack:
    """Frames made small and upright, at most :data:`MAX_FPS` a second."""

    def __init__(self, stream: Any, out: Any) -> None:
        self._out = out
        self._stream = out.add_stream("libx264", rate=MAX_FPS)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "26", "g": str(2 * MAX_FPS), "threads": "1"}
        self._stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        self._aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self._last = -_TICKS_PER_S
        self._size: tuple[int, int] | None = None

    def add(self, frame: Any, time_s: float) -> None:
        tick = round(max(time_s, 0.0) * _TICKS_PER_S)
        if tick - self._last < _TICKS_PER_S // (MAX_FPS + 5):
            return
        self._last = tick
        turns = round(frame.rotation / 90) % 4
        small = self._shrink(frame, turns)
        small.pts, small.time_base = tick, Fraction(1, _TICKS_PER_S)
        self._out.mux(self._stream.encode(small))

    def _shrink(self, frame: Any, turns: int) -> Any:
        if self._size is None:
            self._size = _fit(frame.width * self._aspect, frame.height)
            self._stream.width, self._stream.height = self._size if turns % 2 == 0 else self._size[::-1]
        small = frame.reformat(*self._size, format="rgb24" if turns else "yuv420p")
        if not turns:
            return small
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(np.rot90(small.to_ndarray(), k=turns)), format="rgb24")

    def end(self) -> None:
        if self._size is not None:
            self._out.mux(self._stream.encode(None))


class _SoundTrack:
    """Sound as stereo AAC."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._stream = out.add_stream("aac", rate=_SOUND_HZ)
        self._stream.layout = "stereo"
        self._resampler = AudioResampler(format="fltp", layout="stereo", rate=_SOUND_HZ, frame_size=1024)
        self._next: int | None = None

    def add(self, frame: Any, time_s: float) -> None:
        if self._next is None:
            self._next = round(max(time_s, 0.0) * _SOUND_HZ)
        frame.pts = None  # placed one behind the other: clocks of damaged files go back
        for part in self._resampler.resample(frame):
            self._put(part)

    def _put(self, part: Any) -> None:
        part.pts, part.time_base = self._next, Fraction(1, _SOUND_HZ)
        self._next = (self._next or 0) + part.samples
        self._out.mux(self._stream.encode(part))

    def end(self) -> None:
        if self._next is None:
            return
        for part in self._resampler.resample(None):
            self._put(part)
        self._out.mux(self._stream.encode(None))


def _make_tracks(found: Probe, source: InputContainer, out: Any) -> dict[int, Any]:
    tracks: dict[int, Any] = {}
    if found.video is not None:
        tracks[found.video.stream] = _PictureTrack(source.streams[found.video.stream], out)
    if found.audio is not None:
        tracks[found.audio.stream] = _SoundTrack(out)
    return tracks


def _decode(source: InputContainer, tracks: dict[int, Any], origin_s: float) -> Iterator[tuple[Any, Any, float]]:
    """Frames of the chosen streams with their track and time; what cannot be decoded is left out."""
    for packet in packets(source, [source.streams[index] for index in tracks]):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        for frame in frames:
            pts = frame_pts(frame)
            if pts is not None and frame.time_base:
                yield tracks[packet.stream.index], frame, float(pts * frame.time_base) - origin_s


def _fit(width: float, height: float) -> tuple[int, int]:
    """An even size within the limits, with the same proportions."""
    scale = min(1.0, LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _say(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _limit() -> None:
    """Take no more memory and disk than a preview needs, and end with whoever started this (Linux)."""
    die_with_parent()
    if sys.platform != "win32":
        import resource

        for kind, limit in ((resource.RLIMIT_DATA, _MAX_MEMORY), (resource.RLIMIT_FSIZE, _MAX_FILE)):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
