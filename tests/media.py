"""Small real media files for tests, written with PyAV. No test lives here."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = Callable[[int, float], NDArray[np.uint8]]


def grey(step: int = 4) -> Picture:
    """Frames of one grey each, ``step`` brighter from frame to frame, so that a pixel tells the frame's number."""

    def picture(number: int, _time_s: float) -> NDArray[np.uint8]:
        return np.full((1, 1, 3), number * step % 256, dtype=np.uint8)

    return picture


def moving(seed: int = 0) -> Picture:
    """Coarse random texture that slides to the left."""
    texture = np.random.default_rng(seed).integers(0, 256, (12, 64, 3), dtype=np.uint8)
    texture = np.kron(texture, np.ones((16, 16, 1), dtype=np.uint8))

    def picture(number: int, _time_s: float) -> NDArray[np.uint8]:
        return np.roll(texture, -3 * number, axis=1)

    return picture


def tone(seconds: float, *, hz: float = 220.0, sample_rate_hz: int = 48_000, level: float = 0.3) -> NDArray[np.float32]:
    """A sine, shape (n_samples,), float32."""
    times = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def write_video(
    path: str | os.PathLike[str],
    *,
    seconds: float = 4.0,
    fps: int = 25,
    size: tuple[int, int] = (96, 64),
    picture: Picture | None = None,
    sound: NDArray[np.float32] | str | None = "tone",
    sample_rate_hz: int = 48_000,
    video_start_s: float = 0.0,
    sound_start_s: float = 0.0,
    codec: str = "libx264",
    sound_codec: str = "aac",
    keyframe_every: int = 50,
    frame_times_s: Sequence[float] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    time_base_per_frame: int = 1000,
) -> Path:
    """Write a recording with picture and, if wanted, sound.

    Parameters
    ----------
    path : path
        The file; its ending chooses the container.
    seconds : float
        Length of the picture, and of the default sound.
    fps : int
        Frames per second.
    size : (int, int)
        Width and height in pixels.
    picture : callable, optional
        Pixels of frame ``number`` at ``time_s``; repeated or cut to fill the frame. Default: :func:`moving`.
    sound : ndarray of shape (n_samples,) or (n_channels, n_samples), "tone" or None
        Samples in [-1, 1].
    sample_rate_hz : int
        Of the sound.
    video_start_s, sound_start_s : float
        When each stream begins.
    codec, sound_codec : str
        ffmpeg's names of the encoders.
    keyframe_every : int
        Frames from keyframe to keyframe.
    frame_times_s : sequence of float, optional
        Times of the frames, in place of an even rate.
    rotation : int
        Degrees, clockwise, that a player is asked to turn an MP4's picture.
    options : dict, optional
        Further options of the container.
    codec_options : dict, optional
        Further options of the picture's encoder.
    pix_fmt : str
        How the encoder gets its pixels.
    time_base_per_frame : int
        Ticks of the picture's clock from frame to frame; some codecs know few clocks.

    Returns
    -------
    Path
        The file.
    """
    draw = picture if picture is not None else moving()
    times = frame_times_s if frame_times_s is not None else np.arange(round(seconds * fps)) / fps
    with av.open(str(path), "w", options=options or {}) as container:
        ticks_per_s = time_base_per_frame * fps
        video = _video_stream(container, codec, fps, size, keyframe_every)
        video.codec_context.time_base = Fraction(1, ticks_per_s)
        video.pix_fmt = pix_fmt
        video.options = {**video.options, **(codec_options or {})}
        samples = tone(seconds, sample_rate_hz=sample_rate_hz) if isinstance(sound, str) else sound
        audio = _audio_stream(container, sound_codec, sample_rate_hz, samples) if samples is not None else None
        for number, time_s in enumerate(times):
            frame = av.VideoFrame.from_ndarray(_fill(draw(number, float(time_s)), size), format="rgb24")
            frame.time_base = Fraction(1, ticks_per_s)
            frame.pts = round((time_s + video_start_s) * ticks_per_s)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and samples is not None:
            _encode_sound(container, audio, samples, sample_rate_hz, sound_start_s)
    if rotation:
        _rotate(Path(path), rotation)
    return Path(path)


def write_sound(
    path: str | os.PathLike[str],
    samples: NDArray[np.float32],
    *,
    sample_rate_hz: int = 16_000,
    codec: str = "pcm_f32le",
    start_s: float = 0.0,
) -> Path:
    """Write a recording that is sound only; ``samples`` has the shape (n_samples,) or (n_channels, n_samples)."""
    with av.open(str(path), "w") as container:
        audio = _audio_stream(container, codec, sample_rate_hz, samples)
        _encode_sound(container, audio, samples, sample_rate_hz, start_s)
    return Path(path)


def cut_off(source: Path, path: Path, share: float) -> Path:
    """Write the first part of a file's bytes, as a broken copy has them."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def join(path: Path, *sources: Path) -> Path:
    """Put files one behind the other, as recorders do with MPEG-TS."""
    path.write_bytes(b"".join(source.read_bytes() for source in sources))
    return path


def remux(source: Path, path: Path, change: Callable[[int, Any], None]) -> Path:
    """Copy the picture's packets, each changed by ``change`` with its number."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.dts is not None):
            change(number, packet)
            packet.stream = stream
            container.mux(packet)
    return path


def _video_stream(container: Any, codec: str, fps: int, size: tuple[int, int], keyframe_every: int) -> Any:
    video = container.add_stream(codec, rate=fps)
    video.width, video.height = size
    video.gop_size = keyframe_every
    if codec == "libx264":
        video.options = {"preset": "ultrafast", "crf": "18", "bf": "2"}
        video.codec_context.max_b_frames = 2
    return video


def _audio_stream(container: Any, codec: str, sample_rate_hz: int, samples: NDArray[np.float32]) -> Any:
    audio = container.add_stream(codec, rate=sample_rate_hz)
    audio.layout = "stereo" if samples.ndim == 2 and len(samples) == 2 else "mono"
    return audio


def _encode_sound(
    container: Any, audio: Any, samples: NDArray[np.float32], sample_rate_hz: int, start_s: float
) -> None:
    channels = np.atleast_2d(samples).astype(np.float32)  # (n_channels, n_samples)
    planar = audio.format.is_planar
    kind = "fltp" if planar else "flt"
    for first in range(0, channels.shape[1], 1024):
        part = np.ascontiguousarray(channels[:, first : first + 1024])
        data = part if planar else np.ascontiguousarray(part.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, format=kind, layout="stereo" if len(channels) == 2 else "mono")
        frame.sample_rate = sample_rate_hz
        frame.time_base = Fraction(1, sample_rate_hz)
        frame.pts = first + round(start_s * sample_rate_hz)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def _fill(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = size
    times = (-(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1)
    return np.ascontiguousarray(np.tile(pixels, times)[:height, :width])


def _rotate(path: Path, degrees: int) -> None:
    """Set the display matrix in the header of the first track, which PyAV cannot write."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    cosine, sine = (round(65536 * f(math.radians(degrees))) for f in (math.cos, math.sin))
    a, b, c, d = cosine, sine, -sine, cosine
    data[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
