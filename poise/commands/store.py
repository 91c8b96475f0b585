"""``poise store``: the group of commands on a feature store, and those that only look: ``ls`` and ``show``."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands import store_import, store_upkeep
from poise.commands.terminal import JsonOption, StoreArgument, console, print_json, print_table

if TYPE_CHECKING:
    from poise.store.index import FeatureSetIndex
    from poise.store.schema import Entry, FeatureSet


_KEY_START = 6


def register(app: typer.Typer) -> None:
    """Add ``store`` and its commands to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Look at a feature store, import into it, check it, keep it in order.",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Example: poise store ls features",
    )
    group.command("ls", epilog="Example: poise store ls features")(list_sets)
    group.command("show", epilog="Example: poise store show features --recording ann_1.mp4")(show)
    store_import.register(group)
    store_upkeep.register(group)
    app.add_typer(group, name="store")


def list_sets(store: StoreArgument, as_json: JsonOption = False) -> None:
    """List the feature sets of a store."""
    from poise.store import FeatureStore

    sets = FeatureStore.open(store).feature_sets()
    if as_json:
        print_json({"feature_sets": [_describe(feature_set) for feature_set in sets]})
        return
    rows = [
        [
            *(s.name, str(s.n_recordings), str(s.n_clips), str(s.n_missing), str(s.n_failed)),
            *(s.modality, _shape(s), "others" if s.imported else "poise"),
        ]
        for s in sets
    ]
    if rows:
        print_table(
            ["feature set", ">recordings", ">clips", ">missing?", ">failed?", "modality?", ">dim?", "made by?"], rows
        )
    else:
        console().print("The store is empty.")


