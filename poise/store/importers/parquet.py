"""Parquet tables, read batch by batch with pyarrow, which is an optional package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from poise.errors import ImportFormatError, MissingDependencyError
from poise.store.format.hdf5 import first_line
from poise.store.importers.blocks import Block, block_rows, check_header, note_problems, plain_id

_LONGEST_ID = 4096


class ParquetTable:
    """A table in a Parquet file.

    Parameters
    ----------
    path : Path
        A regular file.

    Raises
    ------
    MissingDependencyError
        pyarrow is not installed.
    ImportFormatError
        It is no Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._pa, parquet = load_pyarrow(path)
        self._path = path
        with self._reading():
            # pages, not whole column chunks: memory stays bounded
            self._file: Any = parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False)
            self._schema: Any = self._file.schema_arrow
        self.names: Sequence[str] = [str(name).strip() for name in self._schema.names]
        check_header(path, self.names)
        self._places = {name: place for place, name in enumerate(self.names)}

    def numeric(self) -> list[str]:
        """Names of the columns of integers, floats or decimals."""
        types = self._pa.types
        return [
            name
            for name, field in zip(self.names, self._schema, strict=True)
            if name and (types.is_integer(field.type) or types.is_floating(field.type) or types.is_decimal(field.type))
        ]

    def ids(self, column: str) -> Iterator[tuple[str, str]]:
        """Where each row stands and its id.

        Raises
        ------
        ImportFormatError
            The column holds no texts or integers, or cannot be read to its end.
        """
        row = 0
        for batch in self._batches([column]):
            with self._reading():
                texts = self._texts(batch.column(0), column)
            for text in texts:
                row += 1
                yield f"row {row}", text

    def blocks(self, columns: Sequence[str], *, id_column: str | None = None) -> Iterator[Block]:
        """All rows.

        Raises
        ------
        ImportFormatError
            A column holds no numbers, or the table cannot be read to its end.
        """
        n_before = 0
        wanted = dict.fromkeys([*columns, *([] if id_column is None else [id_column])])
        for batch in self._batches(list(wanted)):
            values = np.stack([self._numbers(batch, name) for name in columns], axis=1)  # (n_rows, n_columns)
            problems: dict[int, str] = {}
            note_problems(values, columns, problems, _row_after(n_before))
            with self._reading():
                ids = None if id_column is None else self._texts(batch.column(self._name(id_column)), id_column)
            n_before += len(values)
            yield Block(ids=ids, values=values, problems=problems)

    def _name(self, column: str) -> str:
        return str(self._schema.names[self._places[column]])

    def _batches(self, columns: Sequence[str]) -> Iterator[Any]:
        with self._reading():
            yield from self._file.iter_batches(block_rows(len(columns)), columns=[self._name(c) for c in columns])

    def _numbers(self, batch: Any, name: str) -> Any:
        column = batch.column(self._name(name))
        try:
            return column.cast(self._pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except self._pa.ArrowException as error:
            raise ImportFormatError(
                f"{self._path.name}: the column {name!r} is {column.type}, which is no number. Choose others with "
                "columns."
            ) from error

    def _texts(self, column: Any, name: str) -> list[str]:
        types, kind = self._pa.types, column.type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)):
            raise ImportFormatError(
                f"{self._path.name}: the id column {name!r} is {column.type}. Expected texts or integers."
            )
        texts = column.dictionary if types.is_dictionary(column.type) else column
        longest = 0 if types.is_integer(kind) else self._pa.compute.max(self._pa.compute.binary_length(texts)).as_py()
        if (longest or 0) > _LONGEST_ID:  # one text may stand in a million rows
            raise ImportFormatError(f"{self._path.name}: an id in {name!r} has {longest} bytes, at most {_LONGEST_ID}.")
        return ["" if text is None else plain_id(str(text)) for text in column.to_pylist()]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except ImportFormatError:
            raise
        except (OSError, ValueError, LookupError, TypeError, self._pa.ArrowException) as error:
            raise ImportFormatError(f"{self._path.name} cannot be read as Parquet: {first_line(error)}.") from error


def load_pyarrow(path: Path) -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``, to read ``path`` with.

    Raises
    ------
    MissingDependencyError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a Parquet table, which needs the package pyarrow. Run `pip install pyarrow`, or save the "
            "table as CSV."
        ) from error
    return pa, parquet


def _row_after(n_before: int) -> Callable[[int], str]:
    return lambda row: f"row {n_before + row + 1}"
