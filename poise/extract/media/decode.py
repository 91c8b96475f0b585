"""Decoded pictures of a media file, and the contract that every decoder keeps; sound is in ``sound``.

The contract, version :data:`DECODER_CONTRACT`:

1. **Which file.** Only what :func:`poise.extract.media.opening.check_media_file` lets through is opened.
2. **Which stream.** ffmpeg's own best video and best audio stream; attached pictures are no video.
3. **One clock.** Time 0 is the earliest first timestamp of the two chosen streams, whichever modality is asked for.
   The recording lasts until the later of the two ends. Timestamps count, never frame numbers over a frame rate.
4. **Which frame.** At a time t the frame on screen: the last one with timestamp <= t, or the first one for a t that
   comes just before it.
5. **Which pixels.** RGB at native size, turned upright by the rotation the file asks for, to the nearest quarter turn;
   never scaled here.
6. **Which clips.** A modality has a clip where its stream really covers ``min_tail_s`` of the clip's span, or nine
   tenths of a span that is shorter than that. Frames and samples are taken from the covered part. A picture that has
   not changed for a minute before the clip began is no picture, and a sound track that has no samples in half of it no
   sound; shorter gaps keep the frame on screen, and are silent, and are flagged.
7. **What is lost.** A clip of which anything could not be decoded is left out: nothing is repeated, blackened or
   silenced in its place. Damage is what ffmpeg's decoders notice: of damaged bytes those of HEVC, VP8, VP9 and ProRes
   notice next to nothing, those of H.264 about half. A stream that ends more than 2 % before its declared end is
   flagged ``truncated``.
8. **Sound.** Channels are averaged first, then resampled once (soxr HQ); every run of samples is placed by its own
   timestamp. Values that are not finite, or far outside [-1, 1], are replaced and flagged ``sound-sanitised``. A track
   that is silent from end to end is a missing modality.

Both decoders return identical pixels: a file whose first frames differ is refused by ``decord``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError
from poise.extract.media.opening import open_media
from poise.extract.media.probe import Probe, VideoTrack, frame_pts, packets

DECODER_CONTRACT = 1
"""Version of the contract above; part of every fingerprint."""

Decoder = Literal["pyav", "decord"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)

PrepareFrame = Callable[[NDArray[np.uint8]], Any]

N_COMPARED = 4
"""First frames by which the decoders are compared; enough for frames in another order to show."""

FAR_S = 10.0
"""What is not needed for so long is not even read from the disk."""

_SKIPPING = frozenset({"h264", "hevc"})
"""ffmpeg's decoders that take it packet by packet; dav1d, for one, leaves out other frames than those it is told to."""

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
) -> Iterator[tuple[int, list[Any]]]:
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
    frames : list
        Its n_frames prepared frames.

    Raises
    ------
    MediaError
        The decoder cannot read the file at all.
    """
    if probe.video is None:
        return iter(())
    if decoder == "decord":
        return _read_frames_decord(probe, probe.video, wanted, prepare)
    return _read_frames_pyav(probe, probe.video, wanted, prepare)


def _read_frames_pyav(
    probe: Probe, track: VideoTrack, wanted: Sequence[NDArray[np.int64]], prepare: PrepareFrame
) -> Iterator[tuple[int, list[Any]]]:
    leap = _Leap(track)
    for number, frames in _read_clips(probe, track, wanted, prepare, leap):
        if frames is not None:
            yield number, frames
        elif leap.n_made or leap.n_skipped:
            # some keyframes are none to begin at (intra refresh, broken indexes): from here on decode everything
            for later, found in _read_clips(probe, track, wanted[number:], prepare, None):
                if found is not None:
                    yield number + later, found
            return


def _read_frames_decord(
    probe: Probe, track: VideoTrack, wanted: Sequence[NDArray[np.int64]], prepare: PrepareFrame
) -> Iterator[tuple[int, list[Any]]]:
    from poise.extract.media.decode_decord import decord_frames

    beginning = [np.arange(min(N_COMPARED, len(track.pts)))]
    first = dict(_read_frames_pyav(probe, track, beginning, lambda frame: frame)).get(0, [])
    clips = _OpenClips(wanted)
    frames = decord_frames(probe, track, first=first)
    for number, found in _fill(clips, frames, lambda frame: prepare(frame.asnumpy()), len(track.pts)):
        if found is not None:
            yield number, found


def _read_clips(
    probe: Probe, track: VideoTrack, wanted: Sequence[NDArray[np.int64]], prepare: PrepareFrame, leap: _Leap | None
) -> Iterator[tuple[int, list[Any] | None]]:
    clips, upright = _OpenClips(wanted), _Upright()
    with closing(_decoded_frames(probe, track, leap, clips.next_after)) as frames:
        yield from _fill(clips, frames, lambda frame: prepare(upright.pixels(frame)), len(track.pts))


def _fill(
    clips: _OpenClips, frames: Iterator[tuple[int, Any]], prepare: Callable[[Any], Any], n_frames: int
) -> Iterator[tuple[int, list[Any] | None]]:
    """Clips in order, each with its frames, or None where one of them did not come."""
    shown: Any = None
    shown_index = -2
    for index, frame in frames:
        if frame is None:
            shown, shown_index = None, -2
            continue
        # some packets (VP8's hidden reference frames) never become a frame: the one before stays on screen
        if shown is not None and index == shown_index + 2 and clips.wants(shown_index + 1):
            clips.put(shown_index + 1, prepare(shown))
        if clips.wants(index):
            clips.put(index, prepare(frame))
        # one frame alone may have a wild timestamp: only what two in a row have passed is given up
        yield from clips.pop(passed=min(index, shown_index))
        if clips.done:
            return
        shown, shown_index = frame, index
    yield from clips.pop(passed=n_frames)


def _decoded_frames(
    probe: Probe, track: VideoTrack, leap: _Leap | None, next_after: Callable[[int], int | None]
) -> Generator[tuple[int, Any], None, None]:
    """Frames with their indices in order of presentation; (-1, None) where something was lost or passed over.

    ``next_after`` tells the next frame that is needed; with a ``leap``, what is not needed may be passed over.
    """
    with closing(open_media(probe.path)) as container:
        stream: Any = container.streams[track.stream]
        stream.thread_type = _THREADS
        stream.codec_context.options = {"err_detect": "explode"}  # an error is to be told, not hidden
        can_skip = stream.codec_context.codec.name in _SKIPPING
        broken, last = False, -1
        source = packets(container, [stream])
        while (packet := next(source, None)) is not None:
            if leap is not None and not leap.lands_on(packet):
                continue
            if broken and packet.size and not packet.is_keyframe:
                continue
            if leap is not None and can_skip:
                stream.codec_context.skip_frame = leap.skipping(packet, next_after)
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
                if pts is None or frame.is_corrupt:
                    yield -1, None
                    continue
                index = int(np.searchsorted(track.pts, pts, side="right")) - 1
                last = max(last, index)
                yield index, frame
            if leap is not None and leap.begin(last, next_after(last)):
                stream.codec_context.flush_buffers()
                yield -1, None
                if leap.is_far:
                    source = _seek(container, stream, leap.target, source)


def _seek(container: Any, stream: Any, pts: int, source: Iterator[Any]) -> Iterator[Any]:
    """Packets from a keyframe on; where a file cannot be sought in, all that follow."""
    try:
        container.seek(pts, stream=stream)
    except av.error.FFmpegError:
        return source
    return packets(container, [stream])


class _Leap:
    """Passing over packets from which no frame is needed: decoding begins anew at a keyframe.

    What is shown from a keyframe on never refers to what comes before it, so the pixels are the same. Between two
    keyframes decoders are told to leave out frames to which none refers.

    Attributes
    ----------
    target : int
        Timestamp of the keyframe where the leap ends.
    is_far : bool
        Whether it is long enough for a seek to pay.
    n_made : int
        Leaps so far.
    n_skipped : int
        Packets so far whose frame the decoder was allowed to leave out.
    """

    def __init__(self, track: VideoTrack) -> None:
        self._track = track
        self._decoded: int | None = None  # the last keyframe that was decoded
        self._is_under_way = False
        self.target = 0
        self.is_far = False
        self.n_made = 0
        self.n_skipped = 0

    def lands_on(self, packet: Any) -> bool:
        """Whether a packet is to be decoded."""
        is_keyframe = packet.is_keyframe and packet.pts is not None
        if self._is_under_way and not (is_keyframe and packet.pts == self.target):
            return False
        self._is_under_way = False
        if is_keyframe:
            self._decoded = packet.pts if self._decoded is None else max(packet.pts, self._decoded)
        return True

    def skipping(self, packet: Any, next_after: Callable[[int], int | None]) -> str:
        """What the decoder may leave out: the packet's frame, if no clip needs it and no other frame refers to it."""
        if packet.pts is None or not packet.size:
            return "DEFAULT"
        index = int(np.searchsorted(self._track.pts, packet.pts, side="right")) - 1
        if next_after(index - 1) == index:
            return "DEFAULT"
        self.n_skipped += 1
        return "NONREF"

    def begin(self, last: int, needed: int | None) -> bool:
        """Leap, if there is a keyframe between the frame that came last and the one that is needed next."""
        if needed is None or self._decoded is None:
            return False
        number = int(np.searchsorted(self._track.keyframes, self._track.pts[needed], side="right")) - 1
        if number < 0 or self._track.keyframes[number] <= self._decoded:
            return False
        self.target = int(self._track.keyframes[number])
        landing = int(np.searchsorted(self._track.pts, self.target))
        self.is_far = bool(self._track.times_s[landing] - self._track.times_s[max(last, 0)] > FAR_S)
        self._is_under_way = True
        self.n_made += 1
        return True


