"""``poise store``: look at a feature store, import into it, check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.terminal import JsonOption, StoreOption, console, note, print_json, print_table

if TYPE_CHECKING:
    from poise.store.index import FeatureSetIndex
    from poise.store.schema import Entry, FeatureSet

StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the feature store.")]


def register(app: typer.Typer) -> None:
    """Add ``store`` and its commands to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Look at a feature store, import into it, check it.",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Example: poise store ls features",
    )
    group.command("ls", epilog="Example: poise store ls features")(list_sets)
    group.command("show", epilog="Example: poise store show features --set videomae-base")(show)
    group.command("import", epilog="Example: poise store import cache/ --store features")(import_features)
    group.command("verify", epilog="Example: poise store verify features")(verify_store)
    app.add_typer(group, name="store")


def list_sets(store: StoreArgument, as_json: JsonOption = False) -> None:
    """List the feature sets of a store."""
    from poise.store import FeatureStore

    sets = FeatureStore.open(store).feature_sets()
    if as_json:
        print_json({"feature_sets": [_describe(feature_set) for feature_set in sets]})
        return
    rows = [
        [s.name, s.modality, str(s.dim), str(s.n_recordings), str(s.n_clips), str(s.n_missing), str(s.n_failed)]
        for s in sets
    ]
    if rows:
        print_table(["feature set", "modality?", ">dim?", ">recordings", ">clips", ">missing?", ">failed?"], rows)
    else:
        console().print("The store is empty.")


def show(
    store: StoreArgument,
    name: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="Only this feature set: encoder or encoder@fingerprint.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how every feature set was made and what it holds, recording by recording."""
    from poise.errors import FeatureSetNotFoundError
    from poise.store import FeatureStore

    opened = FeatureStore.open(store)
    indexes = [i for i in opened.indexes() if name is None or name in (i.folder.name, i.spec["encoder"]["name"])]
    if name is not None and not indexes:
        held = ", ".join(folder.name for folder in opened.folders()) or "none"
        raise FeatureSetNotFoundError(f"{store} has no feature set {name!r}. It has: {held}.")
    if as_json:
        print_json({"feature_sets": [_document(index) for index in indexes]})
        return
    for index in indexes:
        _draw(index)


def _draw(index: FeatureSetIndex) -> None:
    import json

    feature_set = index.describe()
    screen = console()
    screen.print(
        f"{feature_set.name}: {feature_set.n_recordings} recordings, {feature_set.n_clips} clips", style="bold"
    )
    screen.print(json.dumps(feature_set.spec, indent=2, sort_keys=True))
    for made in index.provenance():
        versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
        screen.print(f"made {made['created']} with {versions}")
    rows = [
        [entry.paths[0], entry.outcome, str(entry.n_clips), _seconds(entry), entry.key[:12], _remark(entry)]
        for entry in index.entries().values()
    ]
    print_table(["path", "outcome", ">clips", ">seconds", "key?", "remark"], rows)


def _seconds(entry: Entry) -> str:
    return f"{entry.duration_s:.1f}" if entry.duration_s == entry.duration_s else "unknown"


def _remark(entry: Entry) -> str:
    return "; ".join(part for part in (entry.reason, " ".join(entry.flags)) if part)


def _describe(feature_set: FeatureSet) -> dict[str, Any]:
    return {
        "name": feature_set.name,
        "modality": feature_set.modality,
        "dim": feature_set.dim,
        "n_recordings": feature_set.n_recordings,
        "n_clips": feature_set.n_clips,
        "n_missing": feature_set.n_missing,
        "n_failed": feature_set.n_failed,
        "fingerprint": feature_set.fingerprint,
        "imported": feature_set.imported,
    }


def _document(index: FeatureSetIndex) -> dict[str, Any]:
    feature_set = index.describe()
    recordings = [
        {
            "key": entry.key,
            "paths": list(entry.paths),
            "outcome": entry.outcome,
            "reason": entry.reason,
            "flags": list(entry.flags),
            "n_clips": entry.n_clips,
            "duration_s": entry.duration_s if entry.duration_s == entry.duration_s else None,
            "attempts": entry.attempts,
        }
        for entry in index.entries().values()
    ]
    return {
        **_describe(feature_set),
        "spec": feature_set.spec,
        "segments": index.provenance(),
        "recordings": recordings,
    }


def import_features(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder or ZIP of .npz files, one per recording.")],
    store: StoreOption,
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="NAME", help="Keeps imports of different origin apart. Default: SOURCE."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Import features that other software made: `clips` (n, 1536), or `vmae` / `wavl` (768,), in .npz files."""
    from poise.store import FeatureStore, import_npz

    if not source.exists():
        from poise.errors import ImportFormatError

        raise ImportFormatError(f"There is no folder or ZIP at {source}.")
    report = import_npz(FeatureStore.create(store), source, collection=collection)
    for path, reason in report.failed:
        note(f"not imported: {path}: {reason}")
    if as_json:
        print_json(report.to_json())
    else:
        console().print(
            f"{report.n_stored} recordings stored ({report.n_clips} clips), {report.n_already} already there, "
            f"{len(report.failed)} refused: {', '.join(report.feature_sets)}"
        )
    if report.failed:
        raise typer.Exit(3)


def verify_store(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Check every byte of a store: digests, structure, finite values."""
    from poise.store import FeatureStore, verify

    report = verify(FeatureStore.open(store))
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            console().print(f"{problem.segment}: {problem.what}")
            for recording in problem.recordings:
                console().print(f"  {recording}")
        verdict = "all sound" if report.ok else f"{len(report.problems)} damaged or foreign"
        console().print(f"{report.n_checked} files checked: {verdict}")
        if not report.ok:
            console().print("Move these files away and extract again: only the recordings in them are done anew.")
    if not report.ok:
        raise typer.Exit(1)
