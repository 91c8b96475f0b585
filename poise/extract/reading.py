"""One pass over a media file: the clips of every encoder asked for, decoded, prepared and handed out one by one.

Extraction and prediction both read files through here, so that they see the same clips. Encoding lives in
:mod:`poise.extract.encoding`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError, MediaError, NotReadableNowError, PoiseError
from poise.extract.augment.augmenter import Augmenter
from poise.extract.clips import ClipSettings, plan_clips
from poise.extract.encoders.base import AudioEncoder, Encoder, PreparedClip, VideoEncoder
from poise.extract.media.decode import Decoder, frames_on_screen, read_frames
from poise.extract.media.probe import Probe, VideoTrack, probe
from poise.extract.media.sound import SoundReader
from poise.extract.quality import glance, is_uneven, judge_picture, judge_sound
from poise.store.schema import Modality
from poise.text import describe_error

SHARE_OF_SHORT_CLIP = 0.9
"""Of a clip shorter than ``min_tail_s`` a stream must cover this much."""

MAX_STILL_S = 60.0
"""A picture that has not changed for so long before a clip began is a gap in the stream."""

MAX_OVERLAP_S = 0.5
"""Samples that lie over others and are left out; less is a clock that runs a little fast, and not told."""

_NO_TIMES = np.empty(0, np.float64)


@dataclass
class Notes:
    """What became clear about one modality of a recording while it was read.

    Attributes
    ----------
    reason : str
        Why the modality is missing, or what about it is incomplete.
    flags : set of str
        Words that qualify it.
    n_clips : int
        Clips handed out so far.
    """

    reason: str = ""
    flags: set[str] = field(default_factory=set)
    n_clips: int = 0

    def add(self, flag: str, reason: str = "") -> None:
        """Note a flag, and why."""
        self.flags.add(flag)
        self.reason = "; ".join(part for part in (self.reason, reason) if part)


class RecordingReader:
    """The prepared clips of one media file.

    Parameters
    ----------
    path : path
        The file.
    encoders : mapping of modality to Encoder
        What the clips are for; a modality that is not asked for is not decoded, but still counts for the clock.
    clips : ClipSettings
        How the recording is cut.
    decoder : {"pyav", "decord"}
        What decodes the pictures.
    recipe : str
        What is done to the file on the fly to make a copy of it, see :class:`poise.recipe.Augmentation`.

    Attributes
    ----------
    duration_s : float
        Length of the recording; NaN until reading began.
    notes : dict of modality to Notes
        Complete once :meth:`read` is exhausted.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoders: Mapping[Modality, Encoder],
        *,
        clips: ClipSettings,
        decoder: Decoder = "pyav",
        recipe: str = "",
    ) -> None:
        self.path = path
        self.duration_s = float("nan")
        self.notes: dict[Modality, Notes] = {modality: Notes() for modality in encoders}
        self._encoders = encoders
        self._clips = clips
        self._decoder = decoder
        self._copy = Augmenter.from_text(recipe)

    def length_of(self, found: Probe) -> float:
        """Length of the recording in seconds; a copy may be faster or slower than its file."""
        return self._copy.copy_time(found.duration_s)

    def read(self, found: Probe | None = None) -> Iterator[tuple[Modality, PreparedClip]]:
        """Decode the file once and yield its clips, each modality in order of time.

        Parameters
        ----------
        found : Probe, optional
            What probing the file gave, if that was done already.

        Raises
        ------
        MediaError
            The file cannot be read.
        """
        found = found if found is not None else probe(self.path)
        self.duration_s = self.length_of(found)
        times, flags = plan_clips(self.duration_s, self._clips)
        for modality, notes in self.notes.items():
            notes.flags.update(flags)
            for flag, lost in (("truncated", found.truncation(modality)), ("restarts", found.restarts(modality))):
                if lost:
                    notes.add(flag, lost)
        audio, video = self._encoders.get("audio"), self._encoders.get("video")
        if isinstance(audio, AudioEncoder):
            yield from self._guarded("audio", self._read_audio(found, times, audio))
        if isinstance(video, VideoEncoder):
            yield from self._guarded("video", self._read_video(found, times, video))

    def _guarded(self, modality: Modality, clips: Iterator[PreparedClip]) -> Iterator[tuple[Modality, PreparedClip]]:
        """Clips of one modality; an error ends this modality, and the other one is still read."""
        try:
            for clip in clips:
                self.notes[modality].n_clips += 1
                yield modality, clip
        except PoiseError as error:
            if not isinstance(error, MediaError) or isinstance(error, NotReadableNowError):
                raise
            self.notes[modality].add("unreadable", describe_error(error))
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
                raise NotReadableNowError(f"{self.path}: {describe_error(error)}") from error
            # decoders raise what they like on damaged files
            self.notes[modality].add("unreadable", describe_error(error))

    def _read_video(self, found: Probe, times: NDArray[np.float64], encoder: VideoEncoder) -> Iterator[PreparedClip]:
        notes, track = self.notes["video"], found.video
        if track is None:
            notes.reason = found.without["video"]
            return
        start_s, end_s = float(track.times_s[0]), track.end_s
        notes.flags.update(["variable-rate"] if is_uneven(track.times_s) else [])
        copy = self._copy
        spans = self._spans(times, copy.copy_time(start_s), copy.copy_time(end_s))
        shown = [part for span in spans if (part := _shown_part(span, track, copy)) and self._is_enough(part)]
        if len(shown) < len(spans):
            notes.add("picture-gap", _left_out(len(spans) - len(shown), "the picture does not change in for a minute"))
        spans = shown
        if not spans:
            notes.reason = f"no picture: it lasts only {end_s - start_s:.2f} s, too short for a clip"
            return
        wanted = [
            frames_on_screen(copy.source_times(_frame_times(encoder, span.covered_start_s, span.covered_end_s)), track)
            for span in spans
        ]

        def prepare(frame: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[np.float32]]:
            seen = copy.picture(frame)
            return encoder.prepare_frame(seen), glance(seen)

        n_uneven = 0
        for number, frames in read_frames(found, wanted, prepare, decoder=self._decoder):
            if len({seen.shape for _, seen in frames}) > 1:
                n_uneven += 1
                continue
            times_s = copy.copy_time(track.times_s[wanted[number]])
            data = np.stack([prepared for prepared, _ in frames])  # (n_frames, ...)
            yield spans[number].clip(data, times_s, judge_picture([seen for _, seen in frames], times_s))
        if n_uneven:
            notes.add("resized", _left_out(n_uneven, "the picture's size changes in"))
        _note_lost(notes, len(spans) - n_uneven, "picture")

    def _read_audio(self, found: Probe, times: NDArray[np.float64], encoder: AudioEncoder) -> Iterator[PreparedClip]:
        notes = self.notes["audio"]
        if found.audio is None:
            notes.reason = found.without["audio"]
            return
        with SoundReader(found, sample_rate_hz=encoder.sample_rate_hz) as heard:
            if heard.is_silent():
                notes.reason = "silent" if heard.start_s is not None else "no sound: none can be decoded"
                return
        with SoundReader(found, sample_rate_hz=encoder.sample_rate_hz) as sound:
            copy, n_expected, n_empty = self._copy, 0, 0
            for clip in times:
                first_s, last_s = copy.source_span(float(clip[0]), float(clip[1]))
                sound.read_until(last_s)
                sound.forget_before(first_s - copy.context_s)
                begins_s, ends_s = copy.copy_time(sound.start_s or 0.0), copy.copy_time(sound.end_s)
                for span in self._spans(clip[None], begins_s, ends_s):
                    empty_s = self._within(span, sound.gaps)
                    if empty_s > span.covered_s / 2:
                        n_empty += 1
                    elif span.covered_s * sound.sample_rate_hz >= encoder.min_samples:
                        n_expected += 1
                        notes.flags.update(["sound-gap"] if empty_s else [])
                        if not self._within(span, sound.damaged):
                            samples = copy.read_sound(sound, span.covered_start_s, span.covered_end_s)
                            words = judge_sound(samples, sound.sample_rate_hz)
                            yield span.clip(encoder.prepare_samples(samples), _NO_TIMES, words)
        notes.flags.update(["sound-sanitised"] if sound.sanitised else [])
        if sound.overlap_s > MAX_OVERLAP_S:
            notes.add("sound-overlap", f"{sound.overlap_s:.1f} s of samples that lie over others are left out")
        if n_empty:
            notes.add("sound-gap", _left_out(n_empty, "the track has no samples in most of"))
        if not n_expected and not n_empty:
            lasts_s = sound.end_s - (sound.start_s or 0.0)
            notes.reason = f"no sound: it lasts only {lasts_s:.2f} s, too short for a clip"
        else:
            _note_lost(notes, n_expected, "sound")

    def _within(self, span: _Span, spans_of_source: Sequence[tuple[float, float]]) -> float:
        """Seconds of a span that lie in some spans of the source."""
        of_copy = ((self._copy.copy_time(begin_s), self._copy.copy_time(end_s)) for begin_s, end_s in spans_of_source)
        return sum(
            max(0.0, min(span.covered_end_s, end_s) - max(span.covered_start_s, begin_s)) for begin_s, end_s in of_copy
        )

    def _spans(self, times: NDArray[np.float64], start_s: float, end_s: float) -> list[_Span]:
        """The clips that a stream from ``start_s`` to ``end_s`` really covers."""
        spans = [
            _Span(float(clip[0]), float(clip[1]), max(float(clip[0]), start_s), min(float(clip[1]), end_s))
            for clip in times
        ]
        return [span for span in spans if self._is_enough(span)]

    def _is_enough(self, span: _Span) -> bool:
        return span.covered_s >= min(self._clips.min_tail_s, SHARE_OF_SHORT_CLIP * span.length_s) - 1e-6


