"""The table of recordings: what is judged, by whom it is spoken, and what is a copy of what.

Reading and checking the table lives here; opening the media files does not.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from poise.copies import find_shared_paths, find_sources, name_copies
from poise.errors import ExtractSettingsError, ManifestError
from poise.recipe import Augmentation
from poise.table import Table, read_table
from poise.text import name_some

if TYPE_CHECKING:
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
        Path of each recording as the table gives it; for a copy that is made on the fly its name ``path#recipe``.
    labels : ndarray of shape (n_recordings,), int64
        Rank of each label, 0 .. K-1; all -1 when labels were not read.
    label_names : tuple of str
        Names of the K levels, lowest first.
    speakers : ndarray of shape (n_recordings,), str, or None
        Who is heard and seen.
    sources : ndarray of shape (n_recordings,), int64
        Row of the recording that each one was made from; its own row for an original.
    augmentations : tuple of str
        What was done to make a copy, as the table says it; empty for an original.
    extra : dict of str to tuple of str
        Every other column of the table.
    lines_of_rows : tuple of int
        Line of the table that each row begins in; empty for a manifest that was not read from one.
    recipes : tuple of str
        What is done on the fly to the source's file to make a copy, see :class:`poise.recipe.Augmentation`; empty for
        a row with a file of its own. An empty tuple if no row is made on the fly.
    """

    table_path: Path | None
    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    speakers: NDArray[np.str_] | None
    sources: NDArray[np.int64]
    augmentations: tuple[str, ...]
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lines_of_rows: tuple[int, ...] = ()
    recipes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        highest = int(self.labels.max(initial=-1))
        if highest >= len(self.label_names):
            raise ManifestError(
                f"A label has the rank {highest}, but there are {len(self.label_names)} label names "
                f"({', '.join(self.label_names)}); expected ranks from 0 to {len(self.label_names) - 1}."
            )

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
        """Absolute path of the media file of one row, the source's for a copy made on the fly; it need not exist."""
        return Path(self._file(row))

    def _file(self, row: int) -> str:
        return os.path.abspath(os.path.join(self.root, self.file_text(row)))

    def file_text(self, row: int) -> str:
        """The media file of one row as the table gives it: without the recipe that is part of a copy's name."""
        return self.paths[int(self.sources[row])] if self.recipe(row) else self.paths[row]

    def recipe(self, row: int) -> str:
        """What is done on the fly to the file of one row, as ``str(Augmentation)`` writes it; mostly nothing."""
        return self.recipes[row] if self.recipes else ""

    def line(self, row: int) -> str:
        """How a message names a row: its line in the table (the header is line 1) and its path."""
        line = self.lines_of_rows[row] if self.lines_of_rows else row + 2
        return f"line {line} ({self.paths[row]})"

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
        other = self.extra.get(column)
        values = np.array(other, dtype=np.str_) if other is not None else None
        if column == "speaker":
            values = self.speakers
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
    table = read_table(table_path)
    columns = _find_columns(table_path, table)
    paths = tuple(table.columns[columns["path"]])
    n = len(paths)
    draft = Manifest(
        table_path=table_path,
        root=Path(root) if root is not None else table_path.parent,
        paths=paths,
        labels=np.full(n, -1, dtype=np.int64),
        label_names=tuple(label_names or ()),
        speakers=np.array(table.columns[columns["speaker"]], dtype=np.str_) if "speaker" in columns else None,
        sources=np.arange(n, dtype=np.int64),
        augmentations=tuple(table.columns[columns["augmentation"]]) if "augmentation" in columns else ("",) * n,
        extra={name: tuple(cells) for name, cells in table.columns.items() if name not in columns.values()},
        lines_of_rows=tuple(table.lines),
    )
    source_texts = table.columns[columns["source"]] if "source" in columns else [""] * n
    shared = find_shared_paths(paths, draft.augmentations, source_texts, draft.line)
    if "label" not in columns and labels == "required":
        raise ManifestError(f"{table_path}: no column 'label' (or 'score'). It has: {', '.join(table.columns)}.")
    ranks, names = draft.labels, draft.label_names
    if labels == "required":
        ranks, names = _rank_labels(draft, table.columns[columns["label"]], label_names)
    sources = np.array(find_sources(paths, source_texts, shared, draft.line), dtype=np.int64)
    recipes = _read_recipes(draft, shared, source_texts)
    manifest = replace(
        draft,
        paths=name_copies(paths, recipes, draft.line),
        labels=ranks,
        label_names=names,
        sources=sources,
        recipes=recipes if any(recipes) else (),
    )
    _check_copies(manifest)
    if files == "must exist":
        _check_files(manifest)
    return manifest


