"""Values with their intervals, one below the other on one axis. Which values they are is told by whoever calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from poise.heads.report.canvas import WIDTH, Canvas, Scale, find_ticks, make_scale
from poise.heads.report.wording import figure

_LEFT, _RIGHT = 14, 48
_LABEL, _TRACK, _GAP = 18, 15, 8


@dataclass(frozen=True, kw_only=True)
class Track:
    """One value on a line of its own.

    Attributes
    ----------
    value : float or None
        None where it is not defined: nothing is drawn but a dash.
    ends : pair of float or None
        Of its interval.
    shape, kind : str
        Mark and classes of the page's style.
    beside : tuple of (float, str, str)
        Values to compare it with, as value, shape and classes.
    """

    value: float | None
    ends: Sequence[float] | None = None
    shape: str = "circle"
    kind: str = "fill c0"
    beside: tuple[tuple[float, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A label, and the tracks below it."""

    label: str
    tracks: tuple[Track, ...]


def draw_forest(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    words: str,
    axis: str,
    zero: str = "",
    legend: Sequence[tuple[str, str, str]] = (),
) -> Markup:
    """Values with intervals as a plot.

    Parameters
    ----------
    lines : sequence of Line
        From top to bottom.
    name, title, words : str
        See :meth:`Canvas.finish`.
    axis : str
        What is measured.
    zero : str
        What the value 0 stands for; it gets a line of its own if there is something to say.
    legend : sequence of (shape, classes, words)
    """
    canvas = Canvas()
    heights = [_LABEL + _TRACK * len(line.tracks) + _GAP for line in lines]
    top = canvas.legend(legend, 0) + (20 if zero else 4)
    bottom = top + sum(heights)
    low, high = _reach(lines, zero=bool(zero))
    scale = make_scale(low, high, _LEFT, WIDTH - _RIGHT)
    canvas.axis_below(scale, find_ticks(low, high), top=top, bottom=bottom)
    if zero:
        canvas.line(scale(0), top - 3, scale(0), bottom, "zero")
        side = "start" if scale(0) < WIDTH / 3 else "end" if scale(0) > 2 * WIDTH / 3 else "middle"
        canvas.text(scale(0), top - 7, zero, "t small", anchor=side)
    y = top
    for line, height in zip(lines, heights, strict=True):
        _draw_line(canvas, line, scale, y)
        y += height
    canvas.text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 33, axis, "t small", anchor="middle")
    return canvas.finish(bottom + 40, name=name, title=title, words=words)


def _draw_line(canvas: Canvas, line: Line, scale: Scale, y: float) -> None:
    canvas.text(_LEFT, y + 13, line.label, "t label", most=56)
    for number, track in enumerate(line.tracks):
        middle = y + _LABEL + _TRACK * number + 6
        canvas.line(_LEFT, middle, WIDTH - _RIGHT, middle, "rail")
        if track.ends is not None:
            for end in track.ends:
                canvas.line(scale(end), middle - 4, scale(end), middle + 4, f"whisker {track.kind}")
            canvas.line(scale(track.ends[0]), middle, scale(track.ends[1]), middle, f"whisker {track.kind}")
        for value, shape, kind in track.beside:
            canvas.mark(shape, scale(value), middle, kind)
        if track.value is not None:
            canvas.mark(track.shape, scale(track.value), middle, track.kind)
        canvas.text(WIDTH - 4, middle + 4, figure(track.value), "t figure", anchor="end")


def _reach(lines: Sequence[Line], *, zero: bool) -> tuple[float, float]:
    values = [0.0] if zero else []
    for line in lines:
        for track in line.tracks:
            values += [] if track.value is None else [track.value]
            values += track.ends or ()
            values += [value for value, _, _ in track.beside]
    low, high = min(values, default=0.0), max(values, default=1.0)
    spare = 0.04 * ((high - low) or 1.0)
    return low - spare, high + spare
