"""The weight-free encoder of sound: how somebody speaks, in named numbers; not what is said.

The tracking of the fundamental lives in ``pitch``; decoding and resampling live elsewhere. scipy, which takes half a
second to import, is imported where it is used: a run that finds everything done does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoders.base import AudioEncoder, PreparedClip
from poise.extract.encoders.pitch import PitchSettings, frame_samples, track_pitch
from poise.extract.encoders.spectrum import (
    COLOUR,
    SPECTRUM_FFT,
    describe_colour,
    power_spectrum,
    spectral_change,
    spectrum_settings,
)

SAMPLE_RATE_HZ = 16_000
HOP_S = 0.01
LEVEL_FRAME_S = 0.025
HOP = round(HOP_S * SAMPLE_RATE_HZ)
LEVEL_FRAME = round(LEVEL_FRAME_S * SAMPLE_RATE_HZ)
SILENT_PEAK = 1e-5
REFERENCE_F0_HZ = 100.0
# a pause lies this far below the loud frames, or this low between the quiet and the loud ones, whichever is higher
QUIET_LOUD_PERCENTILES = (5, 98)
PAUSE_BELOW_PEAK_DB = 25.0
PAUSE_SHARE_OF_RANGE = 0.3
MIN_RANGE_DB = 10.0
MIN_PAUSE_S = 0.2
MIN_SPEECH_S = 0.05
SYLLABLE_BLUR_S = 0.025
SYLLABLE_DIP_DB = 2.0
SYLLABLE_APART_S = 0.08
STEADY_SEMITONES = 0.5
STEADY_FLUX = 0.12
MIN_STEADY_S = 0.12
RHYTHM_BANDS_HZ = {"phrase": (0.5, 2.0), "syllable": (2.0, 5.0), "sound": (5.0, 10.0)}
LEVEL_SPAN_DB = 60.0
PITCH = PitchSettings(hop_s=HOP_S)

MELODY = (
    "f0_median_st",
    "f0_spread_st",
    "f0_range_st",
    "f0_slope_st_per_s",
    "f0_movement_st_per_s",
    "f0_wobble_st",
    "voiced_share",
    "voiced_share_of_speech",
    "voiced_run_mean_s",
    "voiced_run_longest_s",
    "harmonicity_mean",
    "harmonicity_std",
)
LOUDNESS = (
    "level_db",
    "level_peak_db",
    "level_range_db",
    "level_spread_db",
    "level_slope_db_per_s",
    "level_movement_db_per_s",
    "level_above_quiet_db",
)
PAUSES = (
    "pauses_per_s",
    "pause_mean_s",
    "pause_longest_s",
    "pause_spread_s",
    "pause_share",
    "speech_run_mean_s",
    "speech_run_longest_s",
    "speech_run_spread_s",
)
RATE = (
    "syllables_per_s",
    "articulation_per_s",
    "voiced_syllables_per_s",
    "syllable_gap_median_s",
    "syllable_gap_variation",
    *(f"rhythm_{band}_share" for band in RHYTHM_BANDS_HZ),
    "steady_share",
    "steady_longest_s",
    "steady_per_s",
)
FEATURE_NAMES = MELODY + LOUDNESS + PAUSES + RATE + COLOUR

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class ProsodyEncoder(AudioEncoder):
    """Prosody of a voice, with no weights: melody, loudness, pauses, rate, rhythm and colour.

    The fundamental follows P. Boersma (1993) (see ``pitch``); pauses and syllable nuclei follow N. H. de Jong and
    T. Wempe (2009), "Praat script to detect syllable nuclei and measure speech rate automatically",
    doi:10.3758/BRM.41.2.385, with an adaptive threshold; steady stretches, which hesitations ("um") are made of, follow
    M. Goto, K. Itou and S. Hayamizu (1999), "A real-time filled pause detection system for spontaneous speech
    recognition", Eurospeech, pp. 227-230: little movement of the fundamental and of the spectrum. The choice of
    statistics leans on F. Eyben et al. (2016), "The Geneva minimalistic acoustic parameter set (GeMAPS)",
    doi:10.1109/TAFFC.2015.2457417.

    All but ``level_db`` and ``level_peak_db`` are free of the gain. What a clip does not have (a fundamental where
    nothing is voiced, pauses where there are none) is zero, and ``voiced_share`` or ``pause_share`` says so.

    Examples
    --------
    >>> encoder = ProsodyEncoder()
    >>> encoder.dim == len(encoder.feature_names)
    True
    """

    name = "prosody"
    wanted_device = "cpu"
    sample_rate_hz = SAMPLE_RATE_HZ
    dim = len(FEATURE_NAMES)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each number of an embedding is."""
        return FEATURE_NAMES

    def settings(self) -> Mapping[str, Any]:
        """Every constant that changes the numbers; ``algorithm`` counts the changes of the method itself."""
        return {
            "algorithm": 1,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "hop_s": HOP_S,
            "level": {"frame_s": LEVEL_FRAME_S, "span_db": LEVEL_SPAN_DB, "silent_peak": SILENT_PEAK},
            "pitch": {**asdict(PITCH), "reference_hz": REFERENCE_F0_HZ},
            "pause": {
                "quiet_loud_percentiles": list(QUIET_LOUD_PERCENTILES),
                "below_peak_db": PAUSE_BELOW_PEAK_DB,
                "share_of_range": PAUSE_SHARE_OF_RANGE,
                "min_range_db": MIN_RANGE_DB,
                "min_pause_s": MIN_PAUSE_S,
                "min_speech_s": MIN_SPEECH_S,
            },
            "syllable": {"blur_s": SYLLABLE_BLUR_S, "dip_db": SYLLABLE_DIP_DB, "apart_s": SYLLABLE_APART_S},
            "steady": {"semitones": STEADY_SEMITONES, "flux": STEADY_FLUX, "min_s": MIN_STEADY_S},
            "rhythm_bands_hz": {name: list(band) for name, band in RHYTHM_BANDS_HZ.items()},
            "spectrum": dict(spectrum_settings()),
            "features": list(FEATURE_NAMES),
        }

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Features of each clip, shape (len(clips), dim), float32, finite."""
        rows = [_describe(np.asarray(clip.data, dtype=np.float32)) for clip in clips]
        values = [[row[name] for name in FEATURE_NAMES] for row in rows]
        return np.asarray(values, dtype=np.float32).reshape(len(clips), self.dim)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Track:
    """What is known of every frame of a clip, all of shape (n_frames,); ``duration_s`` of the clip in seconds."""

    duration_s: float
    level_db: Floats
    threshold_db: float
    speech: Mask
    f0_st: Floats
    strength: Floats

    @property
    def voiced(self) -> Mask:
        return ~np.isnan(self.f0_st)

    @property
    def loud(self) -> Mask:
        """Frames of speech that are not a closure or a breath themselves; never none."""
        loud = self.speech & (self.level_db > self.threshold_db)
        return loud if loud.any() else np.ones_like(loud)


def _describe(samples: NDArray[np.float32]) -> dict[str, float]:
    """All features of one clip by name."""
    centred = samples - samples.mean() if len(samples) else samples
    peak = float(np.abs(centred).max(initial=0.0))
    if peak < SILENT_PEAK:
        silent_db = 20 * np.log10(SILENT_PEAK)
        return {**dict.fromkeys(FEATURE_NAMES, 0.0), "level_db": silent_db, "level_peak_db": silent_db}
    # from here on nothing depends on the gain
    sound = np.pad(centred / np.float32(peak), (0, max(0, SPECTRUM_FFT - len(samples))))
    track = _follow(sound, len(samples) / SAMPLE_RATE_HZ)
    spectrum = power_spectrum(sound, hop=HOP)
    change = spectral_change(spectrum)
    features = _melody(track) | _loudness(track, 20 * np.log10(peak)) | _pauses(track)
    features |= _rate(track) | _rhythm(sound) | _steadiness(track, change)
    return features | describe_colour(spectrum, change, track.loud, sample_rate_hz=SAMPLE_RATE_HZ)


def _follow(sound: NDArray[np.float32], duration_s: float) -> _Track:
    """Level, speech and fundamental of every frame."""
    frames = frame_samples(sound, LEVEL_FRAME, HOP)
    level_db = 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12)
    level_db = np.maximum(level_db, level_db.max() - LEVEL_SPAN_DB)
    quiet, loud = np.percentile(level_db, QUIET_LOUD_PERCENTILES)
    threshold_db = loud - PAUSE_BELOW_PEAK_DB
    if loud - quiet > MIN_RANGE_DB:
        threshold_db = max(threshold_db, quiet + PAUSE_SHARE_OF_RANGE * (loud - quiet))
    speech = _without_short_runs(level_db > threshold_db, min_gap_s=MIN_PAUSE_S, min_run_s=MIN_SPEECH_S)
    f0_hz, strength = track_pitch(sound, SAMPLE_RATE_HZ, PITCH)
    f0_hz = np.where(speech, f0_hz, np.nan)
    return _Track(
        duration_s=duration_s,
        level_db=level_db,
        threshold_db=threshold_db,
        speech=speech,
        f0_st=12 * np.log2(f0_hz / REFERENCE_F0_HZ),
        strength=strength,
    )


def _runs(mask: Mask) -> list[slice]:
    """Stretches of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _lengths_s(runs: Sequence[slice]) -> Floats:
    return np.array([run.stop - run.start for run in runs], dtype=np.float64) * HOP_S