@dataclass(frozen=True)
class _Span:
    """A clip's span, and the part of it that a stream covers, in seconds."""

    start_s: float
    end_s: float
    covered_start_s: float
    covered_end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def covered_s(self) -> float:
        return self.covered_end_s - self.covered_start_s

    def clip(self, data: NDArray[Any], times_s: NDArray[np.float64], flags: tuple[str, ...]) -> PreparedClip:
        return PreparedClip(start_s=self.start_s, end_s=self.end_s, data=data, times_s=times_s, flags=flags)


def _frame_times(encoder: VideoEncoder, start_s: float, end_s: float) -> NDArray[np.float64]:
    times_s = np.asarray(encoder.frame_times(start_s, end_s), np.float64)
    if times_s.ndim != 1 or not len(times_s) or not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
        raise EncoderError(
            f"{encoder.name} wants frames at {times_s.tolist()} s of a clip from {start_s:g} to {end_s:g} s. Expected "
            "one or more finite times, none before the one before it. This is a fault of the encoder."
        )
    return times_s


def _shown_part(span: _Span, track: VideoTrack, copy: Augmenter) -> _Span | None:
    """The part of a span in which the picture is not older than a minute: a frame that stays has broken timestamps."""
    start_s, end_s = copy.source_span(span.covered_start_s, span.covered_end_s)
    first, last = (int(index) for index in frames_on_screen(np.array([start_s, end_s]), track))
    if start_s - track.times_s[first] <= MAX_STILL_S:
        return span
    return replace(span, covered_start_s=copy.copy_time(float(track.times_s[first + 1]))) if last > first else None


def _left_out(n_clips: int, what: str) -> str:
    clips = f"{n_clips} clip{'s' if n_clips > 1 else ''}"
    return f"{clips} that {what} {'are' if n_clips > 1 else 'is'} left out"


def _note_lost(notes: Notes, n_expected: int, what: str) -> None:
    lost = n_expected - notes.n_clips
    if lost:
        notes.add("damaged", f"damaged: {lost} of {n_expected} clips of {what} could not be decoded")
