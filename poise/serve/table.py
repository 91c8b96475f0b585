"""Predictions as a CSV that grows as they come: a row for each file, also for one that failed."""

from __future__ import annotations

import csv
import errno
import os
import stat
import sys
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
        Where to write. An older table of predictions is replaced with the first row, any other file is left as it is.
    label_names : sequence of str
        The levels, lowest first; each has a column ``proba_NAME``.

    Raises
    ------
    OutputError
        It cannot be written, something else is in its place, or another process is writing it.
    """

    def __init__(self, path: str | os.PathLike[str], label_names: Sequence[str]) -> None:
        self._path = Path(path)
        self._names = tuple(label_names)
        self._n_rows = 0
        self._begun = False
        try:
            _refuse_others(self._path)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = _open_locked(self._path)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{path} cannot be written: {error.strerror}. Give another --csv.") from error
        self._writer = csv.writer(self._file)
        if not os.fstat(self._file.fileno()).st_size:
            self._write([])

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
        cells = [
            *(_cell(result[name]) for name in _BEFORE),
            *(_cell(proba.get(name)) for name in self._names),
            *(_cell(result.get(name)) for name in _AFTER),
        ]
        self._write([cells])
        self._n_rows += 1

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        """Write rows; the first time the header before them, in place of an older table."""
        header = [] if self._begun else [[*_BEFORE, *(f"proba_{name}" for name in self._names), *_AFTER]]
        try:
            if not self._begun and _is_regular(self._file):
                self._file.truncate(0)
            self._begun = True
            self._writer.writerows([*header, *rows])
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise OutputError(
                f"{self._path} cannot be written any more: {error.strerror}. It has {self._n_rows} rows; make "
                "room, or give another --csv."
            ) from error


def _open_locked(path: Path) -> IO[str]:
    """Open without emptying, and keep other processes out until it is closed: two tables in one file destroy rows."""

    def keep_content(name: str, flags: int) -> int:
        return os.open(name, flags & ~os.O_TRUNC, 0o666)

    file = open(path, "w", encoding="utf-8", errors="surrogateescape", newline="", opener=keep_content)  # noqa: SIM115
    if sys.platform != "win32" and _is_regular(file):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # others: a file system without locks
                file.close()
                raise OutputError(
                    f"{path} is being written by another poise; expected a file of this one alone. Wait for it, or "
                    "give another --csv."
                ) from error
    return file


def _is_regular(file: IO[str]) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


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
