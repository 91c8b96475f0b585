"""Pictures by decord, under the contract in :mod:`poise.extract.media.decode`; PyAV says which frames there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError, MissingDependencyError
from poise.extract.media.heartbeat import beat
from poise.extract.media.probe import Probe, VideoTrack

_REMEDY = "Use --decoder pyav."


def decord_frames(probe: Probe, track: VideoTrack, *, first: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[int, Any]]:
    """Every frame with its number, one after the other.

    decord's ways of passing over frames are not taken: where groups of pictures are open, it gives wrong pixels after
    each of them, and says nothing.

    Parameters
    ----------
    probe : Probe
        The file.
    track : VideoTrack
        Its picture.
    first : sequence of ndarray of shape (height, width, 3), RGB uint8
        The first frames as PyAV decodes them.

    Yields
    ------
    number : int
        Number of the frame.
    frame : decord.ndarray.NDArray of shape (height, width, 3), RGB uint8
        Its pixels.

    Raises
    ------
    MediaError
        decord cannot read the file, or sees other frames in it than PyAV does.
    MissingDependencyError
        decord is not installed.
    """
    if not first:
        raise MediaError(f"{probe.path}: its first frames are damaged, so that decord's cannot be compared. {_REMEDY}")
    reader = _open(probe, track)
    for number in range(len(track.pts)):
        beat()
        frame = _next(probe, reader)
        if number < len(first):
            _check_pixels(probe, number, frame.asnumpy(), first[number])
        yield number, frame


def _open(probe: Probe, track: VideoTrack) -> Any:
    try:
        import decord
    except ImportError as error:
        raise MissingDependencyError(f"decord is not installed; it has wheels for few platforms. {_REMEDY}") from error
    try:
        decord.logging.set_level(decord.logging.QUIET)
        reader = decord.VideoReader(str(probe.path), ctx=decord.cpu(0), num_threads=1)
        n_frames = len(reader)
    except (RuntimeError, UnicodeError, decord.DECORDError) as error:
        raise MediaError(f"{probe.path}: decord cannot open it: {_first_line(error)}. {_REMEDY}") from error
    if n_frames != len(track.pts):
        raise MediaError(
            f"{probe.path}: decord sees {n_frames} frames, expected {len(track.pts)} as PyAV counts them. {_REMEDY}"
        )
    return reader


def _next(probe: Probe, reader: Any) -> Any:
    import decord

    try:
        return reader.next()
    except (RuntimeError, StopIteration, decord.DECORDError) as error:
        raise MediaError(f"{probe.path}: decord cannot decode it: {_first_line(error)}. {_REMEDY}") from error


def _check_pixels(probe: Probe, number: int, frame: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Refuse a file where a frame is another than PyAV's.

    It is where pictures are narrow (16, 24, 48 pixels), interlaced, of 10 bits or of an odd size with less colour than
    light, and where decord takes another stream or another order.
    """
    if frame.shape != expected.shape:
        raise MediaError(
            f"{probe.path}: decord gives frames of the shape {frame.shape}, expected {expected.shape}. {_REMEDY}"
        )
    if not np.array_equal(frame, expected):
        raise MediaError(f"{probe.path}: decord and PyAV see different pixels in frame {number}. {_REMEDY}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        re.sub(r"^\[.*?\] \S+?:\d+: ", "", lines[0]) if lines else type(error).__name__
    )  # time and place in its source