def column_names(table: Table) -> dict[str, str]:
    """What the manifest's own columns are called in a table, which may use an alias or capitals; those it has."""
    by_lower = {name.lower(): name for name in table.columns}
    found = {}
    for column, aliases in ALIASES.items():
        name = next((by_lower[alias] for alias in aliases if alias in by_lower), None)
        if name is not None:
            found[column] = name
    return found


def _find_columns(path: Path, table: Table) -> dict[str, str]:
    found = column_names(table)
    if "path" not in found:
        raise ManifestError(f"{path}: no column 'path' (or 'video_filename'). It has: {', '.join(table.columns)}.")
    return found


def _read_recipes(manifest: Manifest, shared: Container[int], source_texts: Sequence[str]) -> tuple[str, ...]:
    """What is done on the fly in each row, in the words of :class:`Augmentation`."""
    recipes = []
    for row, text in enumerate(manifest.augmentations):
        if row not in shared:
            _check_not_alone(manifest, row, source_texts[row])
            recipes.append("")
            continue
        try:
            recipes.append(str(Augmentation.parse(text)))
        except ExtractSettingsError as error:
            raise ManifestError(f"{manifest.line(row)}: {error}") from error
    return tuple(recipes)


def _check_not_alone(manifest: Manifest, row: int, source_text: str) -> None:
    """A copy whose recording was taken out of the table would pass for the recording itself."""
    text = manifest.augmentations[row]
    if not text or source_text != manifest.paths[row]:
        return
    try:
        Augmentation.parse(text)
    except ExtractSettingsError:
        return  # some other word about an original
    raise ManifestError(
        f"{manifest.line(row)}: a copy of itself, made by {text}, and no row has the recording as it is. Add that row, "
        "or leave the augmentation empty."
    )


def _rank_labels(
    manifest: Manifest, texts: list[str], names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    empty = [row for row, text in enumerate(texts) if text == ""]
    if empty:
        raise ManifestError(f"{manifest.lines(empty)}: no label. Every row needs one.")
    if names is not None:
        rank_of = {_canonical(name): rank for rank, name in enumerate(names)}
        if len(names) < 2 or len(rank_of) != len(names) or "" in rank_of:
            raise ManifestError(
                f"The levels {', '.join(names)}: expected two or more different names, lowest first, as "
                "--labels low,moderate,high."
            )
        if any(_canonical(text) in rank_of for text in texts):
            return _rank_named(manifest, texts, names, rank_of)
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


def _canonical(text: str) -> str:
    """A number is the same number however it is written; any other text is itself."""
    number = _integer(text)
    return text if number is None else str(number)


def _rank_named(
    manifest: Manifest, texts: list[str], names: Sequence[str], rank_of: dict[str, int]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    wrong = [row for row, text in enumerate(texts) if _canonical(text) not in rank_of]
    if wrong:
        raise ManifestError(_outside(manifest, texts, wrong, names))
    return np.array([rank_of[_canonical(text)] for text in texts], dtype=np.int64), tuple(names)


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
    return name_some(told, _SHOWN_ROWS, between="; ")


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
    missing = [row for row in range(len(manifest)) if not os.path.lexists(manifest._file(row))]
    if missing:
        raise ManifestError(
            f"{len(missing)} of {len(manifest)} files are missing: {manifest.lines(missing)}. Relative paths start "
            f"from {manifest.root.absolute()}; another folder is given with --root."
        )
