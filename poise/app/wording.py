"""Text that came from elsewhere, made fit for a page: names of files, and errors told in one sentence.

Streamlit reads most of what it shows as Markdown; HTML of our own is escaped where it is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from poise.errors import PoiseError
from poise.text import describe_error, readable

LONGEST_NAME = 80
_LONGEST = 1500
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_JOINER = "\u2060"  # shows nothing, and keeps what stands beside it from being taken for a link or an emoji
_BRACKETS = re.compile(r"(?<!\\)[\[\]$]")
_COMMANDS = re.compile(r"`([^`\n]+)`")
_LINKS = re.compile(r"(?i)(?<=:)(?=[/\w+-])|(?<=@)|(?<=www)(?=\.)")


def show_name(name: str, *, instead: str = "the upload") -> str:
    """A file's name as it is shown: its last part, of at most :data:`LONGEST_NAME` characters that can all be seen.

    Parameters
    ----------
    name : str
        As a browser sent it, which may be anything.
    instead : str
        What is shown of a name with nothing in it.
    """
    last = PurePosixPath(name.replace("\\", "/").replace("\0", "")).name
    return readable(" ".join(last.split()), LONGEST_NAME) or instead


def plain(text: str) -> str:
    """Markdown that shows a text as it is: no links, pictures, colours, formulas or emoji come of it.

    Parameters
    ----------
    text : str
    """
    apart = _LINKS.sub(_JOINER, readable(text, _LONGEST))
    return _PUNCTUATION.sub(r"\\\1", apart).replace("\n", "  \n")


def show_card(card: str) -> str:
    """A model card as Markdown without links, pictures, formulas and emoji, of which it has none of its own.

    Parameters
    ----------
    card : str
        Markdown.
    """
    return _BRACKETS.sub(r"\\\g<0>", _LINKS.sub(_JOINER, card))


def tell(error: BaseException, names: Mapping[str, str]) -> str:
    """An error in words, with the names that a visitor knows.

    Parameters
    ----------
    error : BaseException
        One of poise's own is told as it is, with its commands in quotes, any other with its class.
    names : mapping of str to str
        Private paths, and what is shown in place of each.
    """
    said = str(error) if isinstance(error, PoiseError) else f"Something went wrong: {describe_error(error)}."
    text = _COMMANDS.sub(r"“\1”", "\n".join([said, *getattr(error, "__notes__", ())]))
    for path in sorted(names, key=len, reverse=True):
        text = text.replace(path, names[path])
    return readable(text, _LONGEST)


def safe_file_name(name: str, ending: str) -> str:
    """A name for a download made of a file's name: letters, digits, ``.``, ``_`` and ``-``.

    Parameters
    ----------
    name : str
    ending : str
        As ``.json``.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition(".")[0] or name).strip("-.")
    return f"{stem[:60] or 'recording'}{ending}"
