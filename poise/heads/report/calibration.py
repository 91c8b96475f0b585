"""Calibration: whether a stated probability is kept, and how wide sets of levels must be to hold the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.canvas import WIDTH, Canvas, make_scale
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import count, figure, protocol, share

_LEFT, _RIGHT, _TOP, _SIDE, _COUNTS = 34, 14, 26, 300, 56

Bin = Mapping[str, Any]


def show_calibration(study: Study) -> Section:
    """The section on calibration."""
    title = "Does it know when it does not know?"
    found = study.leader.get("reliability")
    bins = [one for one in (found or {}).get("bins", ()) if one["n"] and one["confidence"] is not None]
    if not found or not bins:
        why = "This study holds no reliability table of the leading strategy, so its probabilities cannot be checked."
        return Section(name="calibration", title=title, absent=why)
    stated = sum(one["n"] * one["confidence"] for one in bins) / sum(one["n"] for one in bins)
    kept = sum(one["n"] * (one["accuracy"] or 0) for one in bins) / sum(one["n"] for one in bins)
    parts = {
        "strategy": study.leader["strategy"],
        "protocol": study.leader["protocol"],
        "test": protocol(study.leader["protocol"]),
        "ece": figure(found["ece"]),
        "stated": share(stated),
        "kept": share(kept),
        "tendency": _tendency(stated - kept),
        "rows": [_row(one) for one in bins],
        "plot": _draw(bins),
        "conformal": _conformal(study.leader.get("conformal")),
    }
    return Section(name="calibration", title=title, parts=parts)


def _tendency(gap: float) -> str:
    if abs(gap) < 0.05:
        return "close to what it keeps"
    return "more than it keeps: it is too sure of itself" if gap > 0 else "less than it keeps: it is too modest"


def _row(one: Bin) -> dict[str, str]:
    return {
        "range": f"{100 * one['low']:.0f}–{share(one['high'])}",
        "n": f"{one['n']:,}",
        "confidence": share(one["confidence"]),
        "accuracy": share(one["accuracy"]),
    }


def _conformal(found: Mapping[str, Any] | None) -> dict[str, str] | None:
    if not found:
        return None
    lowest = found.get("lowest_group_coverage")
    return {
        "level": share(found["level"]),
        "coverage": share(found["coverage"]),
        "size": figure(found["mean_size"], 1),
        "singletons": share(found["singletons"]),
        "lowest": "" if lowest is None else share(lowest),
        "sentence": found["sentence"],
    }


def _draw(bins: Sequence[Bin]) -> Markup:
    bottom = _TOP + _SIDE
    canvas = Canvas()
    across = make_scale(0, 1, _LEFT, WIDTH - _RIGHT)
    up = make_scale(0, 1, bottom, _TOP)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    canvas.axis_left(up, ticks, left=_LEFT, right=WIDTH - _RIGHT)
    canvas.axis_below(across, ticks, top=_TOP, bottom=bottom)
    canvas.line(across(0), up(0), across(1), up(1), "zero")
    canvas.text(across(0.04), _TOP + 14, "right more often than stated", "t small label")
    canvas.text(across(0.98), bottom - 8, "right less often than stated", "t small label", anchor="end")
    most = max(one["n"] for one in bins)
    points = [(across(one["confidence"]), up(one["accuracy"]), one["n"]) for one in bins if one["accuracy"] is not None]
    canvas.path([(x, y) for x, y, _ in points], "curve faint c0")
    for x, y, n in points:
        canvas.mark("circle", x, y, "fill c0", size=2.5 + 5 * (n / most) ** 0.5)
    canvas.text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 31, "stated probability", "t small", anchor="middle")
    canvas.text(4, 12, "share that was right", "t small")
    _draw_counts(canvas, bins, bottom + 44)
    words = [
        f"{count(one['n'], 'prediction')} stated {share(one['confidence'])} on average, {share(one['accuracy'])} right"
        for one in bins
    ]
    return canvas.finish(
        bottom + 62 + _COUNTS,
        name="calibration-plot",
        title="Stated probability against the share that was right",
        words="; ".join(words) + ".",
    )


def _draw_counts(canvas: Canvas, bins: Sequence[Bin], top: float) -> None:
    across = make_scale(0, 1, _LEFT, WIDTH - _RIGHT)
    most = max(one["n"] for one in bins)
    bottom = top + _COUNTS
    canvas.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")
    for one in bins:
        height = (_COUNTS - 14) * one["n"] / most
        left, right = across(one["low"]), across(one["high"])
        canvas.bar(left + 1, bottom - height, right - left - 2, height, "column")
        canvas.text((left + right) / 2, bottom - height - 3, f"{one['n']:,}", "t small", anchor="middle")
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    canvas.text(middle, bottom + 14, "number of predictions", "t small", anchor="middle")
