"""Paired differences: the leading strategy less each other one, on the same recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.forest import Line, Track, draw_forest
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure, metric, p_value, protocol, span

_MOST_ROWS = 60
_MOST_DRAWN = 30

Difference = Mapping[str, Any]


def show_differences(study: Study) -> Section:
    """The section on paired differences."""
    title = "Is the best really better?"
    found = study.board["comparisons"]
    if not found:
        own = {row["strategy"] for row in study.board["leaderboard"] if not row["baseline"]}
        why = (
            f"This study holds no paired differences, though it tried {len(own)} strategies."
            if len(own) > 1
            else "There is nothing to compare in pairs: the study tried one strategy."
        )
        return Section(name="differences", title=title, absent=why)
    tests = [
        _test([one for one in found if one["protocol"] == name], number)
        for number, name in enumerate(study.protocols)
        if any(one["protocol"] == name for one in found)
    ]
    return Section(name="differences", title=title, parts={"tests": tests, "unit": study.board["interval_groups"]})


def _test(rows: Sequence[Difference], number: int) -> dict[str, Any]:
    leaders = list(dict.fromkeys(one["a"] for one in rows))
    return {
        "protocol": rows[0]["protocol"],
        "test": protocol(rows[0]["protocol"]),
        "leader": leaders[0] if len(leaders) == 1 else "",
        "metric": metric(rows[0]["metric"]),
        "n_compared": max((one.get("n_compared") or 0 for one in rows), default=0),
        "corrected_t": next((metric(t.get("metric") or "qwk") for one in rows if (t := one.get("corrected_t"))), ""),
        "rows": [_cells(one) for one in rows[:_MOST_ROWS]],
        "n_more": max(len(rows) - _MOST_ROWS, 0),
        "reasons": list(dict.fromkeys(one["reason"] for one in rows if one.get("reason")))[:6],
        "plot": _draw(rows[:_MOST_DRAWN], f"differences-{number}", one_leader=len(leaders) == 1),
    }


def _cells(one: Difference) -> dict[str, Any]:
    p = one["p_corrected"]
    return {
        "a": one["a"],
        "b": one["b"],
        "difference": figure(one["difference"]),
        "interval": span(one["interval"]),
        "p": p_value(one["p"]),
        "p_corrected": p_value(p),
        "corrected_t": p_value((one.get("corrected_t") or {}).get("p")),
        "says": "cannot be told" if p is None else "a difference" if p <= 0.05 else "may be luck",
    }


def _draw(rows: Sequence[Difference], name: str, *, one_leader: bool) -> Markup:
    lines = [
        Line(
            label=f"less {one['b']}" if one_leader else f"{one['a']} less {one['b']}",
            tracks=(Track(value=one["difference"], ends=one["interval"]),),
        )
        for one in rows
    ]
    words = [
        f"{one['a']} less {one['b']}: {figure(one['difference'])} ({span(one['interval'])}), corrected p "
        f"{p_value(one['p_corrected'])}"
        for one in rows
    ]
    return draw_forest(
        lines,
        name=name,
        title=f"Difference in {metric(rows[0]['metric'])}, {protocol(rows[0]['protocol'])}",
        words="; ".join(words) + ".",
        axis=f"difference in {metric(rows[0]['metric'])}, with 95 % intervals",
        zero="no difference",
    )
