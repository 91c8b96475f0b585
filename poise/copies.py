"""Which rows of a table are copies, and of which row; what was done to make them is for :mod:`poise.recipe`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from poise.errors import ManifestError

Line = Callable[[int], str]
"""How a message names a row."""


def find_shared_paths(
    paths: Sequence[str], augmentations: Sequence[str], source_texts: Sequence[str], line: Line
) -> dict[int, int]:
    """Rows that have the path of another row: copies that are made on the fly, if all is right with them.

    Parameters
    ----------
    paths, augmentations, source_texts : sequence of str
        Cells of each row.
    line : callable

    Returns
    -------
    dict of int to int
        For each such row the row that is the recording itself: the one without an augmentation.

    Raises
    ------
    ManifestError
        A path is empty, or stands in two rows of which neither is made from the other.
    """
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(paths):
        if not path:
            raise ManifestError(f"{line(row)}: the path is empty. Every row needs one.")
        if "\x00" in path:
            raise ManifestError(f"{line(row)}: the path holds a NUL character.")
        rows_of.setdefault(os.path.normpath(path), []).append(row)
    shared: dict[int, int] = {}
    for rows in rows_of.values():
        plain = _plain_row(rows, augmentations, source_texts)
        for row in rows:
            if row == plain:
                continue
            if not augmentations[row] or not source_texts[row]:
                _refuse(row, plain, line)
            shared[row] = plain
    return shared


def _plain_row(rows: Sequence[int], augmentations: Sequence[str], source_texts: Sequence[str]) -> int:
    unchanged = [row for row in rows if not augmentations[row]] or [row for row in rows if not source_texts[row]]
    return next(iter(unchanged), rows[0])


def _refuse(row: int, plain: int, line: Line) -> None:
    first, second = sorted((row, plain))
    raise ManifestError(
        f"{line(second)}: the same path as {line(first)}. One row for each recording; a copy that is made on the fly "
        "names it as its source and says in the column augmentation what is done, as flip+gain=-3."
    )


def find_sources(paths: Sequence[str], source_texts: Sequence[str], shared: Mapping[int, int], line: Line) -> list[int]:
    """Row of each row's source; a source is named by path, or by a file name or stem that only one recording has.

    Parameters
    ----------
    paths, source_texts : sequence of str
        Cells of each row.
    shared : mapping of int to int
        What :func:`find_shared_paths` gave.
    line : callable

    Returns
    -------
    list of int
        The row itself for an original.

    Raises
    ------
    ManifestError
        A source is not in the table, or several recordings have its name.
    """
    own = [row for row in range(len(paths)) if row not in shared]
    by_name: dict[str, int | None] = {}
    for row in own:
        for name in {os.path.basename(paths[row]), Path(paths[row]).stem}:
            by_name[name] = None if name in by_name else row
    by_path = {paths[row]: row for row in own}
    sources = list(range(len(paths)))
    for row, text in enumerate(source_texts):
        if not text:
            continue
        found = by_path.get(text, by_name.get(text))
        if found is None and row in shared and os.path.normpath(text) == os.path.normpath(paths[row]):
            found = shared[row]
        if found is None:
            why = "is the name of several rows; give its path" if text in by_name else "is not in the table"
            raise ManifestError(f"{line(row)}: its source {text!r} {why}.")
        if row in shared and found != shared[row]:
            _refuse(row, shared[row], line)
        sources[row] = found
    return sources


def copy_name(path: str, recipe: str) -> str:
    """The name of a row: its path, and for a copy that is made on the fly ``path#recipe``."""
    return f"{path}#{recipe}" if recipe else path


def name_copies(paths: Sequence[str], recipes: Sequence[str], line: Line) -> tuple[str, ...]:
    """One name for each row: its path, and for a copy that is made on the fly ``path#recipe``.

    Parameters
    ----------
    paths, recipes : sequence of str
        Path of each row, and what is done to it on the fly; empty for nothing.
    line : callable

    Raises
    ------
    ManifestError
        Two rows have the same name.
    """
    names = tuple(copy_name(path, recipe) for path, recipe in zip(paths, recipes, strict=True))
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        first = seen.setdefault(os.path.normpath(name), row)
        if first != row:
            raise ManifestError(
                f"{line(row)}: the same copy as {line(first)}, {name}. One row for each path and augmentation."
            )
    return names
