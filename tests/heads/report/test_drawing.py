"""Plots stand where their numbers say, fit on the page, and tell their numbers in words."""

from __future__ import annotations

import re
from importlib.resources import files
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from poise.heads.report.canvas import MARKS, WIDTH, Canvas, count_digits, find_ticks, make_scale
from poise.heads.report.forest import Line, Track, draw_forest


def circles(svg: str, kind: str) -> list[float]:
    return [float(one.attrib["cx"]) for one in ET.fromstring(svg).iter("circle") if kind in one.attrib["class"]]


def test_a_value_twice_as_far_is_drawn_twice_as_far() -> None:
    """Places on the axis are in proportion, and an interval's ends lie around its value."""
    values = [0.0, 0.25, 0.5, 1.0]
    lines = [Line(label=str(value), tracks=(Track(value=value, ends=(value - 0.1, value + 0.2)),)) for value in values]
    svg = draw_forest(lines, name="a", title="Values", words="0 to 1.", axis="value", zero="nothing")
    places = circles(svg, "fill")
    assert (places[3] - places[0]) / (places[1] - places[0]) == pytest.approx(4, rel=0.01)
    whiskers = [one.attrib for one in ET.fromstring(svg).iter("line") if "whisker" in one.attrib["class"]]
    assert len(whiskers) == 3 * len(values)
    first = sorted(float(one["x1"]) for one in whiskers[:2])
    assert first[0] < places[0] < first[1]


def test_a_value_that_is_not_defined_is_a_dash() -> None:
    """No mark, no whisker, and nothing breaks where no value is defined at all."""
    svg = draw_forest(
        [Line(label="a", tracks=(Track(value=None),))], name="a", title="Values", words="none", axis="value"
    )
    assert circles(svg, "fill") == []
    assert ">–</text>" in svg


@pytest.mark.parametrize(("low", "high"), [(-0.2, 0.7), (0, 1), (0.41, 0.43), (0.5, 0.5), (-1e6, 1e6)])
def test_ticks_are_few_round_and_within(low: float, high: float) -> None:
    """And told with as many digits as tell them apart."""
    ticks = find_ticks(low, high)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert len({f"{tick:.{count_digits(ticks)}f}" for tick in ticks}) == len(ticks)


def test_scale_of_one_value_does_not_break() -> None:
    """Two ends that are one."""
    assert make_scale(2, 2, 10, 20)(2) == 10


def test_names_cannot_leave_their_plot() -> None:
    """Markup, quotes and reordering characters in texts, titles and words are shown as text."""
    canvas = Canvas()
    hostile = '</text></svg><script>alert(1)</script>\u202e"&'
    canvas.text(0, 10, hostile, most=100)
    svg = canvas.finish(20, name="a", title=hostile, words=hostile)
    root = ET.fromstring(svg)
    assert [one.tag for one in root] == ["title", "desc", "text"]
    assert root[2].text == '</text></svg><script>alert(1)</script>\\u202e"&'
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "a-title a-words"


def luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1])
def test_numbers_in_the_confusion_table_can_be_read_on_every_cell(theme: int) -> None:
    """On a light and on a dark page, from the palest cell to the strongest, at least 4.5 to 1."""
    style = files("poise.heads.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    names = ("ground", "ink", "heat")
    ground, ink, heat = (
        tuple(int(part, 16) / 255 for part in re.findall("..", re.findall(rf"--{name}: #(\w+);", style)[theme]))
        for name in names
    )
    for strength in np.linspace(0, 1, 21):
        cell = tuple(strength * own + (1 - strength) * below for own, below in zip(heat, ground, strict=True))
        dark, light = sorted((luminance(cell), luminance(ink)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_legend_wraps_within_the_plot() -> None:
    """Long entries go to further rows, and what comes next is told where they end."""
    canvas = Canvas()
    assert canvas.legend([], 7) == 7
    entries = [(shape, "fill c0", "a long explanation of it") for shape in MARKS]
    assert canvas.legend(entries, 0) > 3 * 18
    root = ET.fromstring(canvas.finish(100, name="a", title="t", words="w"))
    assert all(float(one.attrib["x"]) < WIDTH - 100 for one in root.iter("text"))
