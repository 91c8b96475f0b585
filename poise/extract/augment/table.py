"""The table with its new copies as a file: old rows as they were, and paths that still lead to their files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from poise.errors import OutputError
from poise.manifest import Manifest, column_names
from poise.table import Table, replace_text

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def check_out(path: Path, *, replace: bool) -> None:
    """Refuse a name that a table cannot or must not be written to, before any work is done.

    Raises
    ------
    OutputError
        It is no .csv or .tsv, lies in no folder, or is there already.
    """
    if path.suffix.lower() not in _DELIMITERS:
        raise OutputError(f"{path} ends in neither .csv nor .tsv, which are the tables written. Give another --out.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a table, as augmented.csv.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent} to put {path.name} in. Make it first.")
    if path.exists() and not replace:
        raise OutputError(f"{path} is there already. Use --replace to put the new table in its place.")


def write_augmented(
    path: Path, table: Table, before: Manifest, after: Manifest, *, keep_paths: bool, replace: bool = False
) -> bool:
    """Write a table with all its rows and columns and the new copies behind them.

    Parameters
    ----------
    path : Path
        The file; it appears whole or not at all.
    table : Table
        The texts that ``before`` was read from.
    before, after : Manifest
        What :func:`poise.extract.augment.plan.augment_manifest` got and gave.
    keep_paths : bool
        Leave relative paths as they are: they start from a folder that is named on every command line. Otherwise they
        are made to start from the new table's folder.
    replace : bool
        Whether a file that is there may be replaced.

    Returns
    -------
    bool
        Whether relative paths had to be rewritten.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    check_out(path, replace=replace)
    columns, rewritten = _with_moved_paths(path, table, before, keep_paths=keep_paths)
    names = column_names(table)
    for column in ("source", "augmentation"):
        if column not in names:
            names[column] = column
            columns[column] = [""] * len(before)
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    place = {name: number for number, name in enumerate(columns)}
    for row in range(len(before), len(after)):
        source = int(after.sources[row])
        cells = list(rows[source])
        cells[place[names["source"]]] = cells[place[names["path"]]]
        cells[place[names["augmentation"]]] = after.augmentations[row]
        rows.append(cells)
    try:
        replace_text(path, _as_text(columns, rows, _DELIMITERS[path.suffix.lower()]))
    except OSError as error:
        raise OutputError(f"The table cannot be written to {path}: {error.strerror}. Choose another --out.") from error
    return rewritten


def _with_moved_paths(
    path: Path, table: Table, before: Manifest, *, keep_paths: bool
) -> tuple[dict[str, list[str]], bool]:
    """The columns, with relative paths that start from the folder of ``path``."""
    columns = dict(table.columns)
    here, root = os.path.abspath(path.parent), os.path.abspath(before.root)
    if keep_paths or here == root:
        return columns, False
    names = column_names(table)
    old = columns[names["path"]]
    new = [_moved(text, root, here) for text in old]
    moved = {os.path.normpath(text): there for text, there in zip(old, new, strict=True)}
    columns[names["path"]] = new
    if "source" in names:  # a source may also be a bare name, which no folder changes
        columns[names["source"]] = [
            moved.get(os.path.normpath(text), text) if text else "" for text in columns[names["source"]]
        ]
    return columns, new != old


def _moved(text: str, root: str, here: str) -> str:
    if os.path.isabs(text):
        return text
    there = os.path.abspath(os.path.join(root, text))
    try:
        return os.path.relpath(there, here)
    except ValueError:  # another drive of Windows
        return there


def _as_text(names: Iterable[str], rows: Iterable[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()
