"""Numbers, names and protocols in words, for readers who know no machine learning."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_NAME = 160
"""Characters of a file's, speaker's, level's or strategy's name that are shown."""

_LONGEST = 6000
_KEPT = "\n \u00a0\u200c\u200d"  # the joiners hold emoji and some scripts together and reorder nothing
_METRICS = {
    "qwk": "quadratic kappa",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "mae": "mean absolute error",
    "spearman": "rank correlation",
    "log_loss": "log-loss",
    "rps": "ranked probability score",
    "ece": "calibration error",
}


def show(text: str, most: int = _LONGEST) -> str:
    """Text fit for a page: control and reordering characters are written out, and so are bytes that are no text.

    Parameters
    ----------
    text : str
    most : int
        Characters that are shown; of a longer text the beginning and the end.
    """
    return shorten("".join(map(_character, shorten(text, most))), most)


def shorten(text: str, most: int) -> str:
    """The beginning and the end of a text of more than so many characters, with ``…`` between."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"


def _character(character: str) -> str:
    if character.isprintable() or character in _KEPT:
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return repr(character)[1:-1]


def measure(text: str) -> int:
    """Columns that a text takes: emoji and East Asian characters are two wide, marks upon a letter none."""
    return sum(_width(character) for character in text)


def fit(text: str, columns: int) -> str:
    """As much of the beginning and the end of a text as fits into so many columns."""
    text = show(text, 2 * columns + 1)
    if measure(text) <= columns:
        return text
    half = (columns - 1) // 2
    return f"{_take(text, columns - 1 - half)}…{_take(text[::-1], half)[::-1]}"


def _take(text: str, columns: int) -> str:
    taken = 0
    for place, character in enumerate(text):
        taken += _width(character)
        if taken > columns:
            return text[:place]
    return text


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in "\u200c\u200d":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def figure(value: float | None, digits: int = 2) -> str:
    """A number with so many digits behind the point, or a dash where it is not defined."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def span(ends: Sequence[float] | None, digits: int = 2) -> str:
    """An interval as ``0.10 to 0.50``, or a dash."""
    return "–" if ends is None else f"{figure(ends[0], digits)} to {figure(ends[1], digits)}"


def share(value: float | None) -> str:
    """A share as a whole percentage."""
    return "–" if value is None else f"{100 * value:.0f}\u00a0%"


def p_value(value: float | None) -> str:
    """A p-value; what is below one in a thousand is said to be so."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else figure(value, 3)


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 speaker``, ``5,000 recordings``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def metric(name: str) -> str:
    """The full name of a metric."""
    return _METRICS.get(name, name)


def protocol(name: str) -> str:
    """What a protocol keeps apart, in a few words."""
    kind, _, rest = name.partition(":")
    column = rest.partition(":")[0]
    if kind not in ("group", "logo"):
        return "recordings dealt at random"
    return {"source": "copies kept with their original", "speaker": "people kept apart"}.get(
        column, f"kept apart by {column}"
    )


def command_line(words: Sequence[str]) -> str:
    """A command as it is typed into a shell."""
    first = words[0].replace("\\", "/").rpartition("/")[2] if words else ""
    return shlex.join([first, *words[1:]])


def reasons(rows: Iterable[Mapping[str, Any]], parts: Sequence[str]) -> list[str]:
    """Why numbers of these lines are not defined, each reason once.

    Parameters
    ----------
    rows : iterable of mapping
        Lines of the leaderboard.
    parts : sequence of str
        ``part.metric`` that are shown, as ``metrics.qwk``.
    """
    found: dict[str, None] = {}
    for row in rows:
        for part in parts:
            group, _, name = part.partition(".")
            why = (row.get("reasons") or {}).get(group, {}).get(name)
            if why:
                found[f"{metric(name)}: {why}"] = None
    return list(found)
