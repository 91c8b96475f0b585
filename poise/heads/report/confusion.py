"""The confusion table of the leading strategy in the hardest test: how many of each level were predicted as each."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from poise.heads.report.canvas import WIDTH, Canvas
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import protocol, share

_LEFT, _TOP = 92, 44
_MOST_LEVELS = 12


def show_confusion(study: Study) -> Section:
    """The section on confusions."""
    names = study.label_names
    title = "What is mistaken for what"
    if len(names) > _MOST_LEVELS:
        why = f"A table of {len(names)} levels would not fit on the page; predictions.csv of the study holds every one."
        return Section(name="confusion", title=title, absent=why)
    table = count_confusion(study)
    rows = [
        {"name": name, "n": sum(row), "cells": [_cell(number, sum(row)) for number in row]}
        for name, row in zip(names, table, strict=True)
    ]
    parts = {
        "names": names,
        "rows": rows,
        "strategy": study.leader["strategy"],
        "protocol": study.leader["protocol"],
        "test": protocol(study.leader["protocol"]),
        "repeats": study.board["repeats"],
        "unseen": [row["name"] for row in rows if not row["n"]],
        "never": [name for level, name in enumerate(names) if not sum(row[level] for row in table)],
        "plot": _draw(names, table),
    }
    return Section(name="confusion", title=title, parts=parts)


def count_confusion(study: Study) -> list[list[int]]:
    """Predictions of each true level (row) as each level (column), added up over repeats."""
    table = [[0] * len(study.label_names) for _ in study.label_names]
    for one in study.predictions:
        table[one.label][one.predicted] += 1
    return table


def _cell(number: int, of: int) -> str:
    return f"{number:,} ({share(number / of)})" if of else f"{number:,}"


def _draw(names: Sequence[str], table: Sequence[Sequence[int]]) -> Markup:
    side = (WIDTH - _LEFT - 4) / len(names)
    height = min(side, 64)
    canvas = Canvas()
    canvas.text(_LEFT + side * len(names) / 2, 14, "predicted", "t small", anchor="middle")
    canvas.text(4, _TOP - 8, "true", "t small")
    fits = int(side / 6.6)
    for column, name in enumerate(names):
        canvas.text(_LEFT + side * (column + 0.5), _TOP - 8, name, anchor="middle", most=fits)
    for level, (name, row) in enumerate(zip(names, table, strict=True)):
        y = _TOP + height * level
        canvas.text(_LEFT - 8, y + height / 2 + 4, name, anchor="end", most=13)
        for column, number in enumerate(row):
            _draw_cell(canvas, _LEFT + side * column, y, side, height, number, sum(row), right=column == level)
    words = "; ".join(_row_words(names, name, row) for name, row in zip(names, table, strict=True))
    return canvas.finish(
        _TOP + height * len(names) + 6,
        name="confusion-plot",
        title="True levels against predicted ones",
        words=f"{words}.",
    )


def _draw_cell(
    canvas: Canvas, x: float, y: float, width: float, height: float, number: int, of: int, *, right: bool
) -> None:
    part = number / of if of else 0.0
    canvas.bar(x + 1, y + 1, width - 2, height - 2, "heat", strength=round(0.06 + 0.94 * part, 2))
    if right:
        canvas.bar(x + 2.5, y + 2.5, width - 5, height - 5, "frame")
    small = width < 44
    canvas.text(x + width / 2, y + height / 2 + (4 if small else -2), f"{number:,}", "t strong", anchor="middle")
    if not small:
        canvas.text(x + width / 2, y + height / 2 + 14, share(part) if of else "–", "t cell small", anchor="middle")


def _row_words(names: Sequence[str], name: str, row: Sequence[int]) -> str:
    of = sum(row)
    if not of:
        return f"no recording is truly {name}"
    parts = ", ".join(f"{number} as {other}" for other, number in zip(names, row, strict=True) if number)
    return f"of {of} truly {name}: {parts}"
