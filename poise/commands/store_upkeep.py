"""``poise store verify / heal / compact / export / rm``: keeping a feature store in order."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poise.commands.terminal import JsonOption, RootOption, StoreArgument, console, note, print_json

if TYPE_CHECKING:
    from poise.store import FeatureStore, HealReport
    from poise.store.index import FeatureSetIndex

_SHOWN = 20


class _Outcome(StrEnum):
    """Ends of a recording in a feature set."""

    STORED = "stored"
    MISSING = "missing"
    FAILED = "failed"


SetOption = Annotated[
    str | None, typer.Option("--set", metavar="NAME", help="Only this feature set: encoder or encoder@fingerprint.")
]


def register(group: typer.Typer) -> None:
    """Add these commands to the commands on a store."""
    group.command("verify", epilog="Example: poise store verify features")(verify_command)
    group.command("heal", epilog="Example: poise store heal features")(heal_command)
    group.command("compact", epilog="Example: poise store compact features")(compact_command)
    group.command("export", epilog="Example: poise store export features --out features.h5")(export_command)
    group.command("rm", epilog="Example: poise store rm features --set motion --outcome failed")(remove_command)


def verify_command(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Check every byte of a store: digests, structure, finite values."""
    from poise.store import FeatureStore

    opened = FeatureStore.open(store)
    report = opened.verify()
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            console().print(f"{problem.segment}: {problem.what}")
            for recording in problem.recordings:
                console().print(f"  {recording}")
        verdict = "all sound" if report.ok else f"{len(report.problems)} damaged or foreign"
        console().print(f"{report.n_checked} files checked: {verdict}")
        if not report.ok and opened.read_only:
            console().print("Export it again from its store.")
        elif not report.ok:
            console().print(
                f"`poise store heal {store}` puts these files aside and keeps every sound recording in them; then "
                "extract or import again: only what is lost is done anew."
            )
    if not report.ok:
        raise typer.Exit(1)