class _Upright:
    """Pixels of frames as they are meant to be seen, each of shape (height, width, 3)."""

    def __init__(self) -> None:
        # kept from frame to frame: to set it up, with threads of its own, takes longer than to convert a small frame
        self._reformatter = VideoReformatter()

    def pixels(self, frame: Any) -> NDArray[np.uint8]:
        rgb: Any = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb, k=turns)) if turns else rgb


class _OpenClips:
    """Clips that still wait for frames; a frame that several clips share is prepared once."""

    def __init__(self, wanted: Sequence[NDArray[np.int64]]) -> None:
        self._wanted = wanted
        self._open = deque(range(len(wanted)))
        self._frames: dict[int, Any] = {}
        self._needed = np.unique(np.concatenate(wanted)) if wanted else np.empty(0, np.int64)

    @property
    def done(self) -> bool:
        return not self._open

    def wants(self, index: int) -> bool:
        return self.next_after(index - 1) == index and index not in self._frames

    def next_after(self, index: int) -> int | None:
        """The first frame after ``index`` that a clip needs."""
        place = int(np.searchsorted(self._needed, index, side="right"))
        return int(self._needed[place]) if place < len(self._needed) else None

    def put(self, index: int, prepared: Any) -> None:
        self._frames[index] = prepared

    def pop(self, *, passed: int) -> Iterator[tuple[int, list[Any] | None]]:
        """Clips in order that have all their frames; None for one whose last frame is passed and that has not."""
        while self._open:
            clip = self._open[0]
            frames = [self._frames.get(int(i)) for i in self._wanted[clip]]
            present = [frame for frame in frames if frame is not None]
            if len(present) < len(frames) and self._wanted[clip][-1] > passed:
                return
            self._open.popleft()
            first = self._wanted[self._open[0]][0] if self._open else self._needed[-1] + 1
            for old in [i for i in self._frames if i < first]:
                del self._frames[old]
            yield clip, present if len(present) == len(frames) else None
