"""What it takes to make the study again: settings, versions, hashes of the splits, and the commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poise.heads.report.reading import Study
from poise.heads.report.section import Section
from poise.heads.report.verdict import flatten
from poise.heads.report.wording import command_line, protocol

_KNOWN = {
    "manifest": "manifest",
    "store": "feature store",
    "n_recordings": "recordings",
    "n_copies": "of them augmented copies",
    "n_speakers": "speakers",
    "created": "made",
}
_MOST_EVIDENCE = 80
_ELSEWHERE = {*_KNOWN, "command", "versions", "feature_sets"}


def show_settings(study: Study) -> Section:
    """The section on settings and reproduction."""
    board = study.board
    settings = board.get("settings") or {}
    known = [(words, str(settings[name])) for name, words in _KNOWN.items() if settings.get(name) is not None]
    known += [
        ("levels, lowest first", ", ".join(study.label_names)),
        ("repeats", str(board["repeats"])),
        ("seed", str(board["seed"])),
        ("intervals drawn over", f"{board['interval_groups']}s"),
    ]
    others = {name: value for name, value in settings.items() if name not in _ELSEWHERE}
    found = (board["audit"] or {}).get("evidence")
    evidence = list(flatten(found)) if found else []
    parts = {
        "has_settings": bool(settings),
        "known": known + [pair for pair in flatten(others) if pair[0]][:40],
        "feature_sets": _feature_sets(settings),
        "versions": sorted((settings.get("versions") or {}).items()),
        "splits": [_split(name, study) for name in board["splits"]],
        "commands": _commands(settings, study),
        "evidence": evidence[:_MOST_EVIDENCE],
        "n_more": max(len(evidence) - _MOST_EVIDENCE, 0),
    }
    return Section(name="settings", title="How to make it again", parts=parts)


def _feature_sets(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = settings.get("feature_sets") or []
    named = [
        ("feature set", one) if isinstance(one, str) else (f"feature set {n}", one) for n, one in enumerate(found, 1)
    ]
    return [pair for name, one in named for pair in flatten(one, name)][:40]


def _split(name: str, study: Study) -> dict[str, str]:
    return {
        "protocol": name,
        "test": protocol(name),
        "folds": f"{study.n_folds[name]:,}",
        "hash": study.board["splits"][name],
    }


def _commands(settings: Mapping[str, Any], study: Study) -> list[str]:
    command = settings.get("command") or []
    made = [command_line(command)] if command else []
    return [*made, command_line(["poise", "report", str(study.board.get("study") or study.folder)])]
