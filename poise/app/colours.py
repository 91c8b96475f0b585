"""Colours of levels: a scale from low to high that is told apart without red and green, on a dark and a light page."""

from __future__ import annotations

_ANCHORS = ((0.58, 0.17, 277.0), (0.66, 0.11, 190.0), (0.72, 0.15, 75.0))
"""OKLCH: violet, teal, gold; lightness rises with the level, and each stands out from white and from black."""


def level_colours(n_levels: int) -> list[str]:
    """One colour for each level, lowest first.

    Parameters
    ----------
    n_levels : int

    Returns
    -------
    list of str
        As CSS writes them, ``oklch(…)``.
    """
    places = [place / max(n_levels - 1, 1) for place in range(n_levels)]
    return [_mix(place) for place in places]


def _mix(place: float) -> str:
    scaled = place * (len(_ANCHORS) - 1)
    first = min(int(scaled), len(_ANCHORS) - 2)
    part = scaled - first
    low, high = _ANCHORS[first], _ANCHORS[first + 1]
    light, chroma, hue = (a + part * (b - a) for a, b in zip(low, high, strict=True))
    return f"oklch({light:.3f} {chroma:.3f} {hue:.1f})"
