"""What comes first: the audit's verdict in plain words, with a sign and a colour, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.wording import figure


class Ruling(NamedTuple):
    """How a verdict is shown: its sign, its colour's class, a heading and what follows from it."""

    sign: str
    kind: str
    heading: str
    advice: str


RULINGS: Mapping[str, Ruling] = {
    "supported": Ruling(
        "✓",
        "good",
        "Supported: the signal holds in the hardest test",
        "It may be tried further. Quote the figures of the hardest test below, never those of an easier one, and only "
        "for people, tasks and cameras like these.",
    ),
    "leakage": Ruling(
        "✕",
        "bad",
        "Leakage: the good figures do not survive a harder test",
        "Do not quote the figures of the easier tests: there, what was scored had been seen in training, as a copy or "
        "as the same person. Only the hardest test counts.",
    ),
    "confounded": Ruling(
        "✕",
        "bad",
        "Confounded: who is speaking explains the figures",
        "Do not quote the figures: knowing the speaker, without any picture or sound, does as well. It takes "
        "several levels, about equally often, from every person to tell the two apart.",
    ),
    "no evidence": Ruling(
        "○",
        "open",
        "No evidence: not clearly better than chance",
        "This does not show that there is no signal, only that these recordings do not show one. More people would "
        "tell; more copies of the same recordings would not.",
    ),
    "too little data": Ruling(
        "?",
        "open",
        "Too little data to tell",
        "Whatever the figures below are, they cannot be told from luck. Record more people, each with several levels.",
    ),
}
"""Every verdict that an audit gives, and how it is shown."""

_UNKNOWN = Ruling("?", "open", "", "")


def show_verdict(study: Study) -> Section:
    """The section on the verdict."""
    audit = study.board["audit"] or {}
    parts = {
        "verdict": audit.get("verdict", ""),
        "ruling": RULINGS.get(audit["verdict"], _UNKNOWN) if audit else None,
        "sentence": _sentence(audit) if audit else "",
        "findings": audit.get("findings") or [],
        "why": str(study.board.get("audit_reason") or "the study was made without an audit"),
        "facts": _facts(study),
        "warnings": list(dict.fromkeys([*(audit.get("warnings") or []), *study.board["warnings"]])),
        "has_evidence": bool(audit.get("evidence")),
    }
    return Section(name="verdict", title="Verdict", parts=parts)


def _sentence(audit: Mapping[str, Any]) -> str:
    ruling = RULINGS.get(audit["verdict"])
    return without_heading(audit["sentence"], ruling.heading) if ruling else str(audit["sentence"])


def without_heading(sentence: str, heading: str) -> str:
    """An audit's sentence without the verdict that it begins with, where the heading says it.

    Parameters
    ----------
    sentence : str
        As ``Leakage: random folds say …``.
    heading : str
        What is shown above it: a verdict, or what begins with one.

    >>> without_heading("No evidence: on speakers it has not heard …", "No evidence: not clearly better than chance")
    'On speakers it has not heard …'
    """
    head, _, rest = sentence.partition(": ")
    said = head.lower() == heading.partition(": ")[0].lower()
    return f"{rest[:1].upper()}{rest[1:]}" if rest and said else sentence


def _facts(study: Study) -> list[tuple[str, str, str]]:
    """Figure, what it is, and what to hold it against; for the hardest test."""
    metrics, interval = study.leader["metrics"], study.leader["interval"]
    rows = [row for row in study.board["leaderboard"] if row["protocol"] == study.leader["protocol"]]
    majority = next((row["metrics"].get("accuracy") for row in rows if row["strategy"] == "majority"), None)
    ends = interval.get("qwk")
    between = "no interval" if ends is None else f"95 % interval {figure(ends[0])} to {figure(ends[1])}"
    most = "" if majority is None else f"always saying the most frequent level: {figure(majority)}"
    n_groups = len({one.group for one in study.predictions})
    return [
        (figure(metrics.get("qwk")), "quadratic kappa in the hardest test", f"{between}; 0 is chance, 1 perfect"),
        (figure(metrics.get("accuracy")), "share predicted right in the hardest test", most),
        (f"{study.leader['n']:,}", "recordings scored", f"of {n_groups:,} {study.board['interval_groups']}s"),
    ]


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and texts of everything in a JSON value, names of inner values behind those of outer ones."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{name} › {key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from flatten(inner, f"{name} › {number}")
    elif isinstance(value, list):
        yield name, ", ".join(_plain(inner) for inner in value) or "none"
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return "–" if value is None or value == {} else str(value)
