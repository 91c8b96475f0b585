"""The ladder: the same strategy in ever harder tests, beside chance, the most frequent level and the speaker alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from poise.heads.report.forest import Line, Track, draw_forest
from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure, metric, protocol, span

_SCORED = {"originals": ("circle", "fill c0"), "all": ("square", "open c1")}
_ALONE, _MAJORITY = ("diamond", "open c4"), ("triangle", "open c2")
_WORDS = {"originals": "originals only", "all": "all recordings"}

Rung = Mapping[str, Any]


def show_ladder(study: Study) -> Section:
    """The section on the ladder."""
    title = "From easy to hard tests"
    audit = study.board["audit"]
    if audit is None or not audit["ladder"]:
        return Section(
            name="ladder",
            title=title,
            absent="This study holds no ladder: it was made without an audit of its figures.",
        )
    rungs = audit["ladder"]
    alone = next((rung["group_only"]["column"] for rung in rungs if rung.get("group_only")), "")
    parts = {
        "strategy": audit.get("strategy") or (audit.get("evidence") or {}).get("strategy") or "",
        "alone": alone,
        "has_copies": {rung["scored"] for rung in rungs} >= {"all", "originals"},
        "reasons": list(
            dict.fromkeys(
                f"{metric(name)}: {why}" for rung in rungs for name, why in (rung.get("reasons") or {}).items()
            )
        ),
        "kappa": _draw_kappa(rungs, alone),
        "accuracy": _draw_accuracy(rungs),
        "rows": [_row(rung) for rung in _by_test(rungs)],
    }
    return Section(name="ladder", title=title, parts=parts)


def _row(rung: Rung) -> dict[str, str]:
    majority = rung.get("majority") or {}
    return {
        "protocol": rung["protocol"],
        "test": protocol(rung["protocol"]),
        "scored": _WORDS.get(rung["scored"], rung["scored"]),
        "n": f"{rung['n']:,}" if rung.get("n") is not None else "–",
        "qwk": figure(rung["qwk"]),
        "interval": span(rung.get("interval")),
        "unit": rung.get("interval_groups") or "",
        "alone": figure((rung.get("group_only") or {}).get("qwk")),
        "accuracy": figure(rung["accuracy"]),
        "majority": figure(majority.get("accuracy")),
    }


def _draw_kappa(rungs: Sequence[Rung], alone: str) -> Markup:
    def track(rung: Rung) -> Track:
        value = (rung.get("group_only") or {}).get("qwk")
        shape, kind = _SCORED.get(rung["scored"], ("circle", "fill c2"))
        beside = () if value is None else ((value, *_ALONE),)
        return Track(value=rung["qwk"], ends=rung.get("interval"), shape=shape, kind=kind, beside=beside)

    legend = _legend(rungs) + ([(*_ALONE, f"the {alone} alone")] if alone else [])
    return draw_forest(
        _lines(rungs, track),
        name="ladder-kappa",
        title="Quadratic kappa of the same strategy in ever harder tests",
        words="; ".join(_kappa_words(rung) for rung in rungs) + ". Chance is 0.",
        axis="quadratic kappa, with 95 % intervals",
        zero="chance",
        legend=legend,
    )


def _kappa_words(rung: Rung) -> str:
    value = (rung.get("group_only") or {}).get("qwk")
    beside = "" if value is None else f", {rung['group_only']['column']} alone {figure(value)}"
    between = "" if rung.get("interval") is None else f" (95 % interval {span(rung['interval'])})"
    return f"{_place(rung)}: {figure(rung['qwk'])}{between}{beside}"


def _draw_accuracy(rungs: Sequence[Rung]) -> Markup:
    def track(rung: Rung) -> Track:
        value = (rung.get("majority") or {}).get("accuracy")
        shape, kind = _SCORED.get(rung["scored"], ("circle", "fill c2"))
        return Track(
            value=rung["accuracy"],
            shape=shape,
            kind=kind,
            beside=() if value is None else ((value, *_MAJORITY),),
        )

    words = [
        f"{_place(rung)}: {figure(rung['accuracy'])}, most frequent level "
        f"{figure((rung.get('majority') or {}).get('accuracy'))}"
        for rung in rungs
    ]
    return draw_forest(
        _lines(rungs, track),
        name="ladder-accuracy",
        title="Share of recordings predicted right in ever harder tests",
        words="; ".join(words) + ".",
        axis="share predicted right",
        legend=[*_legend(rungs), (*_MAJORITY, "always the most frequent level")],
    )


def _place(rung: Rung) -> str:
    return f"{protocol(rung['protocol'])} ({rung['protocol']}), {_WORDS.get(rung['scored'], rung['scored'])}"


def _lines(rungs: Sequence[Rung], track: Callable[[Rung], Track]) -> list[Line]:
    names = list(dict.fromkeys(rung["protocol"] for rung in rungs))
    return [
        Line(
            label=f"{number}. {protocol(name)} ({name})",
            tracks=tuple(track(rung) for rung in _ordered(rungs) if rung["protocol"] == name),
        )
        for number, name in enumerate(names, start=1)
    ]


def _by_test(rungs: Sequence[Rung]) -> list[Rung]:
    names = list(dict.fromkeys(rung["protocol"] for rung in rungs))
    return sorted(_ordered(rungs), key=lambda rung: names.index(rung["protocol"]))


def _ordered(rungs: Sequence[Rung]) -> list[Rung]:
    return sorted(rungs, key=lambda rung: rung["scored"] != "originals")


def _legend(rungs: Sequence[Rung]) -> list[tuple[str, str, str]]:
    scored = dict.fromkeys(rung["scored"] for rung in _ordered(rungs))
    one = len(scored) == 1
    return [
        (*_SCORED.get(name, ("circle", "fill c2")), "this strategy" if one else _WORDS.get(name, name))
        for name in scored
    ]
