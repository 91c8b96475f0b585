"""Recordings in tables: one table with an id column, or a folder with a table for each recording."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from poise.errors import ImportFormatError
from poise.store.folder import StoreFolder
from poise.store.importers.arrays import MAX_BYTES, TOO_LARGE
from poise.store.importers.blocks import Block, Table
from poise.store.importers.clock import clip_times
from poise.store.importers.columns import check_columns, choose_columns
from poise.store.importers.delimited import DelimitedTable
from poise.store.importers.items import Found, Item, Refused, recording_name
from poise.store.importers.parquet import ParquetTable, load_pyarrow
from poise.store.importers.plan import ImportOptions, ImportPlan, one_encoder
from poise.store.importers.report import ImportReport
from poise.store.importers.run import run_import
from poise.store.importers.sources import folder_files

PARQUET_ENDINGS = (".parquet", ".pq")
ENDINGS = (".csv", ".tsv", *PARQUET_ENDINGS)


def import_table(store: StoreFolder, source: Path, options: ImportOptions) -> ImportReport:
    """Import a table in which ``id_column`` says which recording each row belongs to.

    Raises
    ------
    ImportFormatError
        There is no id column, a column that was asked for is not there, or the table cannot be read to its end; then
        nothing is stored.
    MissingDependencyError
        It is Parquet, and pyarrow is not installed.
    """
    table = open_table(source)
    if options.id_column is None:
        raise ImportFormatError(
            f"{source} is one table, and it is not known which rows belong to which recording. Give the id_column "
            f"(--id); its columns are {', '.join(map(repr, table.names[:20]))}. A "
            "folder of tables with one recording each needs none."
        )
    try:
        columns = choose_columns(table, options)
    except ImportFormatError as error:
        raise ImportFormatError(f"{source}: {error}") from error
    refused = refuse_ids(table, options.id_column)
    plan = _plan(source, options, columns, nothing="it has no rows")
    return run_import(store, plan, _recordings(table, source.name, plan, refused))


def import_table_folder(store: StoreFolder, source: Path, options: ImportOptions) -> ImportReport:
    """Import a folder of tables with one recording each; the first one that can be read says which columns they have.

    Raises
    ------
    MissingDependencyError
        A table is Parquet, and pyarrow is not installed; then nothing is stored.
    """
    for file in folder_files(source, PARQUET_ENDINGS):
        if not isinstance(file, Refused):
            load_pyarrow(file[1])
            break
    plan = _plan(source, options, _first_columns(source, options), nothing="it holds no table")
    files = folder_files(source, ENDINGS)
    items = (file if isinstance(file, Refused) else _recording(*file, plan) for file in files)
    return run_import(store, plan, items)


def open_table(path: Path) -> Table:
    """A table by the ending of its name.

    Raises
    ------
    ImportFormatError
        It cannot be read.
    MissingDependencyError
        It is Parquet, and pyarrow is not installed.
    """
    return ParquetTable(path) if path.suffix.lower() in PARQUET_ENDINGS else DelimitedTable(path)


def refuse_ids(table: Table, id_column: str) -> dict[str, str]:
    """Read all ids of a table before anything is stored.

    Returns
    -------
    dict of str to str
        Why recordings are refused, by id: their rows do not stand together, or it is empty.

    Raises
    ------
    ImportFormatError
        The table cannot be read to its end.
    """
    refused: dict[str, str] = {}
    seen: set[str] = set()
    last = None
    for where, name in table.ids(id_column):
        if not name:
            refused.setdefault(name, f"{where} has no id in the column {id_column!r}")
        elif name != last and name in seen:
            refused.setdefault(name, f"its rows do not stand together: it comes back at {where}. Sort the table by id")
        seen.add(name)
        last = name
    return refused


def _plan(source: Path, options: ImportOptions, columns: tuple[str, ...], *, nothing: str) -> ImportPlan:
    return ImportPlan(
        source=source,
        options=options,
        layout="table",
        encoders=one_encoder(source, options),
        expected="tables (.csv, .tsv, .parquet) with a header and finite numbers: one with an id_column, or a folder "
        "of them with one recording each",
        nothing=nothing,
        columns=columns,
    )


def _first_columns(source: Path, options: ImportOptions) -> tuple[str, ...]:
    for file in folder_files(source, ENDINGS):
        if not isinstance(file, Refused):
            try:
                return choose_columns(open_table(file[1]), options)
            except ImportFormatError:
                continue  # it is refused by name when its turn comes
    return ()


def _recording(inside: str, path: Path, plan: ImportPlan) -> Item:
    """The one recording of a table; nothing here outlives the return."""
    rows = _Rows(path=inside, name=PurePosixPath(inside).stem, plan=plan)
    try:
        table = open_table(path)
        check_columns(table, plan.options, plan.columns or ())
        for block in table.blocks(rows.columns):
            rows.add(block, 0, len(block.values))
        return rows.item()
    except ImportFormatError as error:
        return Refused(path=inside, reason=str(error))


def _recordings(table: Table, source_name: str, plan: ImportPlan, refused: dict[str, str]) -> Iterator[Item]:
    """All recordings of a table; of those that are refused beforehand only the reason, once."""
    told: set[str] = set()
    rows: _Rows | None = None
    blocks = table.blocks(feature_columns(plan), id_column=plan.options.id_column)
    try:
        for block in blocks:
            for name, start, stop in _runs(block.ids or []):
                if rows is not None and rows.name != name:
                    yield rows.item()
                    rows = None
                if name not in refused:
                    rows = rows or _Rows(path=name, name=name, plan=plan)
                    rows.add(block, start, stop)
                elif name not in told:
                    told.add(name)
                    yield Refused(path=name or source_name, reason=refused[name])
    except ImportFormatError as error:
        yield Refused(path=rows.path if rows is not None else source_name, reason=f"{error} Nothing after is imported")
        return
    if rows is not None:
        yield rows.item()


def _runs(ids: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Id, first row and end of each run of rows with the same id."""
    start = 0
    for row in range(1, len(ids) + 1):
        if row == len(ids) or ids[row] != ids[start]:
            yield ids[start], start, row
            start = row


