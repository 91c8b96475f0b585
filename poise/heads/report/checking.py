"""What ``leaderboard.json`` must say for a report of it, checked once so that all else may rely on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from poise.errors import StudyError

_MAX_DEPTH = 50
_LARGEST = 1e15  # more is no count and no metric, and does not fit where it is shown


class _Each(NamedTuple):
    """A mapping from any name to values of one shape."""

    shape: Any


_NUMBER, _PAIR = "a number or null", "two numbers [low, high] or null"
_NUMBERS, _PAIRS = _Each(_NUMBER), _Each(_PAIR)

_GROUP = {"group": str, "n": int, "qwk": _NUMBER, "accuracy": _NUMBER, "mae": _NUMBER, "rps": _NUMBER}
_BIN = {"low": float, "high": float, "n": int, "confidence": _NUMBER, "accuracy": _NUMBER}
_CONFORMAL = {
    "level": float,
    "coverage": _NUMBER,
    "mean_size": _NUMBER,
    "singletons": _NUMBER,
    "n_groups?": int,
    "lowest_group_coverage?": float,
    "sentence": str,
}
_ROW = {
    "strategy": str,
    "protocol": str,
    "scored": str,
    "n": int,
    "baseline": bool,
    "seconds": _NUMBER,
    "metrics": _NUMBERS,
    "interval": _PAIRS,
    "fold_mean": _NUMBERS,
    "fold_std": _NUMBERS,
    "by_group?": [_GROUP],
    "reliability?": {"bins": [_BIN], "ece": _NUMBER},
    "conformal?": _CONFORMAL,
    "reasons?": _Each(_Each(str)),
}
_DIFFERENCE = {
    "protocol": str,
    "scored": str,
    "metric": str,
    "a": str,
    "b": str,
    "difference": _NUMBER,
    "interval": _PAIR,
    "p": _NUMBER,
    "p_corrected": _NUMBER,
    "n_compared?": int,
    "corrected_t?": {"metric?": str, "difference": _NUMBER, "p": _NUMBER, "reason?": str},
    "reason?": str,
}
_RUNG = {
    "protocol": str,
    "scored": str,
    "n?": int,
    "qwk": _NUMBER,
    "accuracy": _NUMBER,
    "interval?": _PAIR,
    "group_only?": {"column": str, "qwk": _NUMBER},
    "majority?": {"qwk": _NUMBER, "accuracy": _NUMBER},
    "interval_groups?": str,
    "reasons?": _Each(str),
}
_AUDIT = {
    "verdict": str,
    "sentence": str,
    "ladder": [_RUNG],
    "findings?": [str],
    "warnings?": [str],
    "evidence?": {"strategy?": str},
}
_STEP = {"n": int, "qwk": _NUMBER, "rps?": _NUMBER, "interval": _PAIRS, "n_draws?": int}
_CURVE = {
    "strategy": str,
    "protocol": str,
    "scored": str,
    "unit": str,
    "groups": [_STEP],
    "recordings?": [_STEP],
    "outlook?": {"sentence": str},
    "reason?": str,
}
_SETTINGS = {
    "command?": [str],
    "manifest?": str,
    "store?": str,
    "n_recordings?": int,
    "n_copies?": int,
    "n_speakers?": int,
    "feature_sets?": list,
    "versions?": _Each(str),
    "created?": str,
}
_BOARD = {
    "leaderboard": [_ROW],
    "comparisons": [_DIFFERENCE],
    "audit?": _AUDIT,
    "learning_curve?": _CURVE,
    "label_names": [str],
    "interval_groups": str,
    "splits": _Each(str),
    "repeats": int,
    "seed": int,
    "warnings": [str],
    "settings?": _SETTINGS,
}
_SPLITS = {"protocols": _Each({"hash": str, "folds": [{"repeat": int, "fold": int}]})}


def parse_json(text: str) -> Any:
    """JSON in which every number is an ordinary one.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        It is something else, or nested too deeply.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number")

    try:
        value = json.loads(text, parse_constant=refuse)
        _check_depth(value, _MAX_DEPTH)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def check_board(document: Any, place: str) -> Mapping[str, Any]:
    """The content of ``leaderboard.json``, once it says what a report needs.

    Parameters
    ----------
    document : any JSON
    place : str
        Where it was read, for the message.

    Raises
    ------
    StudyError
        Something is missing or of another kind; the message names it.
    """
    if isinstance(document, dict) and "leaderboard" in document and "audit" not in document:
        raise StudyError(
            f"{place} has no 'audit': the study is of an older layout. Make it anew with `poise compare … --out STUDY`."
        )
    _check(document, _BOARD, "", place)
    if not document["leaderboard"] or len(document["label_names"]) < 2:
        raise StudyError(
            f"{place} has {len(document['leaderboard'])} lines and {len(document['label_names'])} levels; expected one "
            "line or more and at least two levels. Make the study anew with `poise compare`."
        )
    return dict(document)


def check_splits(document: Any, place: str) -> Mapping[str, Any]:
    """The content of ``splits.json``; as :func:`check_board`."""
    _check(document, _SPLITS, "", place)
    return dict(document)


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError("it is nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _check_depth(each, left - 1)


def _check(value: Any, shape: Any, where: str, place: str) -> None:
    match shape:
        case dict():
            _check_names(_of(dict, value, where, place), shape, where, place)
        case _Each():
            for name, inner in _of(dict, value, where, place).items():
                _check(inner, shape.shape, f"{where}[{name!r}]", place)
        case [inner_shape]:
            for number, inner in enumerate(_of(list, value, where, place)):
                _check(inner, inner_shape, f"{where}[{number}]", place)
        case str():
            if value is not None and not (_is_pair(value) if shape is _PAIR else _is_number(value)):
                raise _wrong(value, shape, where, place)
        case _:
            _of(shape, value, where, place)


def _check_names(value: dict[str, Any], shape: dict[str, Any], where: str, place: str) -> None:
    for name, inner in shape.items():
        key = name.rstrip("?")
        if name.endswith("?") and value.get(key) is None:
            continue
        full = f"{where}.{key}" if where else key
        if key not in value:
            raise StudyError(f"{place} has no {full}. Make the study anew with `poise compare … --out STUDY`.")
        _check(value[key], inner, full, place)


def _of(kind: type, value: Any, where: str, place: str) -> Any:
    good = _is_number(value) and (kind is float or (type(value) is int and value >= 0))
    if kind not in (int, float):
        good = isinstance(value, kind)
    if not good:
        names = {int: "a whole number from 0 on", float: "a number", str: "a text", bool: "true or false"}
        raise _wrong(value, names.get(kind, "an object" if kind is dict else "a list"), where, place)
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST  # which NaN is not


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _wrong(value: Any, expected: str, where: str, place: str) -> StudyError:
    got = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}…"
    return StudyError(
        f"{place}: {where or 'the whole'} is {got}; expected {expected}. Make the study anew with `poise compare`."
    )
