"""``poise augment``: a table with augmented copies, which extraction makes on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.terminal import (
    JsonOption,
    LabelsOption,
    ManifestArgument,
    RootOption,
    note,
    print_json,
    print_table,
    split_names,
)

if TYPE_CHECKING:
    from poise.extract.augment.plan import ClassCounts
    from poise.extract.augment.render import Rendered
    from poise.manifest import Manifest
    from poise.table import Table


def register(app: typer.Typer) -> None:
    """Add ``augment`` to the command line."""
    app.command("augment", epilog="Example: poise augment manifest.csv --out augmented.csv --copies 2")(augment_command)


def augment_command(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option("--out", metavar="MANIFEST2", help="The new table, .csv or .tsv.")],
    copies: Annotated[int, typer.Option("--copies", metavar="N", min=0, help="New copies of each original.")] = 0,
    balance: Annotated[
        bool, typer.Option("--balance", help="Then fill every class up to the size of the largest.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of what is done to the copies.")] = 0,
    render: Annotated[
        Path | None,
        typer.Option("--render", metavar="DIR", help="Also write the new copies as MP4, to look at and listen to."),
    ] = None,
    root: RootOption = None,
    labels: LabelsOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a table that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add augmented copies to a table; extraction makes them on the fly.

    Every class gets the same kinds of change. Copies are made of originals alone.
    """
    from poise.extract.augment.plan import augment_manifest, count_classes
    from poise.extract.augment.table import check_out, write_augmented
    from poise.extract.augment.telltale import explain_balance, find_telltale_copies
    from poise.table import read_table

    check_out(out, replace=replace)
    table = read_table(manifest)
    before = _read(manifest, table, root, split_names(labels), balance=balance)
    after = augment_manifest(before, copies=copies, balance=balance, seed=seed)
    counts = count_classes(before, after)
    warnings = find_telltale_copies(before)
    if balance:
        explained = explain_balance({count.label: count.copy_share for count in counts if count.total})
        warnings += [explained] if explained else []
    for warning in warnings:
        note(f"Warning: {warning}")
    rewritten = write_augmented(out, table, before, after, keep_paths=root is not None, replace=replace)
    _tell_paths(out, rewritten=rewritten, root=root)
    rendered = _render(after, len(before), render)
    if as_json:
        print_json(_document(out, seed, after, counts, warnings, rendered))
    else:
        _draw(counts)
    if any(copy.error for copy in rendered):
        raise typer.Exit(3)


def _read(path: Path, table: Table, root: Path | None, names: list[str] | None, *, balance: bool) -> Manifest:
    """The manifest; named labels need no order here, and only ``--balance`` needs any."""
    from poise.manifest import column_names, read_manifest

    column = column_names(table).get("label")
    texts = [] if column is None else table.columns[column]
    if names is None and not all(text.removesuffix(".0").isdigit() for text in texts):
        names = list(dict.fromkeys(texts))
    if not balance and (not all(texts) or column is None or (names is not None and len(names) < 2)):
        return read_manifest(path, root=root, labels="ignored")
    return read_manifest(path, root=root, label_names=names)


def _tell_paths(out: Path, *, rewritten: bool, root: Path | None) -> None:
    if rewritten:
        note(f"Relative paths were rewritten: they start from the folder of {out} now. Give --root to keep them.")
    if root is not None:
        note(f"Relative paths start from {root}, as before: give --root {root} to later commands too.")


def _render(manifest: Manifest, first: int, folder: Path | None) -> list[Rendered]:
    if folder is None:
        return []
    from poise.extract.augment.render import render_copies

    rows = range(first, len(manifest))
    rendered = []
    for copy in render_copies(manifest, rows, folder):
        rendered.append(copy)
        told = f"failed: {copy.name}: {copy.error}" if copy.error else f"{copy.file} is {copy.name}"
        note(f"{len(rendered)} of {len(rows)}: {told}")
    return rendered


def _document(
    out: Path,
    seed: int,
    after: Manifest,
    counts: tuple[ClassCounts, ...],
    warnings: list[str],
    rendered: list[Rendered],
) -> dict[str, Any]:
    return {
        "out": str(out),
        "seed": seed,
        "rows": len(after),
        "added": sum(count.copies_added for count in counts),
        "classes": [
            {
                "label": count.label,
                "originals": count.originals,
                "copies_before": count.copies_before,
                "copies_added": count.copies_added,
                "total": count.total,
                "copy_share": count.copy_share,
            }
            for count in counts
        ],
        "warnings": warnings,
        "rendered": [{"path": copy.name, "file": str(copy.file)} for copy in rendered if not copy.error],
        "failed": [{"path": copy.name, "reason": copy.error} for copy in rendered if copy.error],
    }


def _draw(counts: tuple[ClassCounts, ...]) -> None:
    print_table(
        ["label", ">originals", ">copies before", ">copies added", ">rows", ">share of copies"],
        [
            [
                count.label,
                str(count.originals),
                str(count.copies_before),
                str(count.copies_added),
                str(count.total),
                f"{count.copy_share:.0%}",
            ]
            for count in counts
        ],
    )
