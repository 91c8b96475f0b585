"""``poise compare``: strategies on identical folds, as a leaderboard with the baselines first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from poise.commands.terminal import (
    AudioSetOption,
    JsonOption,
    LabelsOption,
    ManifestArgument,
    RootOption,
    SeedOption,
    StoreOption,
    VideoSetOption,
    console,
    load_features,
    note,
    print_json,
    print_table,
    split_names,
)

if TYPE_CHECKING:
    from poise.heads import Comparison, Protocol, Strategy
    from poise.heads.leaderboard import LeaderboardRow
    from poise.manifest import Manifest
    from poise.store import Bags

DEFAULT_POOLINGS = "mean,mean-std,attention"
DEFAULT_HEADS = "cumulative,corn"

CvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cv",
        metavar="PROTOCOL",
        help="kfold:K, stratified:K, group:COLUMN[:K] or logo:COLUMN; may be given several times. "
        "Default: stratified:5 and the harshest grouping that the manifest allows.",
    ),
]
ScoreOption = Annotated[
    Literal["auto", "originals", "all"],
    typer.Option("--score", help="Whether augmented copies are scored too; auto scores originals."),
]
RepeatsOption = Annotated[int, typer.Option("--repeats", min=1, help="Repeats with other folds and seeds.")]


def register(app: typer.Typer) -> None:
    """Add ``compare`` to the command line."""
    app.command(
        "compare",
        epilog="Example: poise compare manifest.csv --store features --pool mean,attention --head cumulative,corn",
    )(compare_command)


def compare_command(
    manifest: ManifestArgument,
    store: StoreOption,
    root: RootOption = None,
    video: VideoSetOption = None,
    audio: AudioSetOption = None,
    labels: LabelsOption = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            metavar="NAMES",
            help=f"mean, mean-std, max, attention, gated-attention; several with commas. Default: {DEFAULT_POOLINGS}.",
        ),
    ] = None,
    fusion: Annotated[
        str,
        typer.Option(
            "--fusion", metavar="NAMES", help="video, audio, early, mid, gated, late; auto takes all there is."
        ),
    ] = "auto",
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="NAMES",
            help="Exact: cumulative, all-threshold, frank-hall, logistic, ridge; neural: softmax, coral, corn, "
            f"regression; trees: lightgbm. Several with commas. Default: {DEFAULT_HEADS}.",
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            metavar="SPEC",
            help="One strategy, as attention/early/corn:hidden=64; may be given several times, in place of the grid.",
        ),
    ] = None,
    cv: CvOption = None,
    score: ScoreOption = "auto",
    repeats: RepeatsOption = 1,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="STUDY", help="Folder for leaderboard, predictions and splits.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank strategies by cross-validation, baselines first.

    A strategy is pooling × fusion × head on the stored features; all are scored on identical folds.
    """
    from poise.heads import compare, write_study

    protocols = parse_protocols(cv)
    recordings, bags, specs = load_features(manifest, store, root=root, labels=labels, video=video, audio=audio)
    strategies = [_parse(text) for text in strategy] if strategy else _grid(bags, pool, fusion, head)
    with fit_bar() as progress:
        found = compare(
            bags,
            recordings,
            strategies=strategies,
            protocols=protocols,
            score=score,
            repeats=repeats,
            seed=seed,
            in_depth=out is not None,
            progress=progress,
        )
    settings = describe_run(manifest, store, recordings, specs)
    study = str(write_study(out, found, settings=settings)) if out is not None else None
    for warning in found.warnings:
        note(f"Note: {warning}")
    if as_json:
        print_json(found.to_json(study=study, settings=settings))
        return
    draw_leaderboard(found)
    if study:
        console().print(f"Study written to {study}")


def describe_run(
    manifest: Path, store: Path, recordings: Manifest, specs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What is needed to do the same again: the command, the features and the versions."""
    from datetime import UTC, datetime

    from poise.store.runs import library_versions
    from poise.store.schema import set_name

    people = recordings.speakers
    return {
        "command": ["poise", *sys.argv[1:]],
        "manifest": str(manifest),
        "store": str(store),
        "n_recordings": len(recordings),
        "n_copies": int(recordings.is_copy.sum()),
        "n_speakers": len(set(people.tolist())) if people is not None else None,
        "feature_sets": [set_name(spec) for spec in specs.values()],
        "versions": library_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def parse_protocols(texts: list[str] | None) -> list[Protocol] | None:
    """Protocols as the command line gives them; None for the default."""
    from poise.heads import Protocol

    return [Protocol.parse(text) for text in texts] if texts else None


def _parse(text: str) -> Strategy:
    from poise.heads import Strategy

    return Strategy.parse(text)


def _grid(bags: Bags, pool: str | None, fusion: str, head: str | None) -> list[Strategy]:
    from poise.heads import make_grid

    fusions = [name for given in split_names(fusion) or [] for name in _fusions(bags, given)]
    poolings, heads = split_names(pool or DEFAULT_POOLINGS) or [], split_names(head or DEFAULT_HEADS) or []
    strategies, skipped = make_grid(poolings, list(dict.fromkeys(fusions)), heads)
    if pool is not None:  # nobody asked for the combinations of the default grid
        for text in skipped:
            note(f"Note: left out: {text}")
    return strategies


def _fusions(bags: Bags, name: str) -> list[str]:
    return richest_fusion(bags) if name == "auto" else [name]


def richest_fusion(bags: Bags) -> list[str]:
    """The fusion that uses all the modalities there are."""
    from poise.heads.fusion import available_fusions

    return available_fusions(bags)[:1]


@contextmanager
def fit_bar() -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr for fits."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield advance


def draw_leaderboard(found: Comparison) -> None:
    """One table for each protocol on stdout, and what its columns mean."""
    columns = ["strategy", ">qwk", ">95 % interval", ">accuracy", ">balanced?", ">MAE", ">qwk by fold?", ">seconds?"]
    people = found.manifest.speakers
    for protocol in found.folds:
        rows = [row for row in found.rows if row.protocol == protocol]
        counted = f", {len(set(people[found.scored_rows].tolist()))} speakers" if people is not None else ""
        title = f"{protocol}: {rows[0].n} recordings{counted}, scored: {rows[0].scored}"
        print_table(columns, [_cells(row) for row in rows], title=title)
    console().print(
        "In brackets: baselines, to be beaten. qwk: quadratic kappa, 1 perfect, 0 chance; interval: bootstrap\n"
        f"over {found.cluster}s. balanced: mean accuracy of the levels. MAE: mean error in levels. by fold: mean ± sd."
    )


def _cells(row: LeaderboardRow) -> list[str]:
    values, ends = row.metrics.values, row.interval.values["qwk"]
    mean, spread = row.fold_mean.values["qwk"], row.fold_std.values["qwk"]
    return [
        f"[{row.strategy}]" if row.baseline else row.strategy,
        figure(values["qwk"]),
        f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "–",
        figure(values["accuracy"]),
        figure(values["balanced_accuracy"]),
        figure(values["mae"]),
        f"{figure(mean)} ± {figure(spread)}" if mean is not None else "–",
        f"{row.seconds:.1f}",
    ]


def figure(value: float | None) -> str:
    """Two digits, or a dash where the metric is undefined."""
    return "–" if value is None else f"{value:.2f}"
