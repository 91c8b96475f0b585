"""The model card of a bundle: what it is for, how it was validated, what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poise.heads.splits import Protocol

_METRICS = {"qwk": "quadratic kappa", "accuracy": "accuracy", "mae": "mean absolute error"}


def write_card(document: Mapping[str, Any]) -> str:
    """Markdown of the model card.

    Parameters
    ----------
    document : mapping
        The content of ``bundle.json``.
    """
    training = document["training"]
    encoders = ", ".join(f"{spec['encoder']['name']} ({modality})" for modality, spec in document["extraction"].items())
    speakers = f" of {training['n_speakers']} speakers" if training.get("n_speakers") else ""
    lines = [
        "# Model card",
        "",
        f"Predicts one of the levels **{' < '.join(document['label_names'])}** for a short recorded answer, "
        f"from {encoders}, by the strategy `{document['strategy']}`.",
        "",
        "## Trained on",
        "",
        f"{training['n_recordings']} recordings{speakers}, {training['n_copies']} of them augmented copies. "
        f"Digest of keys and labels: `{training['digest']}`.",
        "",
        "## Validated",
        "",
        f"**{document['audit']['sentence']}**",
        "",
        *_validation(document["validation"]),
        "",
        "## Intended use and limits",
        "",
        "For feedback on recordings like those it was trained on: the same kind of task, language and camera. "
        + _honesty(document["validation"])
        + " Not for decisions about people: hiring, grading, diagnosis.",
        "",
    ]
    return "\n".join(lines)


def _honesty(rows: list[Mapping[str, Any]]) -> str:
    apart = sorted({row["protocol"] for row in rows if Protocol.parse(row["protocol"]).keeps_speakers_apart})
    if apart:
        return f"The figures under {', '.join(apart)} say how well it does on speakers it has not heard."
    return "No figure says how well it does on speakers it has not heard: no protocol kept speakers apart."


def _validation(rows: list[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Not validated."]
    lines = [
        "| strategy | protocol | scored | n | " + " | ".join(_METRICS.values()) + " |",
        "|---" * (4 + len(_METRICS)) + "|",
    ]
    for row in rows:
        figures = " | ".join(_figure(row["metrics"].get(name)) for name in _METRICS)
        lines.append(f"| {row['strategy']} | {row['protocol']} | {row['scored']} | {row['n']} | {figures} |")
    return lines


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
