"""The learning curve: how good the head is with fewer speakers or recordings, and whether more would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.canvas import WIDTH, Canvas, Scale, find_ticks, make_scale
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure, protocol, span

_LEFT, _RIGHT, _TOP, _HEIGHT = 44, 14, 10, 190

Step = Mapping[str, Any]


def show_learning(study: Study) -> Section:
    """The section on the learning curve."""
    title = "Would more data help?"
    curve = study.board.get("learning_curve")
    if not curve:
        return Section(
            name="learning", title=title, absent="This study has no learning curve: it was made without one."
        )
    unit = curve["unit"]
    panels = [(f"{unit}s", curve["groups"]), ("recordings", curve.get("recordings") or [])]
    parts = {
        "strategy": curve["strategy"],
        "protocol": curve["protocol"],
        "test": protocol(curve["protocol"]),
        "outlook": (curve.get("outlook") or {}).get("sentence", ""),
        "reason": curve.get("reason") or "",
        "panels": [_panel(noun, steps, number) for number, (noun, steps) in enumerate(panels) if _known(steps)],
        "unit": unit,
    }
    if not parts["panels"]:
        why = curve.get("reason") or "quadratic kappa is not defined at any of its steps"
        return Section(name="learning", title=title, absent=f"This study has no learning curve to draw: {why}.")
    return Section(name="learning", title=title, parts=parts)


def _known(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step["qwk"] is not None]


def _panel(noun: str, steps: Sequence[Step], number: int) -> dict[str, Any]:
    rows = [
        {
            "n": f"{step['n']:,}",
            "qwk": figure(step["qwk"]),
            "interval": span(step["interval"].get("qwk")),
            "rps": figure(step.get("rps"), 3),
            "draws": f"{step['n_draws']:,}" if step.get("n_draws") is not None else "–",
        }
        for step in steps
    ]
    return {"noun": noun, "rows": rows, "plot": _draw(noun, _known(steps), f"learning-{number}")}


def _draw(noun: str, steps: Sequence[Step], name: str) -> Markup:
    bottom = _TOP + _HEIGHT
    canvas = Canvas()
    ends = [end for step in steps for end in step["interval"].get("qwk") or ()]
    values = [0.0, *ends, *(step["qwk"] for step in steps)]
    low, high = min(values) - 0.02, max(values) + 0.02
    up = make_scale(low, high, bottom, _TOP)
    sizes = [step["n"] for step in steps]
    across = make_scale(min(sizes), max(sizes), _LEFT + 14, WIDTH - _RIGHT - 14)
    canvas.axis_left(up, find_ticks(low, high), left=_LEFT, right=WIDTH - _RIGHT)
    canvas.line(_LEFT, up(0), WIDTH - _RIGHT, up(0), "zero")
    canvas.text(WIDTH - _RIGHT - 2, up(0) - 4, "chance", "t small label", anchor="end")
    _draw_steps(canvas, steps, across, up, bottom)
    canvas.text((_LEFT + WIDTH - _RIGHT) / 2, bottom + 32, f"{noun} to learn from", "t small", anchor="middle")
    words = "; ".join(
        f"with {step['n']} {noun} {figure(step['qwk'])} ({span(step['interval'].get('qwk'))})" for step in steps
    )
    return canvas.finish(
        bottom + 38, name=name, title=f"Quadratic kappa by the number of {noun} to learn from", words=f"{words}."
    )


def _draw_steps(canvas: Canvas, steps: Sequence[Step], across: Scale, up: Scale, bottom: float) -> None:
    with_ends = [step for step in steps if step["interval"].get("qwk")]
    upper = [(across(step["n"]), up(step["interval"]["qwk"][1])) for step in with_ends]
    lower = [(across(step["n"]), up(step["interval"]["qwk"][0])) for step in with_ends]
    if len(with_ends) > 1:
        canvas.path([*upper, *reversed(lower)], "band c0", closed=True)
    for (x, high), (_, low) in zip(upper, lower, strict=True):
        canvas.line(x, high, x, low, "whisker c0")
    canvas.path([(across(step["n"]), up(step["qwk"])) for step in steps], "curve c0")
    last = -1e9
    for step in steps:
        x = across(step["n"])
        canvas.mark("circle", x, up(step["qwk"]), "fill c0")
        if x - last > 26:
            canvas.text(x, bottom + 15, f"{step['n']:,}", "t small", anchor="middle")
            last = x
