"""A table of texts with line numbers, from CSV, TSV, JSON Lines or Parquet. What its columns mean lives elsewhere."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from poise.errors import ManifestError

_EXPECTED = "Expected CSV (or .tsv, .jsonl, .parquet) with the columns path,label[,speaker][,source][,augmentation]."
_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of texts, all of one length.

    Attributes
    ----------
    columns : dict of str to list of str
        Cells without blanks around them; empty where there is nothing.
    lines : list of int
        Line of the file that each row begins in, the first being 1.
    """

    columns: dict[str, list[str]]
    lines: list[int]


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table; the ending of its name says how.

    Raises
    ------
    ManifestError
        The file is not there, cannot be read, or is not a table.
    """
    file = Path(path)
    try:
        if not file.exists():
            raise ManifestError(f"There is no manifest at {file}. Give the path of a CSV with the columns path,label.")
        if not file.is_file():
            raise ManifestError(f"{file} is a folder or a device, not a table. {_EXPECTED}")
        names, rows = _read(file)
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{file} is not UTF-8 text (byte {error.start}). Save it as UTF-8: in a spreadsheet, as 'CSV UTF-8'."
        ) from error
    except (OSError, ValueError, ImportError, csv.Error, RecursionError) as error:
        if isinstance(error, ManifestError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ManifestError(f"{file} cannot be read as a table: {reason}. {_EXPECTED}") from error
    if not rows:
        raise ManifestError(f"{file} has no rows. Expected one row for each recording below the header path,label.")
    return Table(
        columns={name: [cells[i] for _, cells in rows] for i, name in enumerate(names)},
        lines=[line for line, _ in rows],
    )


Rows = list[tuple[int, list[str]]]


def _read(file: Path) -> tuple[list[str], Rows]:
    match file.suffix.lower():
        case ".parquet":
            return _read_parquet(file)
        case ".jsonl" | ".ndjson":
            return _read_json_lines(file)
        case suffix:
            return _read_csv(file, "\t" if suffix == ".tsv" else ",")


def _read_csv(file: Path, delimiter: str) -> tuple[list[str], Rows]:
    with file.open(encoding="utf-8-sig", newline="") as text, _long_fields():
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        names = [name.strip() for name in next(reader, [])]
        _check_header(file, names, delimiter)
        rows: Rows = []
        line = reader.line_num + 1
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                rows.append((line, _fit(file, line, stripped, len(names))))
            line = reader.line_num + 1
    return names, rows


def _fit(file: Path, line: int, cells: list[str], n_columns: int) -> list[str]:
    if any(cells[n_columns:]):
        raise ManifestError(
            f"{file}, line {line}: {len(cells)} fields, more than the header's {n_columns} names. Quote fields that "
            "hold a comma."
        )
    return [*cells[:n_columns], *[""] * (n_columns - len(cells))]


def _check_header(file: Path, names: list[str], delimiter: str) -> None:
    if not any(names):
        raise ManifestError(f"{file} cannot be read as a table: it has no header. {_EXPECTED}")
    if delimiter == "," and len(names) == 1 and ";" in names[0]:
        raise ManifestError(f"{file} is separated by semicolons. Save it with commas, or with tabs as a .tsv.")
    seen: set[str] = set()
    for name in names:
        if name and name.lower() in seen:
            raise ManifestError(f"{file} has two columns named {name!r}. Rename one: it is not clear which is meant.")
        seen.add(name.lower())


@contextmanager
def _long_fields() -> Iterator[None]:
    """A column of transcripts is no reason to refuse a table."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_json_lines(file: Path) -> tuple[list[str], Rows]:
    records = []
    for line, text in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not text.strip():
            continue
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ManifestError(f"{file}, line {line}: not a JSON object. Expected one object for each recording.")
        records.append((line, record))
    names = list(dict.fromkeys(name for _, record in records for name in record))
    _check_header(file, names, "")
    return names, [(line, [_text(record.get(name)) for name in names]) for line, record in records]


def _read_parquet(file: Path) -> tuple[list[str], Rows]:
    import pandas as pd

    frame = pd.read_parquet(file)
    names = [str(name) for name in frame.columns]
    _check_header(file, names, "")
    values = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return names, [(row + 2, [_text(value) for value in cells]) for row, cells in enumerate(values)]


def _text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124  NaN
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def replace_text(path: Path, text: str) -> None:
    """Write beside the file, then rename: a reader never sees half of it.

    Parameters
    ----------
    path : Path
        The file.
    text : str
        What it is to hold, in UTF-8; names of files that are no text come back as the bytes they were.

    Raises
    ------
    OSError
        It cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
