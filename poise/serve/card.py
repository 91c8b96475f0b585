"""The model card of a bundle: how it was validated, what it is for, what it must not be used for, how it was made.

After Mitchell et al. (2019), Model cards for model reporting, doi:10.1145/3287560.3287596.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from poise.serve.facts import list_facts, list_limits
from poise.text import one_line

_MARKUP = re.compile(r"[\\`*\[|]|~(?=~)|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])|&(?=[#A-Za-z])|^[#>+-]")
_METRICS = {"qwk": "quadratic kappa", "accuracy": "accuracy", "mae": "mean absolute error"}


def write_card(document: Mapping[str, Any]) -> str:
    """Markdown of the model card.

    Parameters
    ----------
    document : mapping
        The content of ``bundle.json``.

    Returns
    -------
    str
        What the document says is text in it, never markup.
    """
    encoders = " and ".join(
        f"{_plain(spec['encoder']['name'])} ({modality})" for modality, spec in document["extraction"].items()
    )
    levels = _plain(" < ".join(document["label_names"]))
    lines = [
        "# Model card",
        "",
        f"Predicts one of the levels **{levels}** for a short recorded answer, from {encoders}.",
        "",
        "## Validated",
        "",
        f"**{_plain(document['audit']['sentence'])}**",
        "",
        *[f"- {_plain(warning)}" for warning in document["audit"]["warnings"]],
        *([""] if document["audit"]["warnings"] else []),
        *_ladder(document["audit"]["ladder"]),
        *_validation(document["validation"], document["strategy"]),
        "",
        "## Intended use",
        "",
        "Feedback on recordings like those it was trained on: the same kind of task, language, camera and microphone. "
        "Somebody who knows the task looks at what it says.",
        "",
        "## Limits",
        "",
        *[f"- {_plain(limit)}" for limit in list_limits(document)],
        "",
        "## How it was made",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {_plain(fact)} |" for name, fact in list_facts(document)],
        "",
    ]
    return "\n".join(lines)


def _ladder(rungs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same strategy under harder and harder folds."""
    made = [rung for rung in rungs if rung.get("qwk") is not None]
    if not made:
        return []
    rows = [
        [
            *(_plain(rung[name]) for name in ("protocol", "scored")),
            *(_figure(rung["qwk"]), _interval(rung), _figure(rung.get("accuracy"))),
        ]
        for rung in made
    ]
    columns = ["folds", "scored", "quadratic kappa", "95 % interval", "accuracy"]
    return ["The same strategy under harder and harder folds:", "", *_table(columns, rows), ""]


def _validation(rows: Sequence[Mapping[str, Any]], strategy: str) -> list[str]:
    """The leaderboard: the strategy of the model, and the baselines that it must beat."""
    if not rows:
        return ["There are no figures."]
    cells = [
        [
            f"**{_plain(row['strategy'])}**" if row["strategy"] == strategy else _plain(row["strategy"]),
            *(_plain(str(row[name])) for name in ("protocol", "scored", "n")),
            *(_figure(row["metrics"].get(name)) for name in _METRICS),
        ]
        for row in rows
    ]
    told = "The strategy of this model in bold, baselines beside it:"
    return [told, "", *_table(["strategy", "folds", "scored", "n", *_METRICS.values()], cells)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def _interval(rung: Mapping[str, Any]) -> str:
    ends = rung.get("interval")
    return f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "undefined"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _plain(text: str) -> str:
    """Text in which nothing is markup: on one line, and what Markdown or HTML would take for more, escaped."""
    return _MARKUP.sub(r"\\\g<0>", one_line(text))