def heal_command(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Put damaged and foreign files aside, keep every recording in them that is sound."""
    from poise.store import heal

    report = heal(store)
    if as_json:
        print_json(report.to_json())
    else:
        _tell_healed(store, report)
    if report.left_alone:
        raise typer.Exit(1)


def _tell_healed(store: Path, report: HealReport) -> None:
    for name in report.restored:
        console().print(f"written again: {name}")
    for name in report.put_aside:
        console().print(f"put aside in {store / 'quarantine'}: {name}")
    _list(report.lost, "to be extracted or imported again")
    if report.put_aside or report.restored:
        console().print(f"{report.n_kept} recordings of damaged files kept, {len(report.lost)} lost.")
    if report.n_unreadable:
        console().print(
            f"Of {report.n_unreadable} damaged files it is not known which recordings were in them; these are lost "
            "too. Run `poise extract` or `poise store import` again: it redoes what is not there."
        )
    for name, reason in report.left_alone:
        console().print(f"left alone, cannot be read: {name}: {reason}")
    if not (report.put_aside or report.restored or report.left_alone):
        console().print("Nothing to heal.")


def compact_command(store: StoreArgument, name: SetOption = None, as_json: JsonOption = False) -> None:
    """Merge small segments and drop duplicates; others may read and write meanwhile."""
    from poise.store import FeatureStore

    opened = FeatureStore.open(store)
    reports = [report for index in _sets(opened, name) for report in opened.compact(index.name)]
    if as_json:
        print_json({"feature_sets": [report.to_json() for report in reports]})
        return
    for report in reports:
        console().print(
            f"{report.name}: {report.n_segments_before} segments, {report.n_bytes_before / 1e6:.1f} MB -> "
            f"{report.n_segments}, {report.n_bytes / 1e6:.1f} MB; {report.n_dropped} rows that did not count dropped"
        )


def export_command(
    store: StoreArgument,
    out: Annotated[Path, typer.Option("--out", metavar="F.h5", help="File to write.")],
    name: SetOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write feature sets into one self-contained .h5 file, which every command that reads a store takes too."""
    from poise.store import FeatureStore

    opened = FeatureStore.open(store)
    names = [index.name for index in _sets(opened, name)]
    path = opened.export(out, names=names, replace=replace)
    n_bytes = path.stat().st_size
    if as_json:
        print_json({"path": str(path), "bytes": n_bytes, "feature_sets": names})
    else:
        console().print(f"{path}: {', '.join(names)}, {n_bytes / 1e6:.1f} MB")


def remove_command(
    store: StoreArgument,
    name: SetOption = None,
    paths: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATTERN", help="Recordings given under such a path, as 'a_*'."),
    ] = None,
    keys: Annotated[
        list[str] | None, typer.Option("--key", metavar="KEY", help="Recordings whose key begins so.")
    ] = None,
    outcomes: Annotated[
        list[_Outcome] | None,
        typer.Option("--outcome", help="Recordings that ended so."),
    ] = None,
    not_in: Annotated[
        Path | None, typer.Option("--not-in", metavar="MANIFEST", help="Recordings that no row of this table means.")
    ] = None,
    root: RootOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a feature set, or the recordings that answer to all conditions given.

    Says what goes and asks first.
    """
    from poise.store import FeatureStore
    from poise.store.upkeep.removal import matching_keys

    if "" in (*(keys or ()), *(paths or ())):
        raise typer.BadParameter("An empty --key or --path would mean every recording. Give one, or --set alone.")
    whole_sets = not (paths or keys or outcomes or not_in)
    if whole_sets and name is None:
        raise typer.BadParameter(
            "Say what is to go: --set NAME for a feature set, or --path, --key, --outcome, --not-in."
        )
    opened = FeatureStore.open(store)
    _ = opened.folder  # an exported file is refused before anything is said to go
    chosen = {}
    for index in _sets(opened, name):
        keep = _named_in(opened, index, not_in, root)
        found = matching_keys(
            index, paths=paths or (), keys=keys or (), outcomes=[outcome.value for outcome in outcomes or ()], keep=keep
        )
        if found or whole_sets:
            chosen[index.name] = found
    _say_what_goes(opened, chosen, whole_sets=whole_sets)
    removed = bool(chosen) and not dry_run and _may_remove(yes=yes, ask=not as_json)
    for held, found in chosen.items() if removed else ():
        opened.remove(held, None if whole_sets else found)
    if as_json:
        print_json({"removed": removed, "feature_sets": [{"name": n, "recordings": f} for n, f in chosen.items()]})
    elif chosen:
        console().print("Removed." if removed else "Nothing was removed.")


def _sets(store: FeatureStore, name: str | None) -> list[FeatureSetIndex]:
    from poise.errors import FeatureSetNotFoundError

    found = [i for i in store.indexes() if name is None or name in (i.name, i.spec["encoder"]["name"])]
    if not found and name is not None:
        raise FeatureSetNotFoundError(
            f"{store.path} has no feature set {name!r}. It has: {', '.join(store.names()) or 'none'}."
        )
    return found


def _named_in(store: FeatureStore, index: FeatureSetIndex, manifest: Path | None, root: Path | None) -> set[str] | None:
    if manifest is None:
        return None
    from poise.errors import FeaturesMissingError
    from poise.manifest import read_manifest
    from poise.store.lookup import find_keys

    recordings = read_manifest(manifest, root=root, labels="ignored")
    named = {key for key in find_keys(index, recordings, store.keys) if key is not None}
    if not named:
        raise FeaturesMissingError(
            f"No row of {manifest} means a recording of {index.name}, so all of it would go. Give the right table, "
            "--root, or --set to remove the whole feature set."
        )
    return named


def _say_what_goes(store: FeatureStore, chosen: dict[str, list[str]], *, whole_sets: bool) -> None:
    if not chosen:
        note("Nothing answers to that; nothing goes.")
    for name, keys in chosen.items():
        index = next(index for index in store.indexes() if index.name == name)
        what = "the whole feature set with " if whole_sets else ""
        note(f"{name}: {what}{len(keys)} recordings")
        for key in keys[:_SHOWN]:
            note(f"  {index[key].paths[0]} ({key[:12]}, {index[key].outcome})")
        if len(keys) > _SHOWN:
            note(f"  and {len(keys) - _SHOWN} more")


def _may_remove(*, yes: bool, ask: bool) -> bool:
    from poise.errors import NotConfirmedError

    if yes:
        return True
    if not ask or sys.stdin is None or not sys.stdin.isatty():
        raise NotConfirmedError("Nothing was removed. Give --yes to remove it without being asked.")
    return typer.confirm("Remove this?", err=True)


def _list(paths: tuple[str, ...], what: str) -> None:
    for path in paths[:_SHOWN]:
        console().print(f"{what}: {path}")
    if len(paths) > _SHOWN:
        console().print(f"{what}: and {len(paths) - _SHOWN} more")
