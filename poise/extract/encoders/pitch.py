"""Fundamental frequency of a voice by autocorrelation, frame by frame, in numpy.

What is made of the track is decided in ``prosody``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PitchSettings:
    """Constants of the tracker; the costs are those of Praat's standard settings.

    Attributes
    ----------
    low_hz, high_hz : float
        Range in which a fundamental is looked for.
    frame_s, hop_s : float
        Length and distance of the analysis frames, seconds.
    voicing_threshold, silence_threshold : float
        Autocorrelation and loudness (share of the loudest frame) under which a frame tends to be unvoiced.
    octave_cost, octave_jump_cost, voicing_cost : float
        Price of a lower candidate, of a jump by an octave and of turning voiced or unvoiced.
    n_candidates : int
        Candidates that each frame may choose from, besides unvoiced.
    """

    low_hz: float = 65.0
    high_hz: float = 500.0
    frame_s: float = 0.048
    hop_s: float = 0.01
    voicing_threshold: float = 0.45
    silence_threshold: float = 0.03
    octave_cost: float = 0.01
    octave_jump_cost: float = 0.35
    voicing_cost: float = 0.14
    n_candidates: int = 4


def frame_samples(samples: NDArray[np.float32], frame: int, hop: int) -> NDArray[np.float32]:
    """Frames centred on every ``hop``-th sample, zeros beyond the ends, shape (1 + n_samples // hop, frame)."""
    padded = np.pad(samples, (frame // 2, frame - frame // 2))
    return np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop][: 1 + len(samples) // hop]


def track_pitch(
    samples: NDArray[np.float32], sample_rate_hz: int, settings: PitchSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Track the fundamental of a voice.

    The autocorrelation method of P. Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the
    harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, pp. 97-110: the windowed autocorrelation is
    divided by that of the window, each frame proposes a few candidates and the cheapest path through them is taken.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,), float32
        Mono sound.
    sample_rate_hz : int
        Samples a second.
    settings : PitchSettings
        Range, frames and costs.

    Returns
    -------
    f0_hz : ndarray of shape (n_frames,), float64
        Fundamental of each frame in Hz; NaN where unvoiced.
    strength : ndarray of shape (n_frames,), float64
        Autocorrelation at the chosen lag, 0..1; 0 where unvoiced.
    """
    frames = frame_samples(samples, round(settings.frame_s * sample_rate_hz), round(settings.hop_s * sample_rate_hz))
    peak = np.abs(frames).max(axis=1)
    loudness = peak / max(float(peak.max()), 1e-12)
    lags, values = _candidates(_autocorrelate(frames), sample_rate_hz, settings)
    f0_hz = sample_rate_hz / lags
    quiet = 2.0 - loudness / (settings.silence_threshold / (1.0 + settings.voicing_threshold))
    scores = np.column_stack(
        [
            settings.voicing_threshold + np.maximum(0.0, quiet),
            values - settings.octave_cost * np.log2(settings.low_hz / f0_hz),
        ]
    )
    frequencies = np.column_stack([np.full(len(f0_hz), np.nan), f0_hz])  # (n_frames, 1 + n_candidates)
    path = _cheapest_path(scores, frequencies, settings)
    rows = np.arange(len(path))
    chosen = frequencies[rows, path]
    strength = np.column_stack([np.zeros(len(values)), values])[rows, path]
    return chosen, np.clip(strength, 0.0, 1.0)


def _autocorrelate(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normalised autocorrelation freed of the window's, lags 0 to half a frame, shape (n_frames, frame // 2)."""
    length = frames.shape[1]
    n_fft = int(2 ** np.ceil(np.log2(1.5 * length)))
    window = np.hanning(length + 2)[1:-1]
    windowed = (frames - frames.mean(axis=1, keepdims=True)) * window
    raw = np.fft.irfft(np.abs(np.fft.rfft(windowed, n_fft)) ** 2)[:, : length // 2]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, n_fft)) ** 2)[: length // 2]
    return np.asarray(raw / np.maximum(raw[:, :1], 1e-12) / (own / own[0]))


def _candidates(
    correlation: NDArray[np.float64], sample_rate_hz: int, settings: PitchSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lags (samples) and heights of the best local maxima, both (n_frames, n_candidates); a height of -9 means none."""
    first = max(2, int(sample_rate_hz / settings.high_hz))
    last = min(correlation.shape[1] - 1, int(np.ceil(sample_rate_hz / settings.low_hz)) + 1)
    before, here, after = (correlation[:, first + d : last + d] for d in (-1, 0, 1))
    is_peak = (here > before) & (here >= after)
    lag = np.arange(first, last)
    ranked = np.where(is_peak, here - settings.octave_cost * np.log2(settings.low_hz / sample_rate_hz * lag), -9.0)
    best = np.argsort(-ranked, axis=1)[:, : settings.n_candidates]
    b, h, a = (np.take_along_axis(part, best, axis=1) for part in (before, here, after))
    found = np.take_along_axis(is_peak, best, axis=1)
    curve = np.where(found, b - 2 * h + a, -1.0)
    shift = np.where(found, 0.5 * (b - a) / np.minimum(curve, -1e-12), 0.0)
    height = np.where(found, np.minimum(h - 0.25 * (b - a) * shift, 1.0), -9.0)
    return lag[best] + np.clip(shift, -1.0, 1.0), height


def _cheapest_path(
    scores: NDArray[np.float64], frequencies: NDArray[np.float64], settings: PitchSettings
) -> NDArray[np.intp]:
    """Viterbi's best choice of one candidate a frame, shape (n_frames,)."""
    octaves = np.log2(frequencies)
    voiced = ~np.isnan(octaves)
    jump = settings.octave_jump_cost * np.abs(octaves[1:, None, :] - octaves[:-1, :, None])
    turn = voiced[1:, None, :] != voiced[:-1, :, None]
    cost = np.where(turn, settings.voicing_cost, np.nan_to_num(jump, nan=0.0))  # (n_frames - 1, from, to)
    total = scores[0]
    back = np.zeros(scores.shape, dtype=np.intp)
    for i in range(1, len(scores)):
        through = total[:, None] - cost[i - 1]
        back[i] = through.argmax(axis=0)
        total = through.max(axis=0) + scores[i]
    path = np.empty(len(scores), dtype=np.intp)
    path[-1] = int(total.argmax())
    for i in range(len(scores) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path