def _without_short_runs(mask: Mask, *, min_gap_s: float, min_run_s: float) -> Mask:
    """The mask with short runs dropped, then short gaps between the others closed."""
    kept = mask.copy()
    for run in _runs(mask):
        kept[run] = (run.stop - run.start) * HOP_S >= min_run_s
    for gap in _runs(~kept):
        inside = gap.start > 0 and gap.stop < len(kept)
        kept[gap] = inside and (gap.stop - gap.start) * HOP_S < min_gap_s
    return kept if kept.any() else mask


def _slope_per_s(values: Floats, mask: Mask) -> float:
    """Slope of the least-squares line through the values where the mask is true, per second."""
    times_s = np.flatnonzero(mask) * HOP_S
    if len(times_s) < 3:
        return 0.0
    offset_s = times_s - times_s.mean()
    return float(offset_s @ (values[mask] - values[mask].mean()) / (offset_s @ offset_s))


def _melody(track: _Track) -> dict[str, float]:
    from scipy.ndimage import uniform_filter1d

    voiced, f0_st = track.voiced, track.f0_st
    features = dict.fromkeys(MELODY, 0.0)
    if not voiced.any():
        return features
    runs = _runs(voiced)
    smooth = [uniform_filter1d(f0_st[run], min(5, run.stop - run.start), mode="nearest") for run in runs]
    moves = np.concatenate([np.abs(np.diff(part)) for part in smooth])
    bends = np.concatenate([np.abs(np.diff(f0_st[run], n=2)) for run in runs])
    low, high = np.percentile(f0_st[voiced], (10, 90))
    return features | {
        "f0_median_st": float(np.median(f0_st[voiced])),
        "f0_spread_st": float(f0_st[voiced].std()),
        "f0_range_st": float(high - low),
        "f0_slope_st_per_s": _slope_per_s(f0_st, voiced),
        "f0_movement_st_per_s": float(moves.mean() / HOP_S) if len(moves) else 0.0,
        "f0_wobble_st": float(np.median(bends)) if len(bends) else 0.0,
        "voiced_share": float(voiced.mean()),
        "voiced_share_of_speech": float(voiced.sum() / max(1, track.speech.sum())),
        "voiced_run_mean_s": float(_lengths_s(runs).mean()),
        "voiced_run_longest_s": float(_lengths_s(runs).max()),
        "harmonicity_mean": float(track.strength[voiced].mean()),
        "harmonicity_std": float(track.strength[voiced].std()),
    }


