"""JSON that anybody may have made: parsed strictly, its values taken out one by one, each of the kind it must be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from poise.errors import BundleError

MAX_JSON_BYTES = 1 << 20

_MAX_DEPTH = 20
_MAX_DIGITS = 300  # more would not fit in a float
_MAX_SHOWN = 80
_KINDS: dict[type, str] = {dict: "names with values", list: "a list", str: "a text"}


def parse_json(content: bytes) -> Any:
    """JSON in which no name stands twice and every number is an ordinary one.

    Raises
    ------
    ValueError
        It is something else, too long, or nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def whole_number(digits: str) -> int:
        if len(digits) > _MAX_DIGITS:
            raise ValueError(f"{digits[:10]}… is not a number of ordinary size")
        return int(digits)

    def fraction(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text[:_MAX_SHOWN]} is not a number of ordinary size")
        return number

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a number")

    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} bytes")
    try:
        value = json.loads(
            content, object_pairs_hook=unique, parse_int=whole_number, parse_float=fraction, parse_constant=refuse
        )
        _check_depth(value, _MAX_DEPTH)
        json.dumps(value, ensure_ascii=False).encode()  # half a character cannot be printed
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def get(part: Mapping[str, Any], where: str, name: str, kind: type) -> Any:
    """One value, which must be there and of a kind.

    Parameters
    ----------
    part : mapping
    where : str
        Place of the part in its document, empty for the document itself.
    name : str
    kind : {dict, list, str}

    Raises
    ------
    BundleError
        It is not there, or of another kind.
    """
    place = f"{where}.{name}" if where else name
    if name not in part:
        raise BundleError(f"it has no {place}")
    if type(part[name]) is not kind:
        raise wrong(place, part[name], _KINDS[kind])
    return part[name]


def text(part: Mapping[str, Any], where: str, name: str) -> str:
    """A text; see :func:`get`."""
    return str(get(part, where, name, str))


def digest(part: Mapping[str, Any], where: str, name: str) -> str:
    """A sha256 as 64 hexadecimal digits; see :func:`get`."""
    found = text(part, where, name)
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise wrong(f"{where}.{name}", found, "64 hexadecimal digits")
    return found


def whole(part: Mapping[str, Any], where: str, name: str, *, low: int, high: int = 2**63 - 1) -> int:
    """A whole number between two bounds; see :func:`get`."""
    if name not in part:
        raise BundleError(f"it has no {where}.{name}")
    value = part[name]
    if type(value) is not int or not low <= value <= high:
        bounds = f"from {low} on" if high == 2**63 - 1 else f"from {low} to {high}"
        raise wrong(f"{where}.{name}", value, f"a whole number {bounds}")
    return value


def check_names(place: str, names: Sequence[Any], *, most: int) -> None:
    """Refuse names that are not different texts of one line, or too few or many of them.

    Raises
    ------
    BundleError
        The message names the place.
    """
    good = all(isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable() for name in names)
    if not good or not 2 <= len(names) <= most or len(set(names)) != len(names):
        raise wrong(place, names, f"from two to {most} different names of one line each")


def is_number(value: Any) -> bool:
    """Whether it is a number, and not True or False."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def wrong(place: str, value: Any, expected: str) -> BundleError:
    """The error of a value that is not what it must be."""
    shown = repr(value)
    return BundleError(
        f"{place} is {shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + '…'}, expected {expected}"
    )


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise ValueError("it is nested too deeply")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        _check_depth(each, left - 1)
