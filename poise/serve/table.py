"""Predictions as a CSV that grows as they come: a row for each file, also for one that failed."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from poise.errors import OutputError

_BEFORE = ("path", "label", "abstains", "trusted", "likely")
_AFTER = ("duration_s", "flags", "because", "doubts", "notes", "error")
_MARK = ",".join(_BEFORE)


class PredictionTable:
    """A CSV of predictions; a context manager. Every row is on its way to the disk before the next file is looked at.

    Parameters
    ----------
    path : path
        Where to write. An older table of predictions is replaced, any other file is left as it is.
    label_names : sequence of str
        The levels, lowest first; each has a column ``proba_NAME``.

    Raises
    ------
    OutputError
        It cannot be written, or something else is in its place.
    """

    def __init__(self, path: str | os.PathLike[str], label_names: Sequence[str]) -> None:
        self._path = Path(path)
        self._names = tuple(label_names)
        self._n_rows = -1
        try:
            _refuse_others(self._path)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = open(self._path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{path} cannot be written: {error.strerror}. Give another --csv.") from error
        self._writer = csv.writer(self._file)
        self._write([*_BEFORE, *(f"proba_{name}" for name in self._names), *_AFTER])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, result: dict[str, Any]) -> None:
        """One more row.

        Parameters
        ----------
        result : dict
            What ``poise predict --json`` prints of a file.

        Raises
        ------
        OutputError
            The disk is full, or gone; the rows before are kept.
        """
        proba = result["proba"] or {}
        self._write(
            [
                *(_cell(result[name]) for name in _BEFORE),
                *(_cell(proba.get(name)) for name in self._names),
                *(_cell(result.get(name)) for name in _AFTER),
            ]
        )

    def _write(self, cells: list[str]) -> None:
        try:
            self._writer.writerow(cells)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise OutputError(
                f"{self._path} cannot be written any more: {error.strerror}. It has {max(self._n_rows, 0)} rows; make "
                "room, or give another --csv."
            ) from error
        self._n_rows += 1


def _refuse_others(path: Path) -> None:
    """Replace an older table of predictions, and nothing else: a slip of the hand must not cost a table of labels."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file, as predictions.csv.")
    if not path.is_file() or not path.stat().st_size:  # also a device or a pipe, as /dev/stdout
        return
    with open(path, "rb") as file:
        begins = file.read(len(_MARK))
    if begins != _MARK.encode():
        raise OutputError(
            f"{path} exists and is not a table of predictions, so it is left as it is. Give another --csv."
        )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return "; ".join(value) if isinstance(value, list | tuple) else str(value)
