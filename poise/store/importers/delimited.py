"""Tables of text: CSV, TSV and the semicolons of openSMILE, read row by row in bounded memory."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from poise.errors import ImportFormatError
from poise.store.format.hdf5 import first_line
from poise.store.importers.blocks import Block, block_rows, check_header, note_problems, plain_id

_LONGEST_LINE = 1 << 24
_SAMPLE_ROWS = 1000

Row = tuple[int, list[str]]
"""The line that a row ends in, the first being 1, and its cells."""


class DelimitedTable:
    """A table of text.

    Parameters
    ----------
    path : Path
        A regular file in UTF-8; ``.tsv`` is separated by tabs, else the header tells.

    Raises
    ------
    ImportFormatError
        It cannot be read, or has no header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path) as text:
            header = next(_lines(text), "")
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else sniff_delimiter(header)
        _, names = next(self._lines_of_cells(), (0, []))
        self.names: Sequence[str] = [name.strip() for name in names]
        check_header(path, self.names)
        self._places = {name: place for place, name in enumerate(self.names)}

    def numeric(self) -> list[str]:
        """Names of the columns in which most cells of the first rows are numbers; a column without a name is none."""
        sample = [cells for _, cells in islice(self._rows(), min(_SAMPLE_ROWS, block_rows(len(self.names))))]
        found = []
        for place, name in enumerate(self.names):
            full = [cells[place] for cells in sample if len(cells) > place and cells[place].strip()]
            if name and 2 * sum(map(_is_number, full)) > len(full):
                found.append(name)
        return found

    def ids(self, column: str) -> Iterator[tuple[str, str]]:
        """Where each row stands and its id; the whole table is read.

        Raises
        ------
        ImportFormatError
            The table cannot be read to its end.
        """
        place = self._places[column]
        return ((f"line {line}", _id(cells, place)) for line, cells in self._rows())

    def blocks(self, columns: Sequence[str], *, id_column: str | None = None) -> Iterator[Block]:
        """All rows.

        Raises
        ------
        ImportFormatError
            The table cannot be read to its end.
        """
        rows = self._rows()
        while some := list(islice(rows, block_rows(len(self.names)))):
            yield self._block(some, columns, id_column)

    def _block(self, rows: list[Row], columns: Sequence[str], id_column: str | None) -> Block:
        places = [self._places[name] for name in columns]
        numbers, problems = array("d"), {}
        for row, (line, cells) in enumerate(rows):
            try:
                numbers.extend(self._numbers(cells, places))
            except ValueError:
                problems[row] = f"line {line}: {self._problem(cells, places)}"
                numbers.extend([np.nan] * len(places))
        values = np.frombuffer(numbers).reshape(len(rows), len(places))
        note_problems(values, columns, problems, lambda row: f"line {rows[row][0]}")
        if id_column is None:
            return Block(ids=None, values=values, problems=problems)
        place = self._places[id_column]
        return Block(ids=[_id(cells, place) for _, cells in rows], values=values, problems=problems)

    def _numbers(self, cells: list[str], places: list[int]) -> list[float]:
        picked = [cells[place] for place in places] if self._fits(cells) else [""]
        if "_" in "".join(picked):  # Python reads 1_0 as ten
            raise ValueError
        return list(map(float, picked))

    def _fits(self, cells: list[str]) -> bool:
        # blanks beyond the last name come from separators at the end of the line
        return len(cells) == len(self.names) or (len(cells) > len(self.names) and not any(cells[len(self.names) :]))

    def _problem(self, cells: list[str], places: list[int]) -> str:
        if not self._fits(cells):
            return f"it has {len(cells)} fields, the header has {len(self.names)}"
        place = next(place for place in places if not _is_number(cells[place]))
        held = cells[place].strip()
        return f"the column {self.names[place]!r} " + (f"holds {held[:40]!r}, no number" if held else "is empty")

    def _rows(self) -> Iterator[Row]:
        """Every row below the header that is not blank."""
        return (row for row in islice(self._lines_of_cells(), 1, None) if any(row[1]))

    def _lines_of_cells(self) -> Iterator[Row]:
        with _reading(self._path) as text:
            reader = csv.reader(_lines(text), delimiter=self._delimiter, skipinitialspace=True, strict=True)
            for cells in reader:
                yield reader.line_num, cells


def sniff_delimiter(header: str) -> str:
    """What separates the names in a header: the one of comma, semicolon and tab that makes the most of them."""
    unquoted = "".join(header.split('"')[::2])
    return max((",", ";", "\t"), key=unquoted.count)


def _id(cells: list[str], place: int) -> str:
    return plain_id(cells[place]) if len(cells) > place else ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _lines(text: TextIO) -> Iterator[str]:
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error(f"a line is longer than {_LONGEST_LINE} characters")
        yield line


@contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    """The text of a table; what is wrong with it is an ImportFormatError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise ImportFormatError(f"{path.name} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise ImportFormatError(f"{path.name} cannot be read as a table: {first_line(error)}.") from error