def show(
    store: StoreArgument,
    name: Annotated[
        str | None, typer.Option("--set", metavar="NAME", help="Only this feature set: encoder or encoder@fingerprint.")
    ] = None,
    recording: Annotated[
        str | None,
        typer.Option("--recording", metavar="PATH", help="Only this recording: path, file name, or start of its key."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where every number comes from: settings, runs, library versions, recordings.

    Of one recording: its clips, when and by which run it was stored, and in which file.
    """
    from poise.errors import FeatureSetNotFoundError, FeaturesMissingError
    from poise.store import FeatureStore

    opened = FeatureStore.open(store)
    names = opened.names()
    indexes = [i for i in opened.indexes() if name is None or name in (i.name, i.spec["encoder"]["name"])]
    if name is not None and not indexes:
        raise FeatureSetNotFoundError(f"{store} has no feature set {name!r}. It has: {', '.join(names) or 'none'}.")
    chosen = {index.name: _choose(index, recording) for index in indexes}
    if recording is not None and not any(chosen.values()):
        raise FeaturesMissingError(
            f"{store} knows no recording {recording!r}. `poise store show {store}` lists all with their paths and keys."
        )
    shown = [index for index in indexes if recording is None or chosen[index.name]]
    if as_json:
        documents = [_document(index, chosen[index.name], clips=recording is not None) for index in shown]
        print_json({"feature_sets": documents})
        return
    for index in shown:
        _draw(index, chosen[index.name], clips=recording is not None)


def _choose(index: FeatureSetIndex, recording: str | None) -> list[str]:
    """Keys of the recordings to show."""
    if recording is None:
        return list(index)
    given = [(key, PurePath(path)) for key, path in index.paths()]
    found = (
        [key for key, path in given if str(path) == recording]
        or [key for key, path in given if recording in (path.name, path.stem)]
        or [key for key in index if len(recording) >= _KEY_START and key.startswith(recording)]
    )
    return list(dict.fromkeys(found))


def _draw(index: FeatureSetIndex, keys: list[str], *, clips: bool) -> None:
    import json

    feature_set = index.describe()
    screen = console()
    screen.print(
        f"{feature_set.name}: {feature_set.n_recordings} recordings, {feature_set.n_clips} clips", style="bold"
    )
    if not clips:
        screen.print(json.dumps(feature_set.spec, indent=2, sort_keys=True))
    entries = [index[key] for key in keys]
    used = {str(index.run_of_key(key).get("run")) for key in keys}
    for run in index.runs():
        if str(run.get("run")) in used:
            screen.print(_run_line(run))
    rows = [
        [entry.paths[0], entry.outcome, str(entry.n_clips), _seconds(entry), entry.key[:12], _remark(entry)]
        for entry in entries
    ]
    print_table(["path", "outcome", ">clips", ">seconds", "key", "remark"], rows)
    for entry in entries if clips else ():
        screen.print(f"{entry.paths[0]}: key {entry.key}, {_when(entry)}, in {index.segment_of_key(entry.key)}")
        for other in entry.paths[1:]:
            screen.print(f"  the same bytes as {other}")
        times = index.clip_times(entry.key)
        if len(times) and math.isnan(times[0, 0]):
            screen.print(f"  {len(times)} clips, their times are unknown")
            continue
        for number, (start, end) in enumerate(times):
            screen.print(f"  clip {number}: {start:g} to {end:g} s")


def _run_line(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in run.get("versions", {}).items())
    command = f"poise {run['command']}" if "command" in run else "a program"
    origin = ", ".join(f"{name} {value}" for name, value in run.get("encoder", {}).items() if value is not None)
    made = f"run {run.get('run', 'unknown')}: {run['n_recordings']} recordings by {command}"
    columns = f"; {len(run['columns'])} columns: {', '.join(run['columns'][:20])}" if run.get("columns") else ""
    origin = f"; {origin}" if origin else ""
    return f"{made}, started {run.get('started', 'unknown')}, with {versions}{origin}{columns}"


def _shape(feature_set: FeatureSet) -> str:
    return str(feature_set.dim) if feature_set.n_layers is None else f"{feature_set.n_layers} x {feature_set.dim}"


def _seconds(entry: Entry) -> str:
    return "unknown" if math.isnan(entry.duration_s) else f"{entry.duration_s:.1f}"


def _remark(entry: Entry) -> str:
    return "; ".join(part for part in (entry.reason, " ".join(entry.flags)) if part)


def _when(entry: Entry) -> str:
    return f"stored {datetime.fromtimestamp(entry.stored_ms / 1000, UTC).isoformat(timespec='seconds')}"


def _describe(feature_set: FeatureSet) -> dict[str, Any]:
    return {
        "name": feature_set.name,
        "modality": feature_set.modality,
        "dim": feature_set.dim,
        "n_layers": feature_set.n_layers,
        "n_recordings": feature_set.n_recordings,
        "n_clips": feature_set.n_clips,
        "n_missing": feature_set.n_missing,
        "n_failed": feature_set.n_failed,
        "fingerprint": feature_set.fingerprint,
        "imported": feature_set.imported,
    }


def _document(index: FeatureSetIndex, keys: list[str], *, clips: bool) -> dict[str, Any]:
    feature_set = index.describe()
    return {
        **_describe(feature_set),
        "spec": feature_set.spec,
        "runs": index.runs(),
        "recordings": [_recording(index, key, clips=clips) for key in keys],
    }


def _recording(index: FeatureSetIndex, key: str, *, clips: bool) -> dict[str, Any]:
    entry = index[key]
    document = {
        "key": key,
        "paths": list(entry.paths),
        "outcome": entry.outcome,
        "reason": entry.reason,
        "flags": list(entry.flags),
        "n_clips": entry.n_clips,
        "duration_s": None if math.isnan(entry.duration_s) else entry.duration_s,
        "attempts": entry.attempts,
        "stored": datetime.fromtimestamp(entry.stored_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "run": index.run_of_key(key).get("run"),
        "segment": index.segment_of_key(key),
    }
    if clips:
        times = index.clip_times(key).tolist()
        document["clips"] = [
            {"start_s": None if math.isnan(start) else start, "end_s": None if math.isnan(end) else end}
            for start, end in times
        ]
    return document
