"""The table of recordings: what is judged, by whom it is spoken, and what is a copy of what.

Reading and checking the table lives here; opening the media files does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from poise.errors import ManifestError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ALIASES = {
    "path": ("path", "video_filename", "video", "audio", "file", "filename", "file_name", "recording"),
    "label": ("label", "score", "level", "class"),
    "speaker": ("speaker", "speaker_id"),
    "source": ("source", "source_id"),
    "augmentation": ("augmentation",),
}
"""For each column of the manifest, the names it may have in a table, the first being its own."""

_SHOWN_ROWS = 8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Manifest:
    """Recordings with their labels, groups and files, one row each.

    Attributes
    ----------
    table_path : Path or None
        The file the table was read from.
    root : Path
        Folder that relative paths start from.
    paths : tuple of str
        Path of each recording as the table gives it.
    labels : ndarray of shape (n_recordings,), int64
        Rank of each label, 0 .. K-1; all -1 when labels were not read.
    label_names : tuple of str
        Names of the K levels, lowest first.
    speakers : ndarray of shape (n_recordings,), str, or None
        Who is heard and seen.
    sources : ndarray of shape (n_recordings,), int64
        Row of the recording that each one was made from; its own row for an original.
    augmentations : tuple of str
        What was done to make a copy; empty for an original.
    extra : dict of str to ndarray of str
        Every other column of the table.
    """

    table_path: Path | None
    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    speakers: NDArray[np.str_] | None
    sources: NDArray[np.int64]
    augmentations: tuple[str, ...]
    extra: dict[str, NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        n_copies = int(self.is_copy.sum())
        people = "" if self.speakers is None else f", {len(set(self.speakers.tolist()))} speakers"
        return f"Manifest({len(self)} recordings, {n_copies} of them copies{people}, levels {self.label_names})"

    @property
    def n_classes(self) -> int:
        """Number of levels K."""
        return len(self.label_names)

    @property
    def is_copy(self) -> NDArray[np.bool_]:
        """Which rows are augmented copies, shape (n_recordings,)."""
        return np.not_equal(self.sources, np.arange(len(self)))

    def file(self, row: int) -> Path:
        """Absolute path of the media file of one row; it need not exist."""
        return Path(os.path.abspath(self.root / self.paths[row]))

    def line(self, row: int) -> str:
        """How a message names a row: its line in the table (the header is line 1) and its path."""
        return f"line {row + 2} ({self.paths[row]})"

    def lines(self, rows: Iterable[int]) -> str:
        """How a message names several rows; the first few stand for many."""
        listed = list(rows)
        shown = ", ".join(self.line(int(row)) for row in listed[:_SHOWN_ROWS])
        return f"{shown} and {len(listed) - _SHOWN_ROWS} more" if len(listed) > _SHOWN_ROWS else shown

    def groups(self, column: str) -> NDArray[np.str_]:
        """What must not stand on both sides of a fold, by the values of one column.

        Parameters
        ----------
        column : str
            ``speaker``, ``source`` or any other column of the table.

        Returns
        -------
        ndarray of shape (n_recordings,), str

        Raises
        ------
        ManifestError
            The table has no such column, or a row leaves it empty.
        """
        if column == "source":
            return np.array([self.paths[row] for row in self.sources], dtype=np.str_)
        values = self.speakers if column == "speaker" else self.extra.get(column)
        if values is None:
            known = [name for name, there in (("speaker", self.speakers is not None), ("source", True)) if there]
            raise ManifestError(
                f"The manifest has no column {column!r} to group by. It has: {', '.join([*known, *self.extra])}."
            )
        empty = np.flatnonzero(values == "")
        if len(empty):
            raise ManifestError(f"{self.lines(empty)}: no {column} given. Grouping needs one in every row.")
        return values


def read_manifest(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    label_names: Sequence[str] | None = None,
    labels: Literal["required", "ignored"] = "required",
    files: Literal["unchecked", "must exist"] = "unchecked",
) -> Manifest:
    """Read a manifest from CSV, TSV, Parquet or JSON Lines.

    Parameters
    ----------
    path : path
        The table: ``path,label[,speaker][,source][,augmentation][,...]``. The column names
        ``video_filename`` and ``score`` are understood too.
    root : path, optional
        Folder that relative paths start from. Default: the folder of the table.
    label_names : sequence of str, optional
        Names of the levels, lowest first. Needed when labels are names; with integer labels it
        names the levels 0 .. K-1.
    labels : {"required", "ignored"}
        Whether labels are read; extraction needs none.
    files : {"unchecked", "must exist"}
        Whether every path must lead to something on this machine.

    Returns
    -------
    Manifest

    Raises
    ------
    ManifestError
        The table cannot be read, or a row is wrong; the message names the lines.
    """
    table_path = Path(path)
    table = _read_table(table_path)
    columns = _find_columns(table_path, table)
    paths = tuple(table[columns["path"]])
    folder = Path(root) if root is not None else table_path.parent
    draft = Manifest(
        table_path=table_path,
        root=folder,
        paths=paths,
        labels=np.full(len(paths), -1, dtype=np.int64),
        label_names=tuple(label_names or ()),
        speakers=_column(table, columns, "speaker"),
        sources=np.arange(len(paths), dtype=np.int64),
        augmentations=tuple(table[columns["augmentation"]]) if "augmentation" in columns else ("",) * len(paths),
        extra={
            str(name): table[name].to_numpy(dtype=np.str_) for name in table.columns if name not in columns.values()
        },
    )
    _check_paths(draft)
    if "label" not in columns and labels == "required":
        raise ManifestError(
            f"{table_path}: no column 'label' (or 'score'). It has: {', '.join(map(str, table.columns))}."
        )
    ranks, names = draft.labels, draft.label_names
    if labels == "required":
        ranks, names = _rank_labels(draft, list(table[columns["label"]]), label_names)
    sources = _find_sources(draft, list(table[columns["source"]]) if "source" in columns else [""] * len(paths))
    manifest = replace(draft, labels=ranks, label_names=names, sources=sources)
    _check_copies(manifest)
    if files == "must exist":
        _check_files(manifest)
    return manifest


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        raise ManifestError(f"There is no manifest at {path}. Give the path of a CSV with the columns path,label.")
    if path.is_dir():
        raise ManifestError(f"{path} is a folder, not a table. Give the path of a CSV with the columns path,label.")
    try:
        match path.suffix.lower():
            case ".parquet":
                table = pd.read_parquet(path).astype(object)
            case ".jsonl" | ".ndjson":
                table = pd.read_json(path, lines=True, dtype=False)
            case suffix:
                table = pd.read_csv(
                    path,
                    sep="\t" if suffix == ".tsv" else ",",
                    dtype=str,
                    keep_default_na=False,
                    encoding="utf-8-sig",
                    skipinitialspace=True,
                )
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8: in a spreadsheet, as 'CSV UTF-8'."
        ) from error
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ManifestError(
            f"{path} cannot be read as a table: {reason.rstrip('.')}. Expected CSV (or .tsv, .parquet, .jsonl) with "
            "the columns path,label[,speaker][,source][,augmentation]."
        ) from error
    if table.empty:
        raise ManifestError(f"{path} has no rows. Expected one row for each recording below the header path,label.")
    if isinstance(table.index, pd.MultiIndex) or not isinstance(table.index, pd.RangeIndex):
        raise ManifestError(f"{path}: a row has more fields than the header has names. Quote fields that hold a comma.")
    return table.map(_text)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _find_columns(path: Path, table: pd.DataFrame) -> dict[str, str]:
    by_lower = {str(name).strip().lower(): str(name) for name in table.columns}
    found = {}
    for column, aliases in ALIASES.items():
        for alias in aliases:
            if alias in by_lower:
                found[column] = by_lower[alias]
                break
    if "path" not in found and len(table.columns) == 1 and ";" in str(table.columns[0]):
        raise ManifestError(f"{path} is separated by semicolons. Save it with commas, or with tabs as a .tsv.")
    if "path" not in found:
        raise ManifestError(
            f"{path}: no column 'path' (or 'video_filename'). It has: {', '.join(map(str, table.columns))}."
        )
    return found


def _column(table: pd.DataFrame, columns: dict[str, str], name: str) -> NDArray[np.str_] | None:
    return table[columns[name]].to_numpy(dtype=np.str_) if name in columns else None


def _check_paths(manifest: Manifest) -> None:
    seen: dict[str, int] = {}
    for row, path in enumerate(manifest.paths):
        if not path:
            raise ManifestError(f"line {row + 2}: the path is empty. Every row needs one.")
        if "\x00" in path:
            raise ManifestError(f"line {row + 2}: the path holds a NUL character.")
        name = os.path.normpath(path)
        if name in seen:
            raise ManifestError(
                f"{manifest.line(row)}: the path stands in line {seen[name] + 2} too. One row for each recording."
            )
        seen[name] = row


def _rank_labels(
    manifest: Manifest, texts: list[str], names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    empty = [row for row, text in enumerate(texts) if text == ""]
    if empty:
        raise ManifestError(f"{manifest.lines(empty)}: no label. Every row needs one.")
    if names is not None:
        _check_names(names)
    if names is not None and any(text in names for text in texts):
        return _rank_named(manifest, texts, names)
    numbers = [_integer(text) for text in texts]
    wrong = [row for row, number in enumerate(numbers) if number is None or number < 0]
    if wrong and names is not None:
        raise ManifestError(_outside(manifest, texts, wrong, names))
    if wrong:
        raise ManifestError(
            f"Labels are not integers from 0 on: {_counted(manifest, texts, wrong)}. When they are names, give their "
            f"order, lowest first: --labels low,moderate,high (in Python label_names=[...])."
        )
    ranks = np.array(numbers, dtype=np.int64)
    return ranks, _names_of_integers(manifest, ranks, names)


def _check_names(names: Sequence[str]) -> None:
    if len(names) < 2 or len(set(names)) != len(names) or any(not name for name in names):
        raise ManifestError(
            f"--labels {','.join(names)}: expected two or more different names, lowest first, as low,moderate,high."
        )


def _rank_named(
    manifest: Manifest, texts: list[str], names: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    rank_of = {name: rank for rank, name in enumerate(names)}
    wrong = [row for row, text in enumerate(texts) if text not in rank_of]
    if wrong:
        raise ManifestError(_outside(manifest, texts, wrong, names))
    return np.array([rank_of[text] for text in texts], dtype=np.int64), tuple(names)


def _outside(manifest: Manifest, texts: list[str], wrong: list[int], names: Sequence[str]) -> str:
    return f"Labels that are not in the set {', '.join(names)}: {_counted(manifest, texts, wrong)}."


def _counted(manifest: Manifest, texts: list[str], rows: list[int]) -> str:
    """Each wrong label once, with how often and where first."""
    places: dict[str, list[int]] = {}
    for row in rows:
        places.setdefault(texts[row], []).append(row)
    told = [
        f"{text!r} in {manifest.line(found[0])}" + (f" and {len(found) - 1} other rows" if len(found) > 1 else "")
        for text, found in places.items()
    ]
    return "; ".join(told[:_SHOWN_ROWS]) + (f" and {len(told) - _SHOWN_ROWS} more" if len(told) > _SHOWN_ROWS else "")


def _integer(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**31 else None


def _names_of_integers(manifest: Manifest, ranks: NDArray[np.int64], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        unused = sorted(set(range(int(ranks.max()) + 1)) - set(ranks.tolist())) if ranks.max() < 1000 else [0]
        if unused:
            raise ManifestError(
                f"Labels must be 0..K-1: the highest is {ranks.max()}, but no row has label {unused[0]}. "
                "If a level may stay empty, name all levels with --labels, lowest first."
            )
        return tuple(str(rank) for rank in range(int(ranks.max()) + 1))
    outside = np.flatnonzero(ranks >= len(names))
    if len(outside):
        raise ManifestError(
            f"{manifest.lines(outside)}: label {ranks[outside[0]]} is not in the set 0..{len(names) - 1} "
            f"({', '.join(names)})."
        )
    return tuple(names)


def _find_sources(manifest: Manifest, texts: list[str]) -> NDArray[np.int64]:
    """Row of each row's source; a source is named by path, or by a file name or stem that only one row has."""
    by_name: dict[str, int | None] = {}
    for row, path in enumerate(manifest.paths):
        for name in {os.path.basename(path), Path(path).stem}:
            by_name[name] = None if name in by_name else row
    by_path = {path: row for row, path in enumerate(manifest.paths)}
    sources = np.arange(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        if not text:
            continue
        found = by_path.get(text, by_name.get(text))
        if found is None:
            why = "is the name of several rows; give its path" if text in by_name else "is not in the table"
            raise ManifestError(f"{manifest.line(row)}: its source {text!r} {why}.")
        sources[row] = found
    return sources


def _check_copies(manifest: Manifest) -> None:
    for row in np.flatnonzero(manifest.is_copy).tolist():
        source = int(manifest.sources[row])
        if manifest.sources[source] != source:
            raise ManifestError(
                f"{manifest.line(row)}: its source, {manifest.line(source)}, is a copy itself. Name the original."
            )
        if manifest.labels[row] != manifest.labels[source]:
            raise ManifestError(
                f"{manifest.line(row)}: label {manifest.label_names[manifest.labels[row]]} differs from that of its "
                f"source, {manifest.line(source)}: {manifest.label_names[manifest.labels[source]]}."
            )
        if manifest.speakers is not None and manifest.speakers[row] != manifest.speakers[source]:
            raise ManifestError(
                f"{manifest.line(row)}: speaker {str(manifest.speakers[row])!r} differs from that of its source, "
                f"{manifest.line(source)}: {str(manifest.speakers[source])!r}."
            )


def _check_files(manifest: Manifest) -> None:
    missing = [row for row in range(len(manifest)) if not os.path.lexists(manifest.file(row))]
    if missing:
        raise ManifestError(
            f"{len(missing)} of {len(manifest)} files are missing: {manifest.lines(missing)}. Relative paths start "
            f"from {manifest.root.absolute()}; another folder is given with --root."
        )
