"""Copies as files of their own, to be looked at and listened to; features are never made from them.

What is written is what an encoder gets, but for the sound's rate and the joints between its pieces.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError, OutputError
from poise.extract.augment.augmenter import Augmenter
from poise.extract.media.decode import read_frames
from poise.extract.media.probe import Probe, probe
from poise.extract.media.sound import SoundReader
from poise.manifest import Manifest
from poise.text import describe_error

SAMPLE_RATE_HZ = 48_000
PIECE_S = 10.0
"""Sound is made in pieces of this length, as clips are."""

JOINT_S = 0.02
"""Neighbouring pieces fade into each other: each was stretched on its own."""

_TICKS_PER_S = 90_000
_AAC_FRAME = 1024


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """What became of one copy.

    Attributes
    ----------
    name : str
        The copy as the manifest names it, ``path#recipe``.
    file : Path
        Where it was to be written.
    error : str
        Why it is not there; empty if it is.
    """

    name: str
    file: Path
    error: str = ""


def render_copies(manifest: Manifest, rows: Sequence[int], folder: Path) -> Iterator[Rendered]:
    """Write copies as MP4 files, one after the other; one that cannot be made does not stop the rest.

    Parameters
    ----------
    manifest : Manifest
        The table.
    rows : sequence of int
        Rows that are made on the fly.
    folder : Path
        Where files go; it is made if it is not there. Files of the same name are replaced.

    Yields
    ------
    Rendered
        As soon as each is there, or has failed.

    Raises
    ------
    OutputError
        The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another --render.") from error
    for row in rows:
        name = manifest.paths[row]
        file = folder / rendered_name(name)
        try:
            render_copy(manifest.file(row), manifest.recipe(row), file)
        except Exception as error:  # noqa: BLE001  codecs raise what they like on damaged files
            yield Rendered(name=name, file=file, error=describe_error(error))
        else:
            yield Rendered(name=name, file=file)


def rendered_name(name: str) -> str:
    """File name of a copy ``path#recipe``: the source's name, and a digest that is the copy's own."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{PurePath(name.partition('#')[0]).stem[:100]}-{digest}.mp4"


def render_copy(source: str | os.PathLike[str], recipe: str, target: Path) -> None:
    """Write one copy as MP4 with H.264 and AAC; memory does not depend on its length.

    Parameters
    ----------
    source : path
        The source's media file.
    recipe : str
        What is done.
    target : Path
        The file; it appears whole or not at all. Pictures keep their own times; a cropped picture stays smaller, and
        loses a row or column that would make a side odd, which H.264 does not know.

    Raises
    ------
    MediaError
        The source cannot be read, or nothing of it can be decoded.
    """
    copy, found = Augmenter.from_text(recipe), probe(source)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with av.open(str(draft), "w", format="mp4") as container:
            _Writer(container, copy, found).write()
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


class _Writer:
    """Streams of one file, in step: neither runs far ahead of the other."""

    def __init__(self, container: Any, copy: Augmenter, found: Probe) -> None:
        self._container = container
        self._copy = copy
        self._found = found

    def write(self) -> None:
        """Encode everything, whichever comes first in time."""
        with closing(self._pictures()) as pictures, closing(self._sounds()) as sounds:
            picture, sound = next(pictures, None), next(sounds, None)
            # a muxer wants all its streams before the first packet
            video: Any = self._video_stream(picture[1]) if picture is not None else None
            audio: Any = self._audio_stream() if sound is not None else None
            if video is None and audio is None:
                raise MediaError(f"{self._found.path}: nothing of it can be decoded. Expected pictures or sound.")
            while picture is not None or sound is not None:
                if picture is not None and (sound is None or picture[0] <= sound[0]):
                    self._container.mux(video.encode(_video_frame(*picture)))
                    picture = next(pictures, None)
                elif sound is not None:
                    self._container.mux(audio.encode(_audio_frame(*sound)))
                    sound = next(sounds, None)
            for stream in (video, audio):
                if stream is not None:
                    self._container.mux(stream.encode(None))

    def _video_stream(self, first: NDArray[np.uint8]) -> Any:
        stream = self._container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        return stream

    def _audio_stream(self) -> Any:
        stream = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ)
        stream.layout = "mono"
        return stream

    def _pictures(self) -> Generator[tuple[float, NDArray[np.uint8]], None, None]:
        """Time in the copy and pixels of every frame that can be decoded."""
        track = self._found.video
        if track is None:
            return
        wanted = [np.array([number]) for number in range(len(track.pts))]
        times_s = self._copy.copy_time(track.times_s)
        for number, frames in read_frames(self._found, wanted, self._even):
            yield float(times_s[number]), frames[0]

    def _even(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = self._copy.picture(frame)
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        if not height or not width:
            raise MediaError(f"A picture of {picture.shape[1]} x {picture.shape[0]} pixels is too small for H.264.")
        return np.ascontiguousarray(picture[:height, :width])

    def _sounds(self) -> Generator[tuple[float, NDArray[np.float32]], None, None]:
        """Time in the copy and samples of short runs, without a gap."""
        if self._found.audio is None:
            return
        with SoundReader(self._found, sample_rate_hz=SAMPLE_RATE_HZ) as reader:
            reader.read_until(0.0)
            if reader.start_s is None:
                return
            start_s, n_sent = self._copy.copy_time(reader.start_s), 0
            for piece in self._pieces(reader, start_s):
                for first in range(0, len(piece), _AAC_FRAME):
                    run = piece[first : first + _AAC_FRAME]
                    yield start_s + n_sent / SAMPLE_RATE_HZ, run
                    n_sent += len(run)

    def _pieces(self, reader: SoundReader, start_s: float) -> Iterator[NDArray[np.float32]]:
        joint, n_piece = round(JOINT_S * SAMPLE_RATE_HZ), round(PIECE_S * SAMPLE_RATE_HZ)
        rising = np.linspace(0, 1, joint, dtype=np.float32)
        fading = np.zeros(0, np.float32)
        while True:
            end_s = start_s + PIECE_S + JOINT_S
            first_s, last_s = self._copy.source_span(start_s, end_s)
            reader.read_until(last_s)
            reader.forget_before(first_s - self._copy.context_s)
            piece = self._copy.read_sound(reader, start_s, end_s)
            n_joined = min(len(fading), len(piece))
            piece[:n_joined] = piece[:n_joined] * rising[:n_joined] + fading[:n_joined] * (1 - rising[:n_joined])
            yield piece[:n_piece]
            if len(piece) <= n_piece:
                return
            fading = piece[n_piece:]
            start_s += PIECE_S


def _video_frame(time_s: float, pixels: NDArray[np.uint8]) -> Any:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.time_base, frame.pts = Fraction(1, _TICKS_PER_S), round(time_s * _TICKS_PER_S)
    return frame


def _audio_frame(time_s: float, samples: NDArray[np.float32]) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.time_base = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ)
    frame.pts = round(time_s * SAMPLE_RATE_HZ)
    return frame
