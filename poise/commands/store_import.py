"""``poise store import``: features that other software made, into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from poise.commands.terminal import JsonOption, StoreOption, console, note, print_json, split_names
from poise.text import name_some

_SHOWN_COLUMNS = 20


def register(group: typer.Typer) -> None:
    """Add ``import`` to the commands on a store."""
    group.command("import", epilog="Example: poise store import cache/ --store features")(import_command)


def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder or ZIP of .npz / .npy, .h5 file, .csv / .parquet table, or a folder of these.",
        ),
    ],
    store: StoreOption,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="Array in each .npz, or dataset in each group of an .h5."),
    ] = None,
    modality: Annotated[
        Literal["audio", "video"] | None, typer.Option("--modality", help="What the features were made from.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME", help="What to call it. Default: the key, or SOURCE.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of a table that names the recording.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="COLUMN", help="Column with the start of each clip in seconds.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", metavar="COLUMN", help="Column with the end of each clip in seconds.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B*,…", help="Columns to take, or patterns. Default: all with numbers."),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option("--dtype", help="Numbers of the stored embeddings.")
    ] = "float32",
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="NAME", help="Keeps imports of different origin apart. Default: SOURCE."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import features that other software made.

    Without --key: .npz with `clips` (n, 1536), or `vmae` / `wavl` (768,). With --key and --modality: arrays of any
    size. Tables have one row for each recording or clip.
    """
    from poise.errors import ImportFormatError
    from poise.store import FeatureStore

    if not source.exists():
        raise ImportFormatError(f"There is nothing at {source}. Expected a folder, a ZIP, an .h5 file or a table.")
    report = FeatureStore.create(store).import_features(
        source,
        collection=collection,
        encoder=encoder,
        key=key,
        modality=modality,
        id_column=id_column,
        start_column=start,
        end_column=end,
        columns=split_names(columns),
        dtype=dtype,
    )
    for path, reason in report.failed:
        note(f"not imported: {path}: {reason}")
    if as_json:
        print_json(report.to_json())
    else:
        console().print(
            f"{report.n_stored} recordings stored ({report.n_clips} clips), {report.n_already} already there, "
            f"{len(report.failed)} refused: {', '.join(report.feature_sets)}"
        )
        if report.columns:
            shown = name_some(report.columns, _SHOWN_COLUMNS)
            console().print(f"{len(report.columns)} columns taken as features: {shown}")
    if report.failed:
        raise typer.Exit(3)
