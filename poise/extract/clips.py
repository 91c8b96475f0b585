"""Which time spans of a recording are encoded. Reading media does not live here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError, MediaError

MAX_DURATION_S = 48 * 3600.0
"""A longer recording is taken for one with broken timestamps."""

_EPSILON_S = 1e-3  # container timestamps are rounded to milliseconds


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How a recording is cut into clips.

    Parameters
    ----------
    window_s : float
        Length of a clip in seconds.
    hop_s : float
        From the start of one clip to the start of the next, in seconds.
    min_tail_s : float
        A last, shorter clip is kept if it is at least this long, in seconds.

    Raises
    ------
    ExtractSettingsError
        A length is not a positive number, or the tail is longer than the window.
    """

    window_s: float = 10.0
    hop_s: float = 10.0
    min_tail_s: float = 3.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ExtractSettingsError(f"{name} is {value!r}. Expected a number of seconds, as window_s=10.0.")
            object.__setattr__(self, name, float(value))  # 10 and 10.0 must have one fingerprint
        if self.window_s < 0.1 or self.hop_s < 0.1:
            raise ExtractSettingsError(
                f"window_s is {self.window_s} and hop_s {self.hop_s}. Expected 0.1 s or more, as --window 10 --hop 10."
            )
        if not 0.1 <= self.min_tail_s <= self.window_s:
            raise ExtractSettingsError(
                f"min_tail_s is {self.min_tail_s}. Expected 0.1 s or more, and at most window_s ({self.window_s}), "
                "as --min-tail 3."
            )

    def to_json(self) -> dict[str, float]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ClipSettings:
        """The settings from what :meth:`to_json` gave.

        Raises
        ------
        ExtractSettingsError
            A name is not one of the settings.
        """
        unknown = sorted(values.keys() - cls.__dataclass_fields__.keys())
        if unknown:
            raise ExtractSettingsError(
                f"Unknown clip setting {unknown[0]!r}. Expected {', '.join(cls.__dataclass_fields__)}."
            )
        return cls(**values)


def plan_clips(duration_s: float, settings: ClipSettings) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Cut a recording into clips.

    Parameters
    ----------
    duration_s : float
        Length of the recording in seconds.
    settings : ClipSettings
        How to cut it.

    Returns
    -------
    times : ndarray of shape (n_clips, 2), float64
        Start and end of each clip in seconds: full windows on the hop grid, then the tail if it is long enough.
    flags : tuple of str
        ``("short",)`` if the recording is shorter than the shortest tail and is one clip as a whole.

    Raises
    ------
    MediaError
        The duration is not a positive number of seconds.

    Examples
    --------
    >>> plan_clips(24.0, ClipSettings())[0].tolist()
    [[0.0, 10.0], [10.0, 20.0], [20.0, 24.0]]
    """
    if not math.isfinite(duration_s) or duration_s <= 0:
        raise MediaError(f"The recording is {duration_s:g} s long. Expected more than nothing: there is no clip in it.")
    if duration_s > MAX_DURATION_S:
        raise MediaError(
            f"The timestamps span {duration_s / 3600:.0f} hours. Expected at most {MAX_DURATION_S / 3600:.0f}: they "
            "are broken, or the recording must be cut first."
        )
    if duration_s < settings.min_tail_s - _EPSILON_S:
        return np.array([[0.0, duration_s]]), ("short",)
    n_full = max(0, math.floor((duration_s - settings.window_s + _EPSILON_S) / settings.hop_s) + 1)
    starts = np.arange(n_full, dtype=np.float64) * settings.hop_s
    times = np.stack([starts, starts + settings.window_s], axis=1)  # (n_full, 2)
    tail = n_full * settings.hop_s
    if duration_s - tail >= settings.min_tail_s - _EPSILON_S:
        times = np.concatenate([times, [[tail, duration_s]]])  # (n_clips, 2)
    return times, ()
