"""What a reader of tables gives, whatever the format: column names, ids, and blocks of rows of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError

_BLOCK_CELLS = 250_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Some rows of a table that follow each other.

    Attributes
    ----------
    ids : list of str or None
        Id of each row; None if the table was read without an id column.
    values : ndarray of shape (n_rows, n_columns), float64
        The columns asked for; NaN where a cell holds no finite number.
    problems : dict of int to str
        For each row with a cell that is not a finite number, what it is.
    """

    ids: list[str] | None
    values: NDArray[np.float64]
    problems: dict[int, str]


class Table(Protocol):
    """A table in a file.

    Attributes
    ----------
    names : sequence of str
        Names of the columns, without blanks around them.
    """

    names: Sequence[str]

    def numeric(self) -> list[str]:
        """Names of the columns that hold numbers."""

    def ids(self, column: str) -> Iterator[tuple[str, str]]:
        """Where each row stands, as ``line 7``, and its id, see :func:`plain_id`; the whole table is read."""

    def blocks(self, columns: Sequence[str], *, id_column: str | None = None) -> Iterator[Block]:
        """All rows."""


def block_rows(n_columns: int) -> int:
    """How many rows a block may have."""
    return max(1, _BLOCK_CELLS // max(1, n_columns))


def plain_id(text: str) -> str:
    """An id without blanks and without one pair of quotes around it: openSMILE writes ``'name'``."""
    text = text.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1].strip() if quoted else text


def note_problems(
    values: NDArray[np.float64], names: Sequence[str], problems: dict[int, str], where: Callable[[int], str]
) -> None:
    """Add a problem for each row with NaN or infinity that has none yet.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns), float64
    names : sequence of str
        Name of each column.
    problems : dict of int to str
        By row; changed.
    where : callable
        Says where a row stands in the file.
    """
    finite = np.isfinite(values)
    for row in np.flatnonzero(~finite.all(axis=1)).tolist():
        column = int(np.argmin(finite[row]))
        if row not in problems:
            problems[row] = f"{where(row)}: the column {names[column]!r} holds {values[row, column]}, no finite number"


def check_header(path: Path, names: Sequence[str]) -> None:
    """Refuse a header that leaves open which column is meant.

    Raises
    ------
    ImportFormatError
        It is empty, or two columns have the same name.
    """
    seen: set[str] = set()
    for name in filter(None, names):
        if name in seen:
            raise ImportFormatError(f"{path.name} has two columns named {name!r}. Rename one of them.")
        seen.add(name)
    if not seen:
        raise ImportFormatError(f"{path.name} has no header. Expected the names of the columns in its first line.")
