"""What ``bundle.json`` must say, checked once when a bundle is read, so that all else may rely on it.

The settings and arrays of the head are checked where the head is rebuilt, in :mod:`poise.heads`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from poise.errors import BundleError, ExtractSettingsError, SplitError
from poise.extract.clips import ClipSettings
from poise.extract.fingerprint import DTYPES
from poise.extract.media.decode import DECODERS
from poise.heads.audit.verdict import VERDICTS
from poise.heads.splits import Protocol

SCHEMA_VERSION = 1

_MAX_DEPTH = 20
_MAX_DIGITS = 300  # more would not fit in a float
_MAX_FRAMES = 1024
_CLIPS = ("window_s", "hop_s", "min_tail_s")


def parse_json(content: bytes) -> Any:
    """JSON in which no name stands twice and every number is an ordinary one.

    Raises
    ------
    ValueError
        It is something else, or nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def whole(digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            raise ValueError(f"{digits[:10]}… is not a number of ordinary size")
        return int(digits)

    def fraction(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is not a number of ordinary size")
        return number

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number")

    try:
        value = json.loads(
            content, object_pairs_hook=unique, parse_int=whole, parse_float=fraction, parse_constant=refuse
        )
        _check_depth(value, _MAX_DEPTH)
        json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be printed
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def check_document(document: Mapping[str, Any]) -> None:
    """Refuse a ``bundle.json`` that does not say what it must.

    Parameters
    ----------
    document : mapping
        What :func:`parse_json` gave.

    Raises
    ------
    BundleError
        Something is missing or of another kind; the message names it.
    """
    names = _check_label_names(_get(document, "", "label_names", list))
    _text(document, "", "strategy")
    dims = _check_head(_get(document, "", "head", dict), n_levels=len(names))
    _check_extraction(_get(document, "", "extraction", dict), dims)
    for number, row in enumerate(_get(document, "", "validation", list)):
        _check_row(row, f"validation[{number}]")
    _check_audit(_get(document, "", "audit", dict))
    training = _get(document, "", "training", dict)
    for name in ("n_recordings", "n_copies"):
        _whole(training, "training", name, low=0)
    if not re.fullmatch(r"[0-9a-f]{64}", _text(training, "training", "digest")):
        raise _wrong("training.digest", training["digest"], "64 hexadecimal digits")
    versions = _get(document, "", "versions", dict)
    for name in versions:
        _text(versions, "versions", name)


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError("it is nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _check_depth(each, left - 1)


def _check_label_names(names: list[Any]) -> list[str]:
    good = all(isinstance(name, str) and name for name in names)
    if not good or len(names) < 2 or len(set(names)) != len(names):
        raise _wrong("label_names", names, "two or more different names")
    return names


def _check_head(head: Mapping[str, Any], *, n_levels: int) -> dict[str, int]:
    """Check classes and modalities; give the length of the embeddings of each modality."""
    classes = _get(head, "head", "classes", list)
    ranks = all(type(rank) is int and 0 <= rank < n_levels for rank in classes)
    if not ranks or len(classes) < 2 or any(low >= high for low, high in itertools.pairwise(classes)):
        raise _wrong("head.classes", classes, f"two or more rising ranks below {n_levels}, the number of label_names")
    modalities = _get(head, "head", "modalities", dict)
    if not modalities:
        raise _wrong("head.modalities", modalities, "names with dimensions")
    for name in modalities:
        _whole(modalities, "head.modalities", name, low=1)
    _get(head, "head", "settings", dict)
    return dict(modalities)


def _check_extraction(extraction: Mapping[str, Any], dims: Mapping[str, int]) -> None:
    if set(extraction) != set(dims) or not set(dims) <= {"video", "audio"}:
        raise _wrong("extraction", sorted(extraction), f"the modalities of the head: {', '.join(sorted(dims))}")
    for modality in extraction:
        where = f"extraction.{modality}"
        spec = _get(extraction, "extraction", modality, dict)
        encoder = _get(spec, where, "encoder", dict)
        name = _text(encoder, f"{where}.encoder", "name")
        if "/" in name or not name.isprintable():
            raise _wrong(f"{where}.encoder.name", name, "the name of an encoder, not a path")
        if _whole(encoder, f"{where}.encoder", "dim", low=1) != dims[modality]:
            raise _wrong(f"{where}.encoder.dim", encoder["dim"], f"{dims[modality]}, as head.modalities says")
        if _text(spec, where, "dtype") not in DTYPES:
            raise _wrong(f"{where}.dtype", spec["dtype"], " or ".join(DTYPES))
        if "imported" not in spec:  # of features made elsewhere, no more is known
            _check_extracted(spec, where)


def _check_extracted(spec: Mapping[str, Any], where: str) -> None:
    if "n_frames" in spec["encoder"]:
        _whole(spec["encoder"], f"{where}.encoder", "n_frames", low=1, high=_MAX_FRAMES)
    clips = _get(spec, where, "clips", dict)
    if set(clips) != set(_CLIPS):
        raise _wrong(f"{where}.clips", sorted(clips), ", ".join(_CLIPS))
    try:
        ClipSettings.from_json(clips)
    except ExtractSettingsError as error:
        raise BundleError(f"{where}.clips: {error}") from error
    if _text(_get(spec, where, "decoder", dict), f"{where}.decoder", "backend") not in DECODERS:
        raise _wrong(f"{where}.decoder.backend", spec["decoder"]["backend"], " or ".join(DECODERS))


def _check_row(row: Any, where: str) -> None:
    if not isinstance(row, dict):
        raise _wrong(where, row, "a line of the leaderboard")
    for name in ("strategy", "scored"):
        _text(row, where, name)
    try:
        Protocol.parse(_text(row, where, "protocol"))
    except SplitError as error:
        raise BundleError(f"{where}.protocol: {error}") from error
    _whole(row, where, "n", low=0)
    metrics = _get(row, where, "metrics", dict)
    for name, value in metrics.items():
        if value is not None and not _is_number(value):
            raise _wrong(f"{where}.metrics.{name}", value, "a number or null")
    intervals = _get(row, where, "interval", dict)
    for name, ends in intervals.items():
        pair = isinstance(ends, list) and len(ends) == 2 and all(_is_number(end) for end in ends)
        if ends is not None and not (pair and ends[0] <= ends[1]):
            raise _wrong(f"{where}.interval.{name}", ends, "two rising numbers or null")


def _check_audit(audit: Mapping[str, Any]) -> None:
    verdict = _text(audit, "audit", "verdict")
    if verdict not in VERDICTS:
        raise _wrong("audit.verdict", verdict, " or ".join(VERDICTS))
    _text(audit, "audit", "sentence")
    for number, rung in enumerate(_get(audit, "audit", "ladder", list)):
        where = f"audit.ladder[{number}]"
        if not isinstance(rung, dict):
            raise _wrong(where, rung, "a rung of the ladder")
        for name in ("protocol", "scored"):
            _text(rung, where, name)
    for number, warning in enumerate(_get(audit, "audit", "warnings", list)):
        if not isinstance(warning, str):
            raise _wrong(f"audit.warnings[{number}]", warning, "a text")


_KINDS: dict[type, str] = {dict: "names with values", list: "a list", str: "a text"}


def _get(part: Mapping[str, Any], where: str, name: str, kind: type) -> Any:
    """One value, which must be there and of a kind."""
    place = f"{where}.{name}" if where else name
    if name not in part:
        raise BundleError(f"it has no {place}")
    if type(part[name]) is not kind:
        raise _wrong(place, part[name], _KINDS[kind])
    return part[name]


def _text(part: Mapping[str, Any], where: str, name: str) -> str:
    return str(_get(part, where, name, str))


def _whole(part: Mapping[str, Any], where: str, name: str, *, low: int, high: int = 2**63 - 1) -> int:
    if name not in part:
        raise BundleError(f"it has no {where}.{name}")
    value = part[name]
    if type(value) is not int or not low <= value <= high:
        raise _wrong(f"{where}.{name}", value, f"a whole number from {low} on")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(place: str, value: Any, expected: str) -> BundleError:
    shown = repr(value)
    return BundleError(f"{place} is {shown if len(shown) <= 80 else shown[:80] + '…'}, expected {expected}")
