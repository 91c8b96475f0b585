"""Text that came from elsewhere, as a file's name or a codec's complaint, made fit to be shown."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REASON = 500
"""Characters of an error that are kept as a reason; others' errors may quote megabytes."""


def visible(text: str) -> str:
    """Text whose control characters are written out, but for ends of lines."""
    return "".join(c if c.isprintable() or c in "\n " or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Visible text whose words are one space apart, so that nothing in it begins a line; bytes of names written out."""
    return " ".join(visible(text).split()).encode("utf-8", "backslashreplace").decode()


def readable(text: str, most: int) -> str:
    """Visible text of at most so many characters: of one that is longer the first and the last, with ``…`` between."""
    return _shorten(visible(_shorten(text, most)), most)


def name_some(names: Sequence[str], most: int, *, between: str = ", ") -> str:
    """At most so many names, and how many more there are.

    >>> name_some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def describe_error(error: BaseException) -> str:
    """Class and message of an error, on one line of at most :data:`MAX_REASON` characters that can all be shown."""
    message = " ".join(str(error).split())
    return readable(f"{type(error).__name__}: {message}" if message else type(error).__name__, MAX_REASON)


def _shorten(text: str, most: int) -> str:
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"
