"""Each speaker's recordings: what was predicted against what is true, one strip for each speaker."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.canvas import LETTER, MARKS, N_COLOURS, WIDTH, Canvas, Scale, make_scale
from poise.heads.report.reading import Prediction, Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure, protocol

_MOST_LANES = 90
_MOST_GROUPS = 30
_MOST_COLUMNS = 4
_BINS = 48
_LEFT, _RIGHT = 14, 12


def show_groups(study: Study) -> Section:
    """The section on speakers."""
    unit = study.board["interval_groups"]
    members: dict[str, list[Prediction]] = defaultdict(list)
    for one in study.predictions:
        members[one.group].append(one)
    title = "One by one" if unit == "source" else f"Every {unit}, one by one"
    if len(members) == len(study.predictions) // study.board["repeats"]:
        why = f"Every {unit} has one recording, so there is nothing to tell {unit} by {unit}."
        return Section(name="groups", title=title, absent=why)
    hits = {name: _share_right(found) for name, found in members.items()}
    names = sorted(members, key=lambda name: (hits[name], name))
    shown = names[: max(min(_MOST_GROUPS, _MOST_LANES // len(study.label_names)), 1)]
    scores = {one["group"]: one for one in study.leader.get("by_group") or ()}
    parts = {
        "unit": unit,
        "n_groups": len(names),
        "n_shown": len(shown),
        "strategy": study.leader["strategy"],
        "test": protocol(study.leader["protocol"]),
        "protocol": study.leader["protocol"],
        "has_scores": bool(scores),
        "names": study.label_names if len(study.label_names) <= _MOST_COLUMNS else [],
        "rows": [_row(name, members[name], scores.get(name), study) for name in shown],
        "plot": _draw(shown, members, study),
    }
    return Section(name="groups", title=title, parts=parts)


def _share_right(found: Sequence[Prediction]) -> float:
    return sum(one.label == one.predicted for one in found) / len(found)


def _row(name: str, found: Sequence[Prediction], scores: Mapping[str, Any] | None, study: Study) -> dict[str, Any]:
    truth = Counter(one.label for one in found)
    counts = [truth[level] // study.board["repeats"] for level in range(len(study.label_names))]
    scores = scores or {}
    return {
        "name": name,
        "n": len(found) // study.board["repeats"],
        "truth": counts,
        "levels": ", ".join(f"{label}: {n}" for label, n in zip(study.label_names, counts, strict=True) if n),
        "accuracy": figure(_share_right(found)),
        "qwk": figure(scores.get("qwk")),
        "mae": figure(scores.get("mae")),
    }


def expected_level(one: Prediction) -> float:
    """Mean of the levels' ranks, weighted by their probabilities."""
    total = sum(one.proba) or 1.0
    return sum(rank * part for rank, part in enumerate(one.proba)) / total


def _draw(names: Sequence[str], members: Mapping[str, Sequence[Prediction]], study: Study) -> Markup:
    levels = study.label_names
    canvas = Canvas()
    top = 22 + canvas.legend([(*_mark(level), f"truly {name}") for level, name in enumerate(levels)], 0)
    lane = 9 if len(levels) > 3 else 11
    block = 19 + lane * len(levels)
    scale = make_scale(0, len(levels) - 1, _LEFT + 12, WIDTH - _RIGHT - 12)
    _draw_levels(canvas, levels, scale, top, top + block * len(names))
    for row, name in enumerate(names):
        y = top + block * row
        canvas.line(_LEFT, y, WIDTH - _RIGHT, y, "rail")
        canvas.text(_LEFT, y + 14, name, "t label", most=40)
        right = f"{figure(_share_right(members[name]))} right"
        canvas.text(WIDTH - _RIGHT, y + 14, right, "t figure label", anchor="end")
        for (level, place), number in sorted(_bin(members[name], len(levels)).items()):
            shape, kind = _mark(level)
            size = min(3.4 + 0.5 * (number - 1) ** 0.5, 6.5)
            canvas.mark(shape, scale(place), y + 23 + lane * level, f"{kind} point", size=size)
    words = "; ".join(_words(name, members[name], levels) for name in names)
    title = f"Predicted level of each recording, {study.board['interval_groups']} by {study.board['interval_groups']}"
    return canvas.finish(top + block * len(names) + 6, name="groups-plot", title=title, words=f"{words}.")


def _mark(level: int) -> tuple[str, str]:
    """Shape and classes of a true level."""
    return MARKS[level % len(MARKS)], f"fill c{level % N_COLOURS}"


def _draw_levels(canvas: Canvas, levels: Sequence[str], scale: Scale, top: float, bottom: float) -> None:
    fits = int((WIDTH - _LEFT - _RIGHT) / len(levels) / LETTER)
    last = len(levels) - 1
    for level, name in enumerate(levels):
        canvas.line(scale(level), top, scale(level), bottom, "grid")
        anchor = "start" if level == 0 else "end" if level == last else "middle"
        x = _LEFT if level == 0 else WIDTH - _RIGHT if level == last else scale(level)
        canvas.text(x, top - 6, name, "t small", anchor=anchor, most=fits)


def _bin(found: Sequence[Prediction], n_levels: int) -> Counter[tuple[int, float]]:
    """How many predictions fall on the same spot of the same lane: a page must not grow with the recordings."""
    step = (n_levels - 1) / _BINS
    return Counter((one.label, round(expected_level(one) / step) * step) for one in found)


def _words(name: str, found: Sequence[Prediction], levels: Sequence[str]) -> str:
    parts = []
    for level, label in enumerate(levels):
        own = [expected_level(one) for one in found if one.label == level]
        if own:
            parts.append(f"truly {label}: {len(own)}, placed at {figure(sum(own) / len(own), 1)} on average")
    return f"{name}, {figure(_share_right(found))} right ({', '.join(parts)})"
