"""Sound of a media file as mono samples at one rate, each run placed by its timestamp on the recording's clock.

The rules are points 3, 7 and 8 of the contract in :mod:`poise.extract.decode`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from poise.extract.media_file import open_media
from poise.extract.probe import AudioTrack, Probe, packets

SILENCE = 1e-4
"""A track whose samples all stay below this (-80 dB of full scale) is silent."""

MAX_SAMPLE = 4.0
"""Lossy codecs overshoot full scale by a few dB; what lies beyond this is damage, not sound."""

MAX_JITTER_S = 0.1
"""Timestamps are rounded; only a jump larger than this is a gap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sound:
    """The sound of a recording.

    Attributes
    ----------
    starts : tuple of int
        Where each run of samples begins, in samples after ``start_s``.
    runs : tuple of ndarray of shape (n_samples,), float32
        Mono samples without a gap. Gaps are not filled here: a broken timestamp may be hours away.
    sample_rate_hz : int
        Samples per second.
    start_s : float
        Time of the first sample in seconds on the recording's clock.
    damaged : tuple of (float, float)
        Spans in which samples could not be decoded.
    sanitised : bool
        Whether values had to be replaced.
    """

    starts: tuple[int, ...]
    runs: tuple[NDArray[np.float32], ...]
    sample_rate_hz: int
    start_s: float
    damaged: tuple[tuple[float, float], ...]
    sanitised: bool

    @property
    def end_s(self) -> float:
        """Time after the last sample in seconds on the recording's clock."""
        return self.start_s + (self.starts[-1] + len(self.runs[-1])) / self.sample_rate_hz

    @property
    def gaps(self) -> tuple[tuple[float, float], ...]:
        """Spans in which the track has no samples."""
        ends = [start + len(run) for start, run in zip(self.starts, self.runs, strict=True)]
        return tuple(
            (self.start_s + end / self.sample_rate_hz, self.start_s + start / self.sample_rate_hz)
            for end, start in zip(ends, self.starts[1:], strict=False)
            if start > end
        )

    @property
    def silent(self) -> bool:
        """Whether nothing can be heard from end to end."""
        return all(len(run) == 0 or float(np.abs(run).max()) < SILENCE for run in self.runs)

    def cut(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Samples of a span, zero in gaps; spans of equal length give equally many, as far as the track reaches."""
        first = max(0, round((start_s - self.start_s) * self.sample_rate_hz))
        last = min(first + round((end_s - start_s) * self.sample_rate_hz), self.starts[-1] + len(self.runs[-1]))
        samples = np.zeros(max(0, last - first), np.float32)
        for start, run in zip(self.starts, self.runs, strict=True):
            begin, end = max(start, first), min(start + len(run), last)
            if begin < end:
                samples[begin - first : end - first] = run[begin - start : end - start]
        return samples  # (n_samples,)


def read_sound(probe: Probe, *, sample_rate_hz: int = 16_000) -> Sound | None:
    """Decode the whole sound track.

    Parameters
    ----------
    probe : Probe
        A file.
    sample_rate_hz : int
        The rate to resample to.

    Returns
    -------
    Sound or None
        None if the file has no sound track, or nothing of it can be decoded.
    """
    if probe.audio is None:
        return None
    runs: list[_Run] = []
    damaged: list[tuple[float, float]] = []
    sanitised = False
    for start_s, samples, rate_hz in _decoded(probe, probe.audio, damaged):
        clean, changed = _sanitise(samples)
        sanitised = sanitised or changed
        run = runs[-1] if runs else None
        expected_s = run.end_s if run is not None else probe.audio.start_s
        begins_s = start_s if start_s is not None else expected_s
        if run is None or run.rate_hz != rate_hz or begins_s > expected_s + MAX_JITTER_S:
            run = _Run(start_s=begins_s, rate_hz=rate_hz, to_hz=sample_rate_hz)
            runs.append(run)
        run.add(clean)
    for run in runs:
        run.finish()
    return _assemble(runs, tuple(damaged), sanitised, sample_rate_hz) if runs else None


@dataclass
class _Run:
    """Samples without a gap, resampled as they come."""

    start_s: float
    rate_hz: int
    to_hz: int
    n_read: int = 0
    parts: list[NDArray[np.float32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        import soxr

        same = self.rate_hz == self.to_hz
        self._stream = None if same else soxr.ResampleStream(self.rate_hz, self.to_hz, 1, dtype="float32", quality="HQ")

    @property
    def end_s(self) -> float:
        return self.start_s + self.n_read / self.rate_hz

    def add(self, samples: NDArray[np.float32], *, last: bool = False) -> None:
        self.n_read += len(samples)
        self.parts.append(samples if self._stream is None else self._stream.resample_chunk(samples, last=last))

    def finish(self) -> None:
        self.add(np.zeros(0, np.float32), last=True)


def _decoded(
    probe: Probe, track: AudioTrack, damaged: list[tuple[float, float]]
) -> Iterator[tuple[float | None, NDArray[np.float32], int]]:
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


def _assemble(
    runs: list[_Run], damaged: tuple[tuple[float, float], ...], sanitised: bool, sample_rate_hz: int
) -> Sound:
    start_s = runs[0].start_s
    starts: list[int] = []
    samples: list[NDArray[np.float32]] = []
    for run in runs:
        end = starts[-1] + len(samples[-1]) if starts else 0
        starts.append(max(end, round((run.start_s - start_s) * sample_rate_hz)))
        samples.append(np.concatenate(run.parts))
        run.parts.clear()
    return Sound(
        starts=tuple(starts),
        runs=tuple(samples),
        sample_rate_hz=sample_rate_hz,
        start_s=start_s,
        damaged=damaged,
        sanitised=sanitised,
    )
