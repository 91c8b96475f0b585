"""The shape of a voice's spectrum in named numbers: brightness, tilt, noisiness and cepstrum. Time is no matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPECTRUM_FFT = 512
SPECTRUM_FLOOR = 1e-10
TILT_HZ = (100.0, 5000.0)
HAMMARBERG_HZ = (2000.0, 5000.0)
N_MELS = 40
N_MFCC = 10
N_MFCC_SPREAD = 4

COLOUR = (
    "centroid_mean_khz",
    "centroid_std_khz",
    "bandwidth_mean_khz",
    "rolloff_mean_khz",
    "flatness_db",
    "tilt_db_per_octave",
    "hammarberg_db",
    "flux_mean",
    *(f"mfcc{i}_mean" for i in range(1, N_MFCC + 1)),
    *(f"mfcc{i}_std" for i in range(1, N_MFCC_SPREAD + 1)),
)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def spectrum_settings() -> Mapping[str, Any]:
    """Every constant of this module that changes the numbers."""
    return {
        "n_fft": SPECTRUM_FFT,
        "floor": SPECTRUM_FLOOR,
        "tilt_hz": list(TILT_HZ),
        "hammarberg_hz": list(HAMMARBERG_HZ),
        "n_mels": N_MELS,
        "n_mfcc": N_MFCC,
        "n_mfcc_spread": N_MFCC_SPREAD,
    }


def power_spectrum(sound: NDArray[np.float32], *, hop: int) -> Floats:
    """Power of a frame around every ``hop``-th sample, shape (n_bins, n_frames), never zero."""
    import librosa

    stft = librosa.stft(sound, n_fft=SPECTRUM_FFT, hop_length=hop)
    return np.asarray(np.abs(stft).astype(np.float64) ** 2 + SPECTRUM_FLOOR)


def spectral_change(spectrum: Floats) -> Floats:
    """Distance of each frame's spectral shape from the one before, 0..1, shape (n_frames,)."""
    shape = np.sqrt(spectrum / spectrum.sum(axis=0, keepdims=True))
    overlap = np.clip((shape[:, 1:] * shape[:, :-1]).sum(axis=0), 0.0, 1.0)
    return np.concatenate([[0.0], np.sqrt(1.0 - overlap)])


def describe_colour(spectrum: Floats, change: Floats, spoken: Mask, *, sample_rate_hz: int) -> dict[str, float]:
    """Shape of the spectrum over the frames where ``spoken`` is true (at least one), by name: see ``COLOUR``."""
    import librosa

    power = spectrum[:, spoken]
    magnitude = np.sqrt(power)
    mel_db = librosa.power_to_db(
        librosa.feature.melspectrogram(S=power, sr=sample_rate_hz, n_mels=N_MELS), amin=SPECTRUM_FLOOR
    )
    mfcc = librosa.feature.mfcc(S=mel_db, n_mfcc=N_MFCC + 1)
    centroid = librosa.feature.spectral_centroid(S=magnitude, sr=sample_rate_hz)
    features = {
        "centroid_mean_khz": float(centroid.mean()) / 1000,
        "centroid_std_khz": float(centroid.std()) / 1000,
        "bandwidth_mean_khz": float(librosa.feature.spectral_bandwidth(S=magnitude, sr=sample_rate_hz).mean()) / 1000,
        "rolloff_mean_khz": float(librosa.feature.spectral_rolloff(S=magnitude, sr=sample_rate_hz).mean()) / 1000,
        "flatness_db": float(10 * np.log10(librosa.feature.spectral_flatness(S=power, power=1.0)).mean()),
        "flux_mean": float(change[spoken].mean()),
        **_slant(power.mean(axis=1), sample_rate_hz),
    }
    features |= {f"mfcc{i}_mean": float(mfcc[i].mean()) for i in range(1, N_MFCC + 1)}
    return features | {f"mfcc{i}_std": float(mfcc[i].std()) for i in range(1, N_MFCC_SPREAD + 1)}


def _slant(mean_power: Floats, sample_rate_hz: int) -> dict[str, float]:
    """How the average spectrum falls: decibels an octave, and the Hammarberg index (peak below against above 2 kHz)."""
    frequency_hz = np.fft.rfftfreq(SPECTRUM_FFT, 1 / sample_rate_hz)
    inside = (frequency_hz >= TILT_HZ[0]) & (frequency_hz <= TILT_HZ[1])
    slope = np.polyfit(np.log2(frequency_hz[inside]), 10 * np.log10(mean_power[inside]), 1)[0]
    split_hz, top_hz = HAMMARBERG_HZ
    below = mean_power[frequency_hz < split_hz].max()
    above = mean_power[(frequency_hz >= split_hz) & (frequency_hz <= top_hz)].max()
    return {"tilt_db_per_octave": float(slope), "hammarberg_db": float(10 * np.log10(below / above))}