def _loudness(track: _Track, gain_db: float) -> dict[str, float]:
    spoken = track.level_db[track.loud]
    low, high = np.percentile(spoken, (10, 95))
    quiet, loud = np.percentile(track.level_db, QUIET_LOUD_PERCENTILES)
    both = track.loud[1:] & track.loud[:-1]
    moves = np.abs(np.diff(track.level_db))[both]
    return {
        "level_db": float(spoken.mean()) + gain_db,
        "level_peak_db": float(track.level_db.max()) + gain_db,
        "level_range_db": float(high - low),
        "level_spread_db": float(spoken.std()),
        "level_slope_db_per_s": _slope_per_s(track.level_db, track.loud),
        "level_movement_db_per_s": float(moves.mean() / HOP_S) if len(moves) else 0.0,
        "level_above_quiet_db": float(loud - quiet),
    }


def _pauses(track: _Track) -> dict[str, float]:
    """Pauses and the speech between them; a pause cut by the edge of the clip counts with the length inside."""
    pauses_s = _lengths_s(_runs(~track.speech))
    pauses_s = pauses_s[pauses_s >= MIN_PAUSE_S - HOP_S / 2]
    speech_s = _lengths_s(_runs(track.speech))
    return {
        "pauses_per_s": len(pauses_s) / track.duration_s,
        "pause_mean_s": float(pauses_s.mean()) if len(pauses_s) else 0.0,
        "pause_longest_s": float(pauses_s.max(initial=0.0)),
        "pause_spread_s": float(pauses_s.std()) if len(pauses_s) else 0.0,
        "pause_share": float(1.0 - track.speech.mean()),
        "speech_run_mean_s": float(speech_s.mean()) if len(speech_s) else 0.0,
        "speech_run_longest_s": float(speech_s.max(initial=0.0)),
        "speech_run_spread_s": float(speech_s.std()) if len(speech_s) else 0.0,
    }


