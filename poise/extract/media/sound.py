"""Sound of a media file as mono samples at one rate, each run placed by its timestamp on the recording's clock.

The rules are points 3, 7 and 8 of the contract in :mod:`poise.extract.media.decode`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from poise.extract.media.opening import open_media
from poise.extract.media.probe import AudioTrack, Probe, packets

SILENCE = 1e-4
"""A track whose samples all stay below this (-80 dB of full scale) is silent."""

MAX_SAMPLE = 4.0
"""Lossy codecs overshoot full scale by a few dB; what lies beyond this is damage, not sound."""

MAX_JITTER_S = 0.1
"""Timestamps are rounded; only a jump larger than this is a gap."""


class SoundReader:
    """The sound of a recording, decoded once from its start to its end; only what is still to be cut is held.

    Parameters
    ----------
    probe : Probe
        A file.
    sample_rate_hz : int
        The rate to resample to.

    Attributes
    ----------
    start_s : float or None
        Time of the first sample on the recording's clock, seconds; None until one was decoded.
    gaps : list of (float, float)
        Spans without samples, as far as they were read and not forgotten. Nothing is filled in: a broken timestamp may
        be hours away.
    damaged : list of (float, float)
        Spans in which samples could not be decoded.
    overlap_s : float
        Seconds of samples so far that are left out: by their timestamps, others lie there already.
    sanitised : bool
        Whether values had to be replaced.
    """

    def __init__(self, probe: Probe, *, sample_rate_hz: int = 16_000) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.start_s: float | None = None
        self.gaps: list[tuple[float, float]] = []
        self.damaged: list[tuple[float, float]] = []
        self.overlap_s = 0.0
        self.sanitised = False
        self._frames = _decoded(probe, probe.audio, self.damaged) if probe.audio is not None else None
        self._first_s = probe.audio.start_s if probe.audio is not None else 0.0
        self._run: _Run | None = None
        self._end = 0  # samples after start_s
        self._n_overlapping = 0  # samples of this run that lie where others are
        self._chunks: deque[tuple[int, NDArray[np.float32]]] = deque()

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._frames is not None:
            self._frames.close()

    @property
    def end_s(self) -> float:
        """Time after the last sample that was read, in seconds on the recording's clock."""
        return (self.start_s if self.start_s is not None else self._first_s) + self._end / self.sample_rate_hz

    def read_until(self, time_s: float) -> None:
        """Read on until there are samples up to ``time_s``, or no more; at least until the first."""
        while self._frames is not None and (self.start_s is None or self.end_s < time_s):
            self._read_on()

    def is_silent(self) -> bool:
        """Whether nothing can be heard from here to the end; reads to the first sound and forgets what it read."""
        while self._frames is not None or self._chunks:
            if any(len(chunk) and float(np.abs(chunk).max()) >= SILENCE for _, chunk in self._chunks):
                return False
            self._chunks.clear()
            if self._frames is not None:
                self._read_on()
        return True

    def forget_before(self, time_s: float) -> None:
        """Let go what lies before a time."""
        first = self._sample(time_s)
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) <= first:
            self._chunks.popleft()
        for spans in (self.gaps, self.damaged):
            spans[:] = [span for span in spans if span[1] > time_s]

    def cut(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Samples of a span, zero in gaps; spans of equal length give equally many, as far as the track was read."""
        first = max(0, self._sample(start_s))
        last = min(first + round((end_s - start_s) * self.sample_rate_hz), self._end)
        samples = np.zeros(max(0, last - first), np.float32)
        for start, chunk in self._chunks:
            begin, end = max(start, first), min(start + len(chunk), last)
            if begin < end:
                samples[begin - first : end - first] = chunk[begin - start : end - start]
        return samples  # (n_samples,)

    def _sample(self, time_s: float) -> int:
        return round((time_s - (self.start_s if self.start_s is not None else 0.0)) * self.sample_rate_hz)

    def _read_on(self) -> None:
        frame = next(self._frames, None) if self._frames is not None else None
        if frame is None:
            self.close()
            self._frames = None
            self._finish_run()
            return
        start_s, samples, rate_hz = frame
        clean, changed = _sanitise(samples)
        self.sanitised = self.sanitised or changed
        expected_s = self._run.end_s if self._run is not None else self._first_s
        begins_s = start_s if start_s is not None else expected_s
        run = self._run
        if run is None or run.rate_hz != rate_hz or abs(begins_s - expected_s) > MAX_JITTER_S:
            self._finish_run()
            self._begin_run(begins_s)
            run = self._run = _Run(start_s=begins_s, rate_hz=rate_hz, to_hz=self.sample_rate_hz)
        self._take(run.resample(clean))

    def _begin_run(self, begins_s: float) -> None:
        if self.start_s is None:
            self.start_s = begins_s
        before_s, start = self.end_s, self._sample(begins_s)
        self._n_overlapping = max(0, self._end - start)
        if start > self._end:
            self._end = start
            self.gaps.append((before_s, self.end_s))

    def _finish_run(self) -> None:
        if self._run is not None:
            self._take(self._run.resample(np.zeros(0, np.float32), last=True))

    def _take(self, samples: NDArray[np.float32]) -> None:
        if self._n_overlapping and len(samples):
            n_left_out = min(self._n_overlapping, len(samples))
            self._n_overlapping -= n_left_out
            self.overlap_s += n_left_out / self.sample_rate_hz
            samples = samples[n_left_out:]
        if len(samples):
            self._chunks.append((self._end, samples))
            self._end += len(samples)


@dataclass
class _Run:
    """Samples without a gap, resampled as they come."""

    start_s: float
    rate_hz: int
    to_hz: int
    n_read: int = 0

    def __post_init__(self) -> None:
        import soxr

        same = self.rate_hz == self.to_hz
        self._stream = None if same else soxr.ResampleStream(self.rate_hz, self.to_hz, 1, dtype="float32", quality="HQ")

    @property
    def end_s(self) -> float:
        return self.start_s + self.n_read / self.rate_hz

    def resample(self, samples: NDArray[np.float32], *, last: bool = False) -> NDArray[np.float32]:
        self.n_read += len(samples)
        if self._stream is None:
            return samples
        resampled: NDArray[np.float32] = self._stream.resample_chunk(samples, last=last)
        return resampled


def _decoded(
    probe: Probe, track: AudioTrack, damaged: list[tuple[float, float]]
) -> Generator[tuple[float | None, NDArray[np.float32], int], None, None]:
    """Start (None if unknown), mono samples and rate of each decoded frame; spans of lost packets go to ``damaged``."""
    with closing(open_media(probe.path)) as container:
        stream: Any = container.streams[track.stream]
        unit_s = stream.time_base.numerator / stream.time_base.denominator
        started = False
        for packet in packets(container, [stream]):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                if started and packet.pts is not None:  # streams cut in the middle begin with what refers to the past
                    start_s = packet.pts * unit_s - probe.origin_s
                    damaged.append((start_s, start_s + (packet.duration or 0) * unit_s))
                continue
            frame: Any
            for frame in frames:
                started = True
                start_s = None if frame.time is None else float(frame.time) - probe.origin_s
                yield start_s, _mono(frame), int(frame.sample_rate)


def _mono(frame: Any) -> NDArray[np.float32]:
    """Mean over the channels in [-1, 1]; ffmpeg's own downmix is 3 dB too loud."""
    values = frame.to_ndarray()
    n_channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        values = values.reshape(-1, n_channels).T  # (n_channels, n_samples)
    if values.dtype.kind == "u":
        values = values.astype(np.float64) - 128.0
        values /= 128.0
    elif values.dtype.kind == "i":
        values = values / float(-np.iinfo(values.dtype).min)
    with np.errstate(over="ignore", invalid="ignore"):
        mono: NDArray[np.float32] = values.mean(axis=0, dtype=np.float64).astype(np.float32)  # (n_samples,)
    return mono


def _sanitise(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
    if np.isfinite(samples).all() and (len(samples) == 0 or np.abs(samples).max() <= MAX_SAMPLE):
        return samples, False
    finite = np.nan_to_num(samples, nan=0.0, posinf=MAX_SAMPLE, neginf=-MAX_SAMPLE)
    return np.clip(finite, -MAX_SAMPLE, MAX_SAMPLE).astype(np.float32), True
