"""What ``bundle.json`` must say, checked once when a bundle is read or written, so that all else may rely on it.

The settings and arrays of the head are checked where the head is rebuilt, in :mod:`poise.heads`.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from poise.errors import BundleError, ExtractSettingsError, SplitError, StrategyError
from poise.extract.clips import ClipSettings
from poise.extract.fingerprint import SPEC_SCHEMA
from poise.extract.media.decode import DECODERS
from poise.heads.audit.verdict import VERDICTS
from poise.heads.splits import Protocol
from poise.heads.state import MOST_DIM
from poise.heads.strategy import Strategy
from poise.serve.values import check_names, digest, get, is_number, text, whole, wrong
from poise.store.schema import DTYPES

SCHEMA_VERSION = 1

UNKNOWN = "unknown"
"""The verdict on a model that no audit has looked at."""

_MOST_LEVELS = 1000
_MAX_FRAMES = 1024
_CLIPS = ("window_s", "hop_s", "min_tail_s")
_SCORED = ("originals", "all")
_BREAKS = ("Cc", "Zl", "Zp")  # control characters, ends of lines and of paragraphs
_COUNTS = ("n_recordings", "n_copies")


def check_document(document: Mapping[str, Any]) -> None:
    """Refuse a ``bundle.json`` that does not say what it must.

    Parameters
    ----------
    document : mapping
        What :func:`poise.serve.values.parse_json` gave.

    Raises
    ------
    BundleError
        Something is missing or of another kind; the message names it.
    """
    names = get(document, "", "label_names", list)
    check_label_names(names)
    head = get(document, "", "head", dict)
    dims = _check_head(head, n_levels=len(names))
    _check_strategy(text(document, "", "strategy"), head["settings"])
    extraction = get(document, "", "extraction", dict)
    _check_extraction(extraction, dims)
    _check_layers(head, extraction)
    for number, row in enumerate(get(document, "", "validation", list)):
        _check_row(row, f"validation[{number}]")
    converted = _check_converted(document)
    _check_audit(get(document, "", "audit", dict), converted=converted)
    _check_training(get(document, "", "training", dict), n_levels=len(names), converted=converted)
    versions = get(document, "", "versions", dict)
    for name in versions:
        text(versions, "versions", name)


def check_label_names(names: Sequence[Any]) -> None:
    """Refuse names of levels that are not different texts of one line.

    Raises
    ------
    BundleError
        The message shows them.
    """
    check_names("label_names", names, most=_MOST_LEVELS)


def _check_head(head: Mapping[str, Any], *, n_levels: int) -> dict[str, int]:
    """Check classes and modalities; give the length of the embeddings of each modality."""
    classes = get(head, "head", "classes", list)
    ranks = all(type(rank) is int and 0 <= rank < n_levels for rank in classes)
    if not ranks or len(classes) < 2 or any(low >= high for low, high in itertools.pairwise(classes)):
        raise wrong("head.classes", classes, f"two or more rising ranks below {n_levels}, the number of label_names")
    modalities = get(head, "head", "modalities", dict)
    if not modalities:
        raise wrong("head.modalities", modalities, "names with dimensions")
    for name in modalities:
        whole(modalities, "head.modalities", name, low=1, high=MOST_DIM)
    get(head, "head", "settings", dict)
    if not is_number(head.get("temperature")):
        raise wrong("head.temperature", head.get("temperature"), "a number")
    return dict(modalities)


def _check_strategy(written: str, settings: Mapping[str, Any]) -> None:
    """The strategy as a text must be that of the settings, which are what is computed with."""
    try:
        strategy = Strategy.parse(written)
    except StrategyError as error:
        raise BundleError(f"strategy: {error}") from error
    for name in ("pooling", "fusion", "head"):
        if settings.get(name) != getattr(strategy, name):
            raise wrong(f"head.settings.{name}", settings.get(name), f"{getattr(strategy, name)}, as strategy says")


def _check_extraction(extraction: Mapping[str, Any], dims: Mapping[str, int]) -> None:
    if set(extraction) != set(dims) or not set(dims) <= {"video", "audio"}:
        raise wrong("extraction", sorted(extraction), f"the modalities of the head: {', '.join(sorted(dims))}")
    for modality in extraction:
        where = f"extraction.{modality}"
        spec = get(extraction, "extraction", modality, dict)
        if spec.get("modality") != modality:
            raise wrong(f"{where}.modality", spec.get("modality"), f"{modality!r}")
        if spec.get("schema") != SPEC_SCHEMA or spec["schema"] is True:
            raise wrong(f"{where}.schema", spec.get("schema"), f"{SPEC_SCHEMA}, or the poise that made it")
        encoder = get(spec, where, "encoder", dict)
        name = text(encoder, f"{where}.encoder", "name")
        if "/" in name or not name.isprintable() or not 0 < len(name) <= 200:
            raise wrong(f"{where}.encoder.name", name, "the name of an encoder, not a path")
        if whole(encoder, f"{where}.encoder", "dim", low=1) != dims[modality]:
            raise wrong(f"{where}.encoder.dim", encoder["dim"], f"{dims[modality]}, as head.modalities says")
        if text(spec, where, "dtype") not in DTYPES:
            raise wrong(f"{where}.dtype", spec["dtype"], " or ".join(DTYPES))
        if "imported" not in spec:  # of features made elsewhere, less is known
            _check_extracted(spec, where)
        elif "clips" in spec:
            _check_clips(spec, where)


def _check_extracted(spec: Mapping[str, Any], where: str) -> None:
    if "n_frames" in spec["encoder"]:
        whole(spec["encoder"], f"{where}.encoder", "n_frames", low=1, high=_MAX_FRAMES)
    _check_clips(spec, where)
    if text(get(spec, where, "decoder", dict), f"{where}.decoder", "backend") not in DECODERS:
        raise wrong(f"{where}.decoder.backend", spec["decoder"]["backend"], " or ".join(DECODERS))
    if spec.get("assumed", True) is not True:
        raise wrong(f"{where}.assumed", spec["assumed"], "true, or nothing")


def _check_clips(spec: Mapping[str, Any], where: str) -> None:
    clips = get(spec, where, "clips", dict)
    if set(clips) != set(_CLIPS):
        raise wrong(f"{where}.clips", sorted(clips), ", ".join(_CLIPS))
    try:
        ClipSettings.from_json(clips)
    except ExtractSettingsError as error:
        raise BundleError(f"{where}.clips: {error}") from error


def _check_layers(head: Mapping[str, Any], extraction: Mapping[str, Any]) -> None:
    """Layers that the head weighs or picks must be those that the encoders give."""
    given = {name: spec["encoder"].get("n_layers") for name, spec in extraction.items()}
    for name, number in get(head, "head", "layers", dict).items():
        if given.get(name) != number:
            raise wrong(f"head.layers.{name}", number, f"{given.get(name)}, as extraction says")
    layer = head["settings"].get("layer", "mean")
    kept = [number for number in given.values() if type(number) is int]
    if layer != "mean" and not kept:
        raise wrong("head.settings.layer", layer, "mean: no feature set of extraction keeps layers apart")
    if re.fullmatch(r"-?\d{1,6}", str(layer)) and not all(-number <= int(layer) < number for number in kept):
        raise wrong("head.settings.layer", layer, f"one of the {min(kept)} layers that extraction keeps")


def _check_row(row: Any, where: str) -> None:
    if not isinstance(row, dict):
        raise wrong(where, row, "a line of the leaderboard")
    _check_line(row, where, "strategy")
    _check_scored(row, where)
    _check_protocol(row, where)
    whole(row, where, "n", low=0)
    metrics = get(row, where, "metrics", dict)
    for name, value in metrics.items():
        if value is not None and not is_number(value):
            raise wrong(f"{where}.metrics.{name}", value, "a number or null")
    intervals = get(row, where, "interval", dict)
    for name, ends in intervals.items():
        _check_interval(ends, f"{where}.interval.{name}")


def _check_line(part: Mapping[str, Any], where: str, name: str) -> str:
    found = text(part, where, name)
    if any(unicodedata.category(character) in _BREAKS for character in found):
        raise wrong(f"{where}.{name}", found, "a text of one line")
    return found


def _check_protocol(part: Mapping[str, Any], where: str) -> None:
    try:
        Protocol.parse(_check_line(part, where, "protocol"))
    except SplitError as error:
        raise BundleError(f"{where}.protocol: {error}") from error


def _check_scored(part: Mapping[str, Any], where: str) -> None:
    if text(part, where, "scored") not in _SCORED:
        raise wrong(f"{where}.scored", part["scored"], " or ".join(_SCORED))


def _check_interval(ends: Any, place: str) -> None:
    pair = isinstance(ends, list) and len(ends) == 2 and all(is_number(end) for end in ends)
    if ends is not None and not (pair and ends[0] <= ends[1]):
        raise wrong(place, ends, "two rising numbers or null")


def _check_converted(document: Mapping[str, Any]) -> bool:
    """Whether it was made from an older bundle; what is said of that must be whole."""
    if document.get("converted_from") is None:
        return False
    origin = get(document, "", "converted_from", dict)
    for name in ("file", "style", "architecture"):
        text(origin, "converted_from", name)
    digest(origin, "converted_from", "sha256")
    if document["validation"]:
        raise wrong("validation", document["validation"], "no line: an older bundle says nothing of it")
    return True


def _check_audit(audit: Mapping[str, Any], *, converted: bool) -> None:
    verdict = text(audit, "audit", "verdict")
    known = (UNKNOWN,) if converted else VERDICTS
    if verdict not in known:
        raise wrong("audit.verdict", verdict, " or ".join(known))
    text(audit, "audit", "sentence")
    for number, rung in enumerate(get(audit, "audit", "ladder", list)):
        _check_rung(rung, f"audit.ladder[{number}]")
    for number, warning in enumerate(get(audit, "audit", "warnings", list)):
        if not isinstance(warning, str):
            raise wrong(f"audit.warnings[{number}]", warning, "a text")


def _check_rung(rung: Any, where: str) -> None:
    if not isinstance(rung, dict):
        raise wrong(where, rung, "a rung of the ladder")
    _check_protocol(rung, where)
    _check_scored(rung, where)
    for name in ("qwk", "accuracy"):
        if rung.get(name) is not None and not is_number(rung[name]):
            raise wrong(f"{where}.{name}", rung[name], "a number or null")
    _check_interval(rung.get("interval"), f"{where}.interval")


def _check_training(training: Mapping[str, Any], *, n_levels: int, converted: bool) -> None:
    if converted:
        known = [name for name in (*_COUNTS, "n_speakers", "digest") if training.get(name) is not None]
        if known:
            raise wrong(f"training.{known[0]}", training[known[0]], "null: an older bundle does not say")
        return
    for name in _COUNTS:
        whole(training, "training", name, low=0)
    if training.get("n_speakers") is not None:
        whole(training, "training", "n_speakers", low=1)
    counts = training.get("label_counts", [0] * n_levels)
    if not isinstance(counts, list) or len(counts) != n_levels or not all(type(n) is int and n >= 0 for n in counts):
        raise wrong("training.label_counts", counts, f"{n_levels} counts, one for each level")
    digest(training, "training", "digest")