def _rate(track: _Track) -> dict[str, float]:
    """Syllable-like peaks of the level, a second of clip and a second of speech, and how evenly they follow."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    level_db = np.maximum(track.level_db, track.threshold_db - SYLLABLE_DIP_DB)
    smooth = gaussian_filter1d(level_db, SYLLABLE_BLUR_S / HOP_S, mode="nearest")
    # of peaks of the same height only the first may stand out from its surroundings
    smooth = smooth - 1e-6 * np.arange(len(smooth))
    edged = np.concatenate([[level_db.min()], smooth, [level_db.min()]])
    peaks, _ = find_peaks(
        edged, height=track.threshold_db, prominence=SYLLABLE_DIP_DB, distance=round(SYLLABLE_APART_S / HOP_S)
    )
    peaks = peaks - 1
    gaps_s = np.diff(peaks) * HOP_S
    paused = np.cumsum(~track.speech)
    fluent_s = gaps_s[paused[peaks[1:]] == paused[peaks[:-1]]]
    speech_s = track.speech.sum() * HOP_S
    return {
        "syllables_per_s": len(peaks) / track.duration_s,
        "articulation_per_s": float(len(peaks) / speech_s) if speech_s else 0.0,
        "voiced_syllables_per_s": float(track.voiced[peaks].sum() / track.duration_s),
        "syllable_gap_median_s": float(np.median(fluent_s)) if len(fluent_s) else 0.0,
        "syllable_gap_variation": float(fluent_s.std() / fluent_s.mean()) if len(fluent_s) else 0.0,
    }


def _rhythm(sound: NDArray[np.float32]) -> dict[str, float]:
    """Shares of the slow modulation of loudness: phrases, syllables, sounds."""
    frames = frame_samples(sound, LEVEL_FRAME, HOP)
    envelope = np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))
    power = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope) + 2)[1:-1])) ** 2
    frequency_hz = np.fft.rfftfreq(len(envelope), HOP_S)
    bands = {
        name: float(power[(frequency_hz >= low) & (frequency_hz < high)].sum())
        for name, (low, high) in RHYTHM_BANDS_HZ.items()
    }
    total = sum(bands.values())
    return {f"rhythm_{name}_share": value / total if total > 0 else 0.0 for name, value in bands.items()}


def _steadiness(track: _Track, change: Floats) -> dict[str, float]:
    """Voiced stretches whose fundamental and spectrum both hardly move, as in a filled pause or a drawn-out vowel."""
    from scipy.ndimage import gaussian_filter1d

    steady = track.voiced & (gaussian_filter1d(change, 2.0, mode="nearest") < STEADY_FLUX)
    for run in _runs(steady):
        moved = np.abs(np.gradient(track.f0_st[run])) if run.stop - run.start > 1 else np.ones(1)
        steady[run] = gaussian_filter1d(moved, 2.0, mode="nearest") < STEADY_SEMITONES
    lengths_s = _lengths_s(_runs(steady))
    lengths_s = lengths_s[lengths_s >= MIN_STEADY_S]
    return {
        "steady_share": float(lengths_s.sum() / track.duration_s),
        "steady_longest_s": float(lengths_s.max(initial=0.0)),
        "steady_per_s": len(lengths_s) / track.duration_s,
    }
