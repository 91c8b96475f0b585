"""Pictures by decord, under the contract in :mod:`poise.extract.media.decode`; PyAV says which frames there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError, MissingDependencyError
from poise.extract.media.heartbeat import beat
from poise.extract.media.probe import Probe, VideoTrack

MIN_WIDTH_PX = 64
"""decord returns wrong pixels for pictures 16, 24 and 48 pixels wide."""

_REMEDY = "Use --decoder pyav."


def read_frames_decord(
    probe: Probe,
    track: VideoTrack,
    wanted: Sequence[NDArray[np.int64]],
    prepare: Callable[[NDArray[np.uint8]], Any],
) -> Iterator[tuple[int, list[Any]]]:
    """Frames of some clips; parameters and result as in :func:`poise.extract.media.decode.read_frames`.

    Raises
    ------
    MediaError
        decord cannot read the file, or sees other frames in it than PyAV does.
    MissingDependencyError
        decord is not installed.
    """
    reader = _open(probe, track)
    for clip, indices in enumerate(wanted):
        distinct, places = np.unique(indices, return_inverse=True)
        beat()
        frames = _read(probe, reader, distinct)
        _check_size(probe, track, frames)
        prepared = [prepare(frame) for frame in frames]
        yield clip, [prepared[place] for place in places]


def _open(probe: Probe, track: VideoTrack) -> Any:
    if min(track.width, track.height) < MIN_WIDTH_PX:
        raise MediaError(
            f"{probe.path}: decord returns wrong pixels for narrow pictures; this one is {track.width}x{track.height}. "
            f"Expected {MIN_WIDTH_PX} pixels or more. {_REMEDY}"
        )
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


def _read(probe: Probe, reader: Any, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    import decord

    try:
        frames: NDArray[np.uint8] = reader.get_batch(indices.tolist()).asnumpy()  # (n_indices, height, width, 3)
    except (RuntimeError, decord.DECORDError) as error:
        raise MediaError(f"{probe.path}: decord cannot decode it: {_first_line(error)}. {_REMEDY}") from error
    return frames


def _check_size(probe: Probe, track: VideoTrack, frames: NDArray[np.uint8]) -> None:
    if sorted(frames.shape[1:3]) != sorted((track.width, track.height)):
        raise MediaError(
            f"{probe.path}: decord gives frames of {frames.shape[2]}x{frames.shape[1]}, expected "
            f"{track.width}x{track.height}: it chose another stream. {_REMEDY}"
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        re.sub(r"^\[.*?\] \S+?:\d+: ", "", lines[0]) if lines else type(error).__name__
    )  # time and place in its source
