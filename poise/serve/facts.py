"""What a bundle says of itself, in plain lines: for its model card, and for whoever looks at it.

Figures of the validation are tables and stand where they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from poise.heads.splits import Protocol
from poise.serve.values import is_number
from poise.store.schema import Spec, set_name
from poise.text import one_line

Facts = list[tuple[str, str]]
"""Names with what there is to say."""

_SELECTED = {
    "all": "all of them",
    "first": "the first {n}",
    "spread": "{n} of them, spread evenly",
    "full": "{n} full windows, spread evenly; a shorter one only where there are no more than {n}",
    "longest": "the {n} longest",
}


def list_facts(document: Mapping[str, Any]) -> Facts:
    """Levels, strategy, extraction, calibration, training and versions of a model.

    Parameters
    ----------
    document : mapping
        The content of ``bundle.json``.

    Returns
    -------
    list of (str, str)
        Name of the fact, and the fact on one line.
    """
    head = document["head"]
    facts = [
        ("levels", " < ".join(document["label_names"])),
        ("strategy", document["strategy"]),
        *((modality, _tell_features(spec)) for modality, spec in document["extraction"].items()),
        ("clips", _tell_clips(document["extraction"], str(head["settings"].get("clips", "all")))),
        ("calibration", _tell_calibration(head)),
        ("sure of", _tell_confidence(document["training"].get("confidence"))),
        ("trained on", _tell_training(document["training"], document["label_names"])),
        ("digest", _tell_digest(document["training"])),
        ("converted from", _tell_origin(document.get("converted_from"))),
        ("versions", ", ".join(f"{name} {number}" for name, number in document["versions"].items()) or "not known"),
    ]
    return [(name, one_line(fact)) for name, fact in facts if fact]


def list_limits(document: Mapping[str, Any]) -> list[str]:
    """Sentences that whoever uses a model must know, each on one line.

    Parameters
    ----------
    document : mapping
        The content of ``bundle.json``.
    """
    return [one_line(limit) for limit in _limits(document)]


def _limits(document: Mapping[str, Any]) -> Iterator[str]:
    if document["audit"]["verdict"] != "supported":
        yield f"The audit's verdict is {document['audit']['verdict']!r}: do not rely on what it predicts."
    yield _honesty(document)
    yield "Other tasks, languages, cameras, microphones or ways to label: nothing is known."
    yield "Not for decisions about people: hiring, grading, diagnosis."
    imported = [modality for modality, spec in document["extraction"].items() if "imported" in spec]
    if imported:
        yield f"The features of {' and '.join(imported)} were imported, so it cannot predict media files."
    if any(spec.get("assumed") for spec in document["extraction"].values()):
        yield (
            "How its features were made is assumed, as it does not say: with other weights of the encoders, or other "
            "frames, its predictions mean nothing, and nothing would show it."
        )


def _honesty(document: Mapping[str, Any]) -> str:
    apart = {row["protocol"] for row in document["validation"] if Protocol.parse(row["protocol"]).keeps_speakers_apart}
    if apart:
        return f"The figures under {', '.join(sorted(apart))} say how well it does on speakers it has not heard."
    return "No figure says how well it does on speakers it has not heard: no protocol kept speakers apart."


def _tell_features(spec: Spec) -> str:
    encoder = spec["encoder"]
    layers = f"{encoder['n_layers']} layers of " if "n_layers" in encoder else ""
    made = f"{encoder['name']}, assumed" if spec.get("assumed") else set_name(spec)
    imported = ", imported" if "imported" in spec else ""
    return f"{made}{imported}: {layers}{encoder['dim']} numbers for each clip, {spec['dtype']}"


def _tell_clips(extraction: Mapping[str, Spec], selection: str) -> str:
    cuts = {tuple(spec["clips"].values()): spec["clips"] for spec in extraction.values() if "clips" in spec}
    name, _, number = selection.partition(":")
    seen = _SELECTED[name].format(n=number or "1") if name in _SELECTED else selection
    told = [
        f"windows of {cut['window_s']:g} s every {cut['hop_s']:g} s, a tail of {cut['min_tail_s']:g} s or more"
        for cut in cuts.values()
    ]
    return f"{' / '.join(told) or 'unknown windows'}; the head sees {seen}"


def _tell_calibration(head: Mapping[str, Any]) -> str:
    if head["settings"].get("calibrate", "none") == "none":
        return "none: probabilities are as the head gives them"
    return f"temperature {head['temperature']:.3g}, learnt on held-out groups of the training recordings"


def _tell_confidence(said: Any) -> str:
    """What sets of levels promise, of a model that was trained with them."""
    if not isinstance(said, Mapping) or not is_number(said.get("level")):
        return ""
    groups = f"{said.get('protocol')}, {said.get('n_groups')} groups"
    if said.get("threshold") is None:
        return f"nothing: {said.get('reason') or 'too few groups'} ({groups})"
    return f"sets of levels that hold the true one of {said['level']:.0%} of recordings of new groups ({groups})"


def _tell_training(training: Mapping[str, Any], names: list[str]) -> str:
    if training.get("n_recordings") is None:
        return "not known"
    speakers = f" of {training['n_speakers']} speakers" if training.get("n_speakers") else ""
    counts = training.get("label_counts") or []
    parts = [f"{training['n_recordings']} recordings{speakers}, {training['n_copies']} of them augmented copies"]
    if counts:
        parts.append(", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True)))
    if "seed" in training:
        parts.append(f"seed {training['seed']}")
    return "; ".join(parts)


def _tell_digest(training: Mapping[str, Any]) -> str:
    return f"{training['digest']} of the recordings' keys and labels" if training.get("digest") else "not known"


def _tell_origin(origin: Mapping[str, Any] | None) -> str:
    if origin is None:
        return ""
    return f"{origin['file']}, saved as {origin['style']}: {origin['architecture']}; sha256 {origin['sha256']}"
