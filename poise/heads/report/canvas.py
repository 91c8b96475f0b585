"""Drawing as SVG text: lines, bars, marks and axes, coloured by the page's style. What is drawn lives elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

from poise.heads.report.wording import figure, fit, measure, show

WIDTH = 400
"""Units across every plot: narrow, so that its letters can be read on a phone."""

LETTER = 6.3
"""Units that a character of a plot's text is wide, about."""

MARKS = ("circle", "square", "triangle", "diamond", "cross")
"""Shapes of marks, so that nothing is told by colour alone."""

N_COLOURS = 7
"""Colours ``c0`` … of the page's style: Okabe and Ito's, without black."""

Scale = Callable[[float], float]

_ROW = 18


def make_scale(low: float, high: float, start: float, end: float) -> Scale:
    """Place of a value between two ends of an axis."""
    reach = (high - low) or 1.0
    return lambda value: start + (value - low) / reach * (end - start)


def find_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values between two ends, at most so many."""
    if low == high:
        return [low]
    raw = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def count_digits(ticks: Sequence[float]) -> int:
    """Digits behind the point that tell ticks apart, one at least."""
    return next((digits for digits in (1, 2, 3) if all(abs(tick - round(tick, digits)) < 1e-9 for tick in ticks)), 4)


class Canvas:
    """Collects the parts of one plot, :data:`WIDTH` units wide."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line; ``kind`` are classes of the page's style."""
        self._parts.append(f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def path(self, points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> None:
        """A line through points, or the area within."""
        through = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._parts.append(f'<path class="{kind}" d="M{through}{"Z" if closed else ""}"/>')

    def bar(self, x: float, y: float, width: float, height: float, kind: str, *, strength: float = 1.0) -> None:
        """A rectangle, filled as strongly as ``strength`` says."""
        faint = f' fill-opacity="{_n(strength, 2)}"' if strength < 1 else ""
        self._parts.append(
            f'<rect class="{kind}" x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" '
            f'height="{_n(max(height, 0))}"{faint}/>'
        )

    def mark(self, shape: str, x: float, y: float, kind: str, *, size: float = 4.5) -> None:
        """A mark of one of the :data:`MARKS`; ``size`` is half its width."""
        if shape == "circle":
            self._parts.append(f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(size)}"/>')
            return
        corners = _CORNERS[shape]
        steps = "L".join(f"{_n(x + size * across)} {_n(y + size * down)}" for across, down in corners)
        self._parts.append(f'<path class="{kind}" d="M{steps}Z"/>')

    def text(self, x: float, y: float, text: str, kind: str = "t", *, anchor: str = "start", most: int = 60) -> None:
        """Text of at most so many columns; ``anchor`` is start, middle or end."""
        turn = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{turn}>{escape(fit(text, most))}</text>')

    def axis_below(self, scale: Scale, ticks: Sequence[float], *, top: float, bottom: float) -> None:
        """Grid lines from top to bottom, with numbers below."""
        digits = count_digits(ticks)
        for value in ticks:
            self.line(scale(value), top, scale(value), bottom, "grid")
            self.text(scale(value), bottom + 15, figure(value, digits), "t small", anchor="middle")

    def axis_left(self, scale: Scale, ticks: Sequence[float], *, left: float, right: float) -> None:
        """Grid lines from left to right, with numbers before."""
        digits = count_digits(ticks)
        for value in ticks:
            self.line(left, scale(value), right, scale(value), "grid")
            self.text(left - 5, scale(value) + 4, figure(value, digits), "t small", anchor="end")

    def legend(self, entries: Sequence[tuple[str, str, str]], y: float) -> float:
        """Shape, classes and words of each mark, in as many rows as it takes; the place below them comes back."""
        if not entries:
            return y
        x = 6.0
        for shape, kind, words in entries:
            wide = 22 + LETTER * min(measure(words), 40)
            if x + wide > WIDTH and x > 6:
                x, y = 6.0, y + _ROW
            self.mark(shape, x + 4, y + 8, kind)
            self.text(x + 13, y + 12, words, "t small", most=40)
            x += wide
        return y + _ROW + 4

    def finish(self, height: float, *, name: str, title: str, words: str) -> Markup:
        """The plot.

        Parameters
        ----------
        height : float
            Units.
        name : str
            Unlike that of every other plot of the page; letters, digits and dashes.
        title : str
            What is shown.
        words : str
            What it says, with the numbers, for whoever cannot see it.
        """
        head = (
            f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-labelledby="{name}-title {name}-words">'
            f'<title id="{name}-title">{escape(show(title))}</title>'
            f'<desc id="{name}-words">{escape(show(words))}</desc>'
        )
        return Markup("\n".join([head, *self._parts, "</svg>"]))  # noqa: S704  each part is escaped above


_CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "cross": (
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
        (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ),
}  # fmt: skip


def _n(value: float, digits: int = 1) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
