"""Decoded pictures of a media file, and the contract that every decoder keeps; sound is in ``sound``.

The contract, version :data:`DECODER_CONTRACT`:

1. **Which file.** Only what :func:`poise.extract.media_file.check_media_file` lets through is opened.
2. **Which stream.** ffmpeg's own best video and best audio stream; attached pictures are no video.
3. **One clock.** Time 0 is the earliest first timestamp of the two chosen streams, whichever modality is asked for.
   The recording lasts until the later of the two ends. Timestamps count, never frame numbers over a frame rate.
4. **Which frame.** At a time t the frame on screen: the last one with timestamp <= t, or the first one for a t that
   comes just before it.
5. **Which pixels.** RGB at native size, turned upright by the rotation the file asks for; never scaled here.
6. **Which clips.** A modality has a clip where its stream really covers ``min_tail_s`` of the clip's span, or nine
   tenths of a span that is shorter than that. Frames and samples are taken from the covered part. A picture that has
   not changed for a minute before the clip began is no picture, and a sound track that has no samples in half of it no
   sound; shorter gaps keep the frame on screen, and are silent, and are flagged.
7. **What is lost.** A clip of which anything could not be decoded is left out: nothing is repeated, blackened or
   silenced in its place. A stream that ends more than 2 % before its declared end is flagged ``truncated``.
8. **Sound.** Channels are averaged first, then resampled once (soxr HQ); every run of samples is placed by its own
   timestamp. Values that are not finite, or far outside [-1, 1], are replaced and flagged ``sound-sanitised``. A track
   that is silent from end to end is a missing modality.

Both decoders return identical pixels on 8-bit files. ``decord`` refuses what it is known to get wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

import av.error
import numpy as np
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError
from poise.extract.media_file import open_media
from poise.extract.probe import Probe, VideoTrack, frame_pts, packets

DECODER_CONTRACT = 1
"""Version of the contract above; part of every fingerprint."""

Decoder = Literal["pyav", "decord"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)

PrepareFrame = Callable[[NDArray[np.uint8]], NDArray[Any]]

_THREADS = "NONE"  # workers use the cores already; frame threads cost up to a third more processor time


def check_decoder(decoder: str) -> Decoder:
    """The decoder of that name.

    Raises
    ------
    ExtractSettingsError
        There is none.
    """
    for known in DECODERS:
        if decoder == known:
            return known
    raise ExtractSettingsError(f"There is no decoder {decoder!r}. Expected one of {', '.join(DECODERS)}.")


def frames_on_screen(times_s: NDArray[np.float64], track: VideoTrack) -> NDArray[np.int64]:
    """Which frame is on screen at each time.

    Parameters
    ----------
    times_s : ndarray of shape (n_times,), float64
        Times on the recording's clock, seconds.
    track : VideoTrack
        The picture.

    Returns
    -------
    ndarray of shape (n_times,), int64
        Index of each frame among the track's timestamps.
    """
    # a time computed as 0.1 + 0.2 must still see the frame at 0.3
    found = np.searchsorted(track.times_s, times_s + 1e-6, side="right") - 1
    return np.clip(found, 0, len(track.times_s) - 1).astype(np.int64)


def read_frames(
    probe: Probe, wanted: Sequence[NDArray[np.int64]], prepare: PrepareFrame, *, decoder: Decoder = "pyav"
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Decode the frames of some clips, each once, and hand each to ``prepare`` at once.

    Parameters
    ----------
    probe : Probe
        A file with a picture.
    wanted : sequence of ndarray of shape (n_frames,), int64
        For each clip the indices of its frames, ascending; clips in order of time.
    prepare : callable
        Makes of one frame (height, width, 3), RGB uint8, what is kept of it.
    decoder : {"pyav", "decord"}
        What decodes.

    Yields
    ------
    clip : int
        Number of a clip whose frames could all be decoded. Other clips are left out.
    frames : ndarray of shape (n_frames, ...)
        Its prepared frames.

    Raises
    ------
    MediaError
        The decoder cannot read the file at all.
    """
    if probe.video is None:
        return iter(())
    if decoder == "decord":
        from poise.extract.decode_decord import read_frames_decord

        return read_frames_decord(probe, probe.video, wanted, prepare)
    return _read_frames_pyav(probe, probe.video, wanted, prepare)


def _read_frames_pyav(
    probe: Probe, track: VideoTrack, wanted: Sequence[NDArray[np.int64]], prepare: PrepareFrame
) -> Iterator[tuple[int, NDArray[Any]]]:
    clips = _OpenClips(wanted)
    with closing(_decoded_frames(probe, track)) as frames:
        shown: Any = None
        shown_index = -2
        for index, frame in frames:
            if frame is None:
                shown, shown_index = None, -2
                continue
            # some packets (VP8's hidden reference frames) never become a frame: the one before stays on screen
            if shown is not None and index == shown_index + 2 and clips.wants(shown_index + 1):
                clips.put(shown_index + 1, prepare(_upright_rgb(shown)))
            if clips.wants(index):
                clips.put(index, prepare(_upright_rgb(frame)))
            shown, shown_index = frame, index
            yield from clips.pop_complete(index)
            if clips.done:
                return


def _decoded_frames(probe: Probe, track: VideoTrack) -> Generator[tuple[int, Any], None, None]:
    """Frames with their indices in order of presentation; (-1, None) where something could not be decoded."""
    with closing(open_media(probe.path)) as container:
        stream: Any = container.streams[track.stream]
        stream.thread_type = _THREADS
        broken = False
        for packet in packets(container, [stream]):
            if broken and packet.size and not packet.is_keyframe:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                # what follows refers to what was lost, until the next keyframe
                broken = True
                stream.codec_context.flush_buffers()
                yield -1, None
                continue
            broken = False
            for frame in frames:
                pts = frame_pts(frame)
                if pts is not None and not frame.is_corrupt:
                    yield int(np.searchsorted(track.pts, pts, side="right")) - 1, frame


def _upright_rgb(frame: Any) -> NDArray[np.uint8]:
    """Pixels of a frame as it is meant to be seen, shape (height, width, 3)."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = int(frame.rotation) // 90
    return np.ascontiguousarray(np.rot90(pixels, k=turns)) if turns % 4 else pixels


class _OpenClips:
    """Clips that still wait for frames; a frame that several clips share is prepared once."""

    def __init__(self, wanted: Sequence[NDArray[np.int64]]) -> None:
        self._wanted = wanted
        self._open = deque(range(len(wanted)))
        self._frames: dict[int, NDArray[Any]] = {}
        self._needed = {int(index) for clip in wanted for index in clip}

    @property
    def done(self) -> bool:
        return not self._open

    def wants(self, index: int) -> bool:
        return index in self._needed and index not in self._frames

    def put(self, index: int, prepared: NDArray[Any]) -> None:
        self._frames[index] = prepared

    def pop_complete(self, index: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Clips whose last frame is behind ``index`` or is it: complete, or given up."""
        while self._open and self._wanted[self._open[0]][-1] <= index:
            clip = self._open.popleft()
            frames = [self._frames.get(int(i)) for i in self._wanted[clip]]
            present = [frame for frame in frames if frame is not None]
            first = self._wanted[self._open[0]][0] if self._open else index + 1
            for old in [i for i in self._frames if i < first]:
                del self._frames[old]
            if len(present) == len(frames):
                yield clip, np.stack(present)  # (n_frames, ...)
