"""The leaderboard: every strategy in every test, baselines first, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.forest import Line, Track, draw_forest
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure, protocol, reasons, span

_MOST_ROWS = 60
_MOST_DRAWN = 30
_SHOWN = ("metrics.qwk", "metrics.accuracy", "metrics.mae", "metrics.rps", "interval.qwk", "fold_mean.qwk")

Row = Mapping[str, Any]


def show_board(study: Study) -> Section:
    """The section on the leaderboard."""
    rows = study.board["leaderboard"]
    boards: list[dict[str, Any]] = []
    for name in study.protocols:
        for scored in dict.fromkeys(row["scored"] for row in rows if row["protocol"] == name):
            lines = [row for row in rows if (row["protocol"], row["scored"]) == (name, scored)]
            boards.append(_board(lines, number=len(boards), first=name == study.protocols[0]))
    parts = {"boards": boards, "unit": study.board["interval_groups"], "n_strategies": _count_own(rows)}
    return Section(name="board", title="All strategies", parts=parts)


def _count_own(rows: Sequence[Row]) -> int:
    return len({row["strategy"] for row in rows if not row["baseline"]})


def _board(rows: Sequence[Row], *, number: int, first: bool) -> dict[str, Any]:
    shown = rows[:_MOST_ROWS]
    return {
        "protocol": rows[0]["protocol"],
        "test": protocol(rows[0]["protocol"]),
        "scored": rows[0]["scored"],
        "n": rows[0]["n"],
        "hardest": first,
        "rows": [_cells(row) for row in shown],
        "n_more": len(rows) - len(shown),
        "plot": _draw(rows, f"board-{number}"),
        "reasons": reasons(shown, _SHOWN)[:6],
    }


def _cells(row: Row) -> dict[str, Any]:
    metrics, mean, spread = row["metrics"], row["fold_mean"].get("qwk"), row["fold_std"].get("qwk")
    return {
        "strategy": row["strategy"],
        "baseline": row["baseline"],
        "qwk": figure(metrics.get("qwk")),
        "interval": span(row["interval"].get("qwk")),
        "accuracy": figure(metrics.get("accuracy")),
        "accuracy_interval": span(row["interval"].get("accuracy")),
        "balanced": figure(metrics.get("balanced_accuracy")),
        "mae": figure(metrics.get("mae")),
        "rps": figure(metrics.get("rps"), 3),
        "folds": "–" if mean is None else f"{figure(mean)} ± {figure(spread)}",
        "seconds": figure(row["seconds"], 1),
    }


def _draw(rows: Sequence[Row], name: str) -> Markup:
    drawn = rows[:_MOST_DRAWN]
    lines = [
        Line(
            label=f"[{row['strategy']}]" if row["baseline"] else row["strategy"],
            tracks=(
                Track(
                    value=row["metrics"].get("qwk"),
                    ends=row["interval"].get("qwk"),
                    shape="square" if row["baseline"] else "circle",
                    kind="open c-plain" if row["baseline"] else "fill c0",
                ),
            ),
        )
        for row in drawn
    ]
    words = [
        f"{row['strategy']}{', a baseline' if row['baseline'] else ''}: {figure(row['metrics'].get('qwk'))} "
        f"({span(row['interval'].get('qwk'))})"
        for row in drawn
    ]
    return draw_forest(
        lines,
        name=name,
        title=f"Quadratic kappa of every strategy, {protocol(rows[0]['protocol'])} ({rows[0]['protocol']})",
        words="; ".join(words) + ".",
        axis="quadratic kappa, with 95 % intervals",
        zero="chance",
        legend=[("square", "open c-plain", "baseline, to be beaten"), ("circle", "fill c0", "strategy")],
    )
