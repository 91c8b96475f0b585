"""Which files are meant by a list of files and folders, in a stable order, each once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from poise.text import name_some

_FILMS = "3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
_SOUNDS = "aac flac m4a mp3 oga ogg opus w64 wav wma"
ENDINGS = frozenset((*_FILMS.split(), *_SOUNDS.split()))
"""Endings of the files that are taken out of a folder; a file that is named itself may have any."""

_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file to look at, or a place where none could be found.

    Attributes
    ----------
    path : str
        As it was given, or below the folder that was given.
    error : str
        Why there is nothing to look at; empty for a file.
    """

    path: str
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What :func:`list_recordings` found.

    Attributes
    ----------
    entries : tuple of Listed
    notes : tuple of str
        What was left out, and why.
    """

    entries: tuple[Listed, ...]
    notes: tuple[str, ...]


def list_recordings(paths: Iterable[str | os.PathLike[str]]) -> Listing:
    """Files as they are given, and in place of a folder the media files in it and below it.

    Nothing is opened. In folders, names that begin with a dot are passed over, and links to folders are not followed.

    Parameters
    ----------
    paths : iterable of path
        Files, which need not exist, and folders.

    Returns
    -------
    Listing
        Files of a folder are sorted by name, folder after folder.
    """
    entries: list[Listed] = []
    notes: list[str] = []
    seen: dict[str, str] = {}
    again: list[str] = []
    for given in paths:
        for entry in _find(os.fspath(given), notes):
            name = os.path.realpath(entry.path)
            if name in seen and not entry.error:
                again.append(entry.path)
            else:
                seen.setdefault(name, entry.path)
                entries.append(entry)
    if again:
        notes.append(f"named more than once, and looked at once: {name_some(again, _MOST_NAMED)}")
    return Listing(entries=tuple(entries), notes=tuple(notes))


def _find(given: str, notes: list[str]) -> Iterable[Listed]:
    if os.path.isdir(given):
        return _walk(given, notes)
    return [Listed(path=given, error="" if given else "a file without a name. Expected the path of a media file.")]


def _walk(folder: str, notes: list[str]) -> Iterator[Listed]:
    others: list[str] = []
    n_files = n_errors = 0
    failed: list[OSError] = []
    for here, folders, files in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        others += [f"{_below(folder, here, name)}/" for name in folders if os.path.islink(os.path.join(here, name))]
        for name in sorted(name for name in files if not name.startswith(".")):
            if Path(name).suffix.lower()[1:] in ENDINGS:
                n_files += 1
                yield Listed(path=os.path.join(here, name))
            else:
                others.append(_below(folder, here, name))
    for error in failed:
        n_errors += 1
        reason = f"the folder cannot be listed: {error.strerror}. Give the files, or a folder that can be read."
        yield Listed(path=os.fspath(error.filename or folder), error=reason)
    if not n_files and not n_errors:
        yield Listed(path=folder, error="there is no media file in this folder. Expected MP4, MOV, MKV or the like.")
    if others:
        notes.append(f"{folder} holds other files than media, left out: {name_some(others, _MOST_NAMED)}")


def _below(folder: str, here: str, name: str) -> str:
    return os.path.relpath(os.path.join(here, name), folder)
