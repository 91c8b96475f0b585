"""Importing from any source: which format it is, and who reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from poise.errors import ImportFormatError
from poise.store.folder import MARKER, StoreFolder
from poise.store.importers import h5, tables
from poise.store.importers.items import Refused
from poise.store.importers.npz import UNDERSTOOD, import_npy_files, import_npz_files
from poise.store.importers.plan import ImportOptions
from poise.store.importers.report import ImportReport
from poise.store.importers.sources import folder_files, irregular
from poise.store.schema import Modality

Format = Literal["npz", "npy", "hdf5", "table"]

_ENDINGS: dict[Format, tuple[str, ...]] = {
    "npz": (".npz",),
    "npy": (".npy",),
    "hdf5": h5.ENDINGS,
    "table": tables.ENDINGS,
}


def import_features(
    store: StoreFolder,
    source: Path,
    *,
    collection: str | None = None,
    encoder: str | None = None,
    key: str | None = None,
    modality: Modality | None = None,
    id_column: str | None = None,
    start_column: str | None = None,
    end_column: str | None = None,
    columns: Sequence[str] | None = None,
    dtype: str = "float32",
) -> ImportReport:
    """Import features that other software made, one recording after the other.

    Understood are, by what ``source`` is:

    * a folder or ZIP of ``.npz``, or one ``.npz``: one recording each. Without ``key``: ``clips`` of shape
      (n_clips, 1536), VideoMAE's 768 numbers and then WavLM's 768, or the means ``vmae`` and ``wavl`` of shape (768,).
      With it: the array of that name.
    * a folder or ZIP of ``.npy``, or one ``.npy``: one recording each. An ``.npz`` without ``key`` but with
      ``modality`` is a ZIP of ``.npy`` too.
    * an ``.h5`` / ``.hdf5`` file or a folder of them: a dataset for each recording at the top, or a group for each with
      the dataset ``key``; or a file for each with that dataset.
    * a ``.csv`` / ``.tsv`` / ``.parquet`` table with ``id_column``, one row for each recording or clip, the rows of one
      recording together; or a folder of tables with one recording each.

    A recording is called as its file without the ending, or as its id. An array has the shape (n_clips, dim), (dim,)
    for one clip, or (n_clips, n_layers, dim); the first one that can be read says which, and others are refused.

    Parameters
    ----------
    store : StoreFolder
        Where the features go, as feature sets marked imported.
    source : Path
        See above.
    collection : str, optional
        Name of the collection, which keeps features of different origin apart. Default: the name of ``source``.
    encoder : str, optional
        What made the features. Default: ``key``, or the name of ``source``; ``videomae-base`` and ``wavlm-base-plus``
        for ``.npz`` without ``key``.
    key : str, optional
        Name of the array in each ``.npz``, or path of the dataset in each group of an HDF5 file.
    modality : {"video", "audio"}, optional
        What the features were made from; must be given but for ``.npz`` without ``key``.
    id_column : str, optional
        Column of a table that names the recording of each row.
    start_column, end_column : str, optional
        Columns with the start and end of each clip in seconds. With starts alone each clip ends where the next begins.
    columns : sequence of str, optional
        Features: names of columns, or shell patterns as ``AU*_r``. Default: all columns of numbers but those of ids
        and times, and but columns without a name.
    dtype : {"float32", "float16"}
        What the features are stored as.

    Returns
    -------
    ImportReport
        What could not be imported is named there and stops nothing else.

    Raises
    ------
    ImportFormatError
        The settings do not fit together or do not fit ``source``, or nothing could be imported.
    MissingDependencyError
        A Parquet table without pyarrow.
    StoreWriteError, StoreReadOnlyError
        The store cannot be written.

    Examples
    --------
    >>> import_features(store, Path("openface/"), modality="video", columns=["AU*_r"])  # doctest: +SKIP
    """
    options = ImportOptions(
        collection=collection,
        encoder=encoder,
        key=key,
        modality=modality,
        id_column=id_column,
        start_column=start_column,
        end_column=end_column,
        columns=(columns,) if isinstance(columns, str) else None if columns is None else tuple(columns),
        dtype=dtype,
    )
    match _format_of(source, options):
        case "npz":
            return import_npz_files(store, source, options)
        case "npy":
            return import_npy_files(store, source, options)
        case "hdf5":
            return h5.import_h5_files(store, source, options)
        case "table":
            how = tables.import_table_folder if source.is_dir() else tables.import_table
            return how(store, source, options)


def import_npz(store: StoreFolder, source: Path, *, collection: str | None = None) -> ImportReport:
    """Import a folder or ZIP of ``.npz`` files with VideoMAE's and WavLM's numbers, see :func:`import_features`.

    Raises
    ------
    ImportFormatError
        ``source`` is neither a folder nor a ZIP, or none of its files is understood.
    """
    return import_features(store, source, collection=collection)


def _format_of(source: Path, options: ImportOptions) -> Format:
    """The one format that both the source and the settings can mean."""
    if not source.exists():
        raise ImportFormatError(
            f"There is no folder or ZIP at {source}, nor a file with features. Give the path of .npz, .npy, .h5, .csv "
            "or .parquet files."
        )
    return _format_of_folder(source, options) if source.is_dir() else _format_of_file(source, options)


def _fitting(options: ImportOptions) -> tuple[Format, ...]:
    """The formats that have all the given settings."""
    if options.table_settings:
        return ("table",)
    if options.key is not None:
        return ("npz", "hdf5")
    return ("npz",) if options.modality is None else ("npy", "hdf5", "table")


def _format_of_file(source: Path, options: ImportOptions) -> Format:
    reason = irregular(source)
    if reason is not None:
        raise ImportFormatError(f"{source} cannot be imported: {reason}. Give a folder or a file.")
    fitting = _fitting(options)
    ending = source.suffix.lower()
    named: list[Format] = [kind for kind, endings in _ENDINGS.items() if ending in endings]
    # an .npz is a ZIP of .npy files, and any other file can only be a ZIP of either
    if not named or (named == ["npz"] and "npy" in fitting):
        named = ["npz", "npy"]
    both = [kind for kind in fitting if kind in named]
    if not both:
        options.chosen_modality()
        raise ImportFormatError(f"{source} does not fit the settings. {_needs(options)}.")
    return both[0]


def _format_of_folder(source: Path, options: ImportOptions) -> Format:
    if (source / MARKER).is_file():
        raise ImportFormatError(
            f"{source} is a store of poise; there is nothing to import: open it as a store (--store, "
            "FeatureStore.open)."
        )
    if options.id_column is not None:
        raise ImportFormatError(
            f"{source} is a folder, and id_column is for a single table. Give the table; in a folder each table is one "
            "recording, named by its file."
        )
    held = _count_formats(source)
    both = [kind for kind in _fitting(options) if held[kind]]
    if len(both) == 1:
        return both[0]
    shown = ", ".join(f"{held[kind]} {' / '.join(endings)}" for kind, endings in _ENDINGS.items() if held[kind])
    if both:
        raise ImportFormatError(
            f"{source} holds {shown}; it is not clear which are the features. Give a folder with one kind of files."
        )
    if held:
        options.chosen_modality()
    endings = " or ".join(_ENDINGS[kind][0] for kind in _fitting(options))
    raise ImportFormatError(
        f"Nothing in {source} can be imported: it holds no {endings} file{f' but {shown}' if held else ''}. Understood "
        f"are .npz with {UNDERSTOOD}; for other files say the modality. {_needs(options)}."
    )


def _count_formats(source: Path) -> Counter[Format]:
    by_ending: dict[str, Format] = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings}
    files = folder_files(source, tuple(by_ending))
    suffixes = (Path(item.path if isinstance(item, Refused) else item[0]).suffix.lower() for item in files)
    return Counter(by_ending[suffix] for suffix in suffixes if suffix in by_ending)


def _needs(options: ImportOptions) -> str:
    """What the given settings are for, for people."""
    if options.table_settings:
        return f"The setting {options.table_settings[0]} is for tables (.csv, .tsv, .parquet)"
    if options.key is not None:
        return "A key is for .npz and HDF5 files; .npy files and tables need only a modality"
    return "A modality without a key is for .npy, HDF5 and tables; for .npz give a key too"
