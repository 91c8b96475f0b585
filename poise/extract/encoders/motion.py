"""The weight-free encoder of pictures: how much, where, how fast and in what rhythm something moves.

Least-squares flow itself lives in ``flow``; decoding lives elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoders.base import PreparedClip, VideoEncoder
from poise.extract.encoders.flow import displacements, sum_cells

RATE_HZ = 12.0
HEIGHT_PX = 72
MIN_WIDTH_PX, MAX_WIDTH_PX = 24, 216
SAMPLES_PER_PIXEL = 4
LUMA = (0.299, 0.587, 0.114)
GRID = (3, 4)
ROWS = ("upper", "middle", "lower")
BANDS_HZ = {"slow": (0.3, 1.0), "middle": (1.0, 2.5), "fast": (2.5, 5.0)}
NOISE_FLOOR = 2.0 / 255
ACTIVE_CHANGE = 5.0 / 255
STILL_ACTIVE_SHARE = 0.002
BURST_MADS = 3.0
BURST_FLOOR_PER_S = 0.01
FOREGROUND_STD = 5.0 / 255
CROSSING_SPEED_PER_S = 0.02
FLOW: Mapping[str, Any] = {
    "n_levels": 3,
    "n_iterations": 2,
    "blur_px": 1.0,
    "gradient_floor": 0.005,
    "max_share": 0.25,
}


class MotionEncoder(VideoEncoder):
    """Motion statistics of a talking person, with no weights.

    Looks 12 times a second, at pictures 72 pixels high. Frame differences (J. W. Davis and A. F. Bobick, 1997, "The
    representation and recognition of human movement using temporal templates", doi:10.1109/CVPR.1997.609439, use them
    the same way) say how much changes and where; least-squares flow says how fast and in what direction, weighted by
    how much each pixel changes at all, so that a still background does not hold the moving part back. Time is read
    from the frames' own timestamps. Lengths are in frame heights, changes in shares of the full grey range, rates per
    second.

    Examples
    --------
    >>> encoder = MotionEncoder()
    >>> encoder.dim == len(encoder.feature_names)
    True
    """

    name = "motion"
    wanted_device = "cpu"

    def __init__(self) -> None:
        self.dim = len(self.feature_names)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What each number of an embedding is."""
        return _feature_names()

    def settings(self) -> Mapping[str, Any]:
        """Every constant that changes the numbers; ``algorithm`` counts the changes of the method itself."""
        return {
            "algorithm": 1,
            "rate_hz": RATE_HZ,
            "height_px": HEIGHT_PX,
            "width_px": [MIN_WIDTH_PX, MAX_WIDTH_PX],
            "samples_per_pixel": SAMPLES_PER_PIXEL,
            "luma": list(LUMA),
            "grid": list(GRID),
            "bands_hz": {name: list(band) for name, band in BANDS_HZ.items()},
            "noise_floor": NOISE_FLOOR,
            "active_change": ACTIVE_CHANGE,
            "still_active_share": STILL_ACTIVE_SHARE,
            "burst": {"mads": BURST_MADS, "floor_per_s": BURST_FLOOR_PER_S},
            "foreground_std": FOREGROUND_STD,
            "crossing_speed_per_s": CROSSING_SPEED_PER_S,
            "flow": dict(FLOW),
            "features": list(self.feature_names),
        }

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Times in ``[start_s, end_s)`` 1/12 s apart, the first at ``start_s``."""
        n_frames = max(1, int(np.ceil((end_s - start_s) * RATE_HZ - 1e-6)))
        return np.asarray(start_s + np.arange(n_frames) / RATE_HZ)

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Grey area averages, 72 pixels high and as wide as the aspect asks (24 to 216), uint8."""
        height, width = frame.shape[:2]
        n_columns = int(np.clip(round(HEIGHT_PX * width / height), MIN_WIDTH_PX, MAX_WIDTH_PX))
        # of a large picture every k-th pixel is enough: at least 4 x 4 of them still make one averaged pixel
        step = max(1, min(height // HEIGHT_PX, width // n_columns) // SAMPLES_PER_PIXEL)
        grey = frame[::step, ::step] @ np.asarray(LUMA, dtype=np.float32)  # (height, width)
        down, right = _area_matrix(grey.shape[0], HEIGHT_PX), _area_matrix(grey.shape[1], n_columns)
        return np.clip(np.rint(down @ grey @ right.T), 0, 255).astype(np.uint8)

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Features of each clip, shape (len(clips), dim), float32, finite."""
        rows = [list(_describe(clip).values()) for clip in clips]
        return np.asarray(rows, dtype=np.float32).reshape(len(clips), self.dim)


@lru_cache(maxsize=1)
def _feature_names() -> tuple[str, ...]:
    """Names in order, taken from a clip of nothing so that names and numbers cannot disagree."""
    black = np.zeros((1, HEIGHT_PX, HEIGHT_PX), dtype=np.uint8)
    return tuple(_describe(PreparedClip(start_s=0.0, end_s=1.0, data=black, times_s=np.zeros(1))))


@lru_cache(maxsize=32)
def _area_matrix(n_in: int, n_out: int) -> NDArray[np.float32]:
    """Weights of area averaging along one axis, shape (n_out, n_in), each row summing to one."""
    edges = np.arange(n_out + 1) * (n_in / n_out)
    pixels = np.arange(n_in)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _describe(clip: PreparedClip) -> dict[str, float]:
    """All features of one clip by name."""
    times_s, first = np.unique(clip.times_s, return_index=True)
    frames = np.asarray(clip.data)[first].astype(np.float32) / np.float32(255)  # (n_frames, height, width)
    features = _brightness(frames)
    if len(frames) < 2:
        # one picture cannot move: the same code runs on it twice, so every rate is a true zero
        frames, times_s = np.repeat(frames, 2, axis=0), np.array([0.0, 1.0 / RATE_HZ])
    change = np.maximum(np.abs(np.diff(frames, axis=0)) - np.float32(NOISE_FLOOR), 0)
    features |= _energy(change, times_s)
    features |= _places(change)
    features |= _movement(frames, times_s)
    return features


def _brightness(frames: NDArray[np.float32]) -> dict[str, float]:
    per_frame = frames.mean(axis=(1, 2))
    rows = sum_cells(frames.mean(axis=0, keepdims=True), (3, 1)).ravel() / (frames[0].size / 3)
    return {
        "brightness_mean": float(per_frame.mean()),
        "brightness_std": float(per_frame.std()),
        "brightness_range": float(np.ptp(per_frame)),
        "contrast": float(frames.std(axis=(1, 2)).mean()),
        "brightness_upper_minus_lower": float(rows[0] - rows[-1]),
    }


def _energy(change: NDArray[np.float32], times_s: NDArray[np.float64]) -> dict[str, float]:
    """How much changes: frame differences per second, their spread over time, stillness, bursts and rhythm."""
    steps_s = np.diff(times_s)
    total_s = float(steps_s.sum())
    energy = change.mean(axis=(1, 2)) / steps_s
    active = (change > ACTIVE_CHANGE - NOISE_FLOOR).mean(axis=(1, 2))
    still = active < STILL_ACTIVE_SHARE
    features = {
        "energy_mean": float(np.average(energy, weights=steps_s)),
        "energy_std": float(energy.std()),
        "energy_variation": float(energy.std() / (energy.mean() + BURST_FLOOR_PER_S)),
        "active_share_mean": float(np.average(active, weights=steps_s)),
        "active_share_std": float(active.std()),
        "still_share": float(steps_s[still].sum() / total_s),
        "still_longest_share": _longest_run_s(still, steps_s) / total_s,
        "bursts_per_s": _count_bursts(energy) / total_s,
    }
    for percent, value in zip((10, 50, 90, 98), np.percentile(energy, (10, 50, 90, 98)), strict=True):
        features[f"energy_p{percent}"] = float(value)
    by_row = sum_cells(change, (3, 1))[..., 0] / (change[0].size / 3) / steps_s[:, None]  # (n_frames - 1, 3)
    for row, values in zip(ROWS, by_row.T, strict=True):
        features[f"bursts_{row}_per_s"] = _count_bursts(values) / total_s
    summed = np.concatenate([[0.0], np.cumsum(energy * steps_s)])
    features |= {f"energy_{name}": value for name, value in _band_speeds(summed, times_s).items()}
    return features


def _places(change: NDArray[np.float32]) -> dict[str, float]:
    """Where it changes: the share of each cell, the centre and the spread; all zero where nothing does."""
    cells = sum_cells(change, GRID).sum(axis=0)  # rows, columns
    total = float(cells.sum())
    shares = cells / total if total > 0 else np.zeros(GRID)
    down, right = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in GRID], indexing="ij")
    centre_down, centre_right = float((shares * down).sum()), float((shares * right).sum())
    spread = float((shares * ((down - centre_down) ** 2 + (right - centre_right) ** 2)).sum())
    features = {"place_down": centre_down, "place_right": centre_right, "place_spread": float(np.sqrt(spread))}
    for (row, column), share in np.ndenumerate(shares):
        features[f"share_{row}{column}"] = float(share)
    return features


def _movement(frames: NDArray[np.float32], times_s: NDArray[np.float64]) -> dict[str, float]:
    """How fast and in what rhythm it moves: flow of the whole foreground and of each cell."""
    steps_s = np.diff(times_s)
    variance = frames.var(axis=0)
    weights = variance / (variance + np.float32(FOREGROUND_STD**2))
    whole = displacements(frames, weights, grid=(1, 1), **FLOW)[:, 0, 0].astype(np.float64) / frames.shape[1]
    cells = displacements(frames, weights, grid=GRID, **FLOW).astype(np.float64) / frames.shape[1]
    speed = np.hypot(*whole.T) / steps_s
    features = {"speed_mean": float(np.average(speed, weights=steps_s)), "speed_std": float(speed.std())}
    for percent, value in zip((50, 90), np.percentile(speed, (50, 90)), strict=True):
        features[f"speed_p{percent}"] = float(value)
    for axis, name in enumerate(("vertical", "horizontal")):
        features |= {f"{name}_{key}": value for key, value in _direction(whole[:, axis], times_s).items()}
    cell_speed = np.hypot(cells[..., 0], cells[..., 1]).sum(axis=0) / steps_s.sum()
    for (row, column), value in np.ndenumerate(cell_speed):
        features[f"speed_{row}{column}"] = float(value)
    return features


def _direction(steps: NDArray[np.float64], times_s: NDArray[np.float64]) -> dict[str, float]:
    """Movement along one axis: spread of the velocity, turns, reach and speed in three bands of rhythm."""
    velocity = steps / np.diff(times_s)
    position = np.concatenate([[0.0], np.cumsum(steps)])
    signs = np.sign(velocity[np.abs(velocity) > CROSSING_SPEED_PER_S])
    low, high = np.percentile(position, (5, 95))
    return {
        "std": float(velocity.std()),
        "turns_per_s": float(np.count_nonzero(np.diff(signs)) / (times_s[-1] - times_s[0])),
        "reach": float(high - low),
        **_band_speeds(position, times_s),
    }


def _band_speeds(position: NDArray[np.float64], times_s: NDArray[np.float64]) -> dict[str, float]:
    """Root-mean-square velocity within each band of frequency, from positions at uneven times."""
    n_steps = round(float(times_s[-1] - times_s[0]) * RATE_HZ)
    if n_steps < 4:
        return dict.fromkeys(BANDS_HZ, 0.0)
    even_s = np.linspace(times_s[0], times_s[-1], n_steps + 1)
    step_s = even_s[1] - even_s[0]
    velocity = np.diff(np.interp(even_s, times_s, position)) / step_s
    window = np.hanning(n_steps + 2)[1:-1]
    spectrum = np.fft.rfft((velocity - velocity.mean()) * window)
    power = 2 * np.abs(spectrum) ** 2 / (n_steps * np.sum(window**2))
    frequency_hz = np.fft.rfftfreq(n_steps, step_s)
    return {
        name: float(np.sqrt(power[(frequency_hz >= low) & (frequency_hz < high)].sum()))
        for name, (low, high) in BANDS_HZ.items()
    }


def _count_bursts(values: NDArray[Any]) -> int:
    """How often the values rise above their median by three robust standard deviations and a floor."""
    middle = np.median(values)
    threshold = middle + BURST_MADS * 1.4826 * np.median(np.abs(values - middle)) + BURST_FLOOR_PER_S
    above = np.concatenate([[False], values > threshold])
    return int(np.count_nonzero(above[1:] & ~above[:-1]))


def _longest_run_s(still: NDArray[np.bool_], steps_s: NDArray[np.float64]) -> float:
    """Length of the longest stretch of stillness, seconds."""
    longest = current = 0.0
    for is_still, step_s in zip(still, steps_s, strict=True):
        current = current + float(step_s) if is_still else 0.0
        longest = max(longest, current)
    return longest