def feature_columns(plan: ImportPlan) -> list[str]:
    """The columns to read as numbers: first those of times, then the features."""
    return [*plan.options.times, *(plan.columns or ())]


class _Rows:
    """The rows of one recording, gathered from blocks; after the first problem only that is kept."""

    def __init__(self, *, path: str, name: str, plan: ImportPlan) -> None:
        self.path = path
        self.name = name
        self.columns = feature_columns(plan)
        self._plan = plan
        self._numbers = array("d")
        self._reason: str | None = None

    def add(self, block: Block, start: int, stop: int) -> None:
        """Take the rows ``start:stop`` of a block."""
        rows = range(start, stop) if block.problems else ()
        problem = next((block.problems[row] for row in rows if row in block.problems), None)
        values = block.values[start:stop]
        if self._reason is None and 8 * len(self._numbers) + values.nbytes > MAX_BYTES:
            problem = TOO_LARGE
        self._reason = self._reason or problem
        if self._reason is None:
            self._numbers.frombytes(values.tobytes())
        else:
            self._numbers = array("d")

    def item(self) -> Item:
        """The recording, or why there is none."""
        if self._reason is None and not len(self._numbers):
            return Refused(path=self.path, reason="it has no rows")
        if self._reason is not None:
            return Refused(path=self.path, reason=self._reason)
        rows = np.frombuffer(self._numbers).reshape(-1, len(self.columns))  # (n_clips, n_times + dim)
        n_times = len(self._plan.options.times)
        try:
            times = clip_times(rows[:, :n_times])
        except ImportFormatError as error:
            return Refused(path=self.path, reason=str(error))
        modality = self._plan.options.chosen_modality()
        return Found(
            path=self.path, name=recording_name(self.name), arrays={modality: rows[:, n_times:]}, clip_times=times
        )
