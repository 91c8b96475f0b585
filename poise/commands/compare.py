"""``poise compare``: strategies on identical folds, as a leaderboard with the baselines first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from poise.commands.audit import draw_audit
from poise.commands.board import draw_differences, draw_leaderboard, fit_bar
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
    load_weight_free,
    note,
    print_json,
    split_names,
)

if TYPE_CHECKING:
    from poise.heads import Protocol, Strategy
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
    from poise.heads.study import check_folder, describe_study

    refuse_parts_of(strategy, pool, None if fusion == "auto" else fusion, head)
    if out is not None:
        check_folder(out)
    protocols, given = parse_protocols(cv), [_parse(text) for text in strategy or ()]
    recordings, bags, specs = load_features(manifest, store, root=root, labels=labels, video=video, audio=audio)
    strategies = given or _grid(bags, pool, fusion, head)
    besides = load_weight_free(recordings, store, specs)
    with fit_bar() as progress:
        found = compare(
            bags,
            recordings,
            strategies=strategies,
            protocols=protocols,
            score=score,
            repeats=repeats,
            seed=seed,
            weight_free=besides,
            in_depth=out is not None,
            progress=progress,
        )
    settings = describe_study(["poise", *sys.argv[1:]], manifest, store, recordings, specs)
    study = str(write_study(out, found, settings=settings)) if out is not None else None
    told = [*found.warnings, *(found.audit.warnings if found.audit else [])]
    for warning in dict.fromkeys(told):
        note(f"Note: {warning}")
    if as_json:
        print_json(found.to_json(study=study, settings=settings))
        return
    if found.audit is not None:
        draw_audit(found.audit)
        console().print()
    draw_leaderboard(found)
    draw_differences(found)
    if study:
        console().print(f"Study written to {study}")
    if found.audit is not None:
        options = {"store": store, "root": root, "labels": labels, "video": video, "audio": audio}
        command = _how_to_train(found.audit.evidence["strategy"], strategies, options, manifest)
        console().print(f"\nTo train the best one of the hardest test: {shlex.join(command)}")


def _how_to_train(
    leader: str, strategies: Sequence[Strategy], options: Mapping[str, object], manifest: Path
) -> list[str]:
    """The command that trains the leader, with how many its figures must be corrected for."""
    given = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    n_tried = len(set(strategies))
    tried = ["--tried", str(n_tried)] if n_tried > 1 else []
    return ["poise", "train", str(manifest), *given, "--strategy", leader, *tried, "--out", "model.zip"]


def parse_protocols(texts: list[str] | None) -> list[Protocol] | None:
    """Protocols as the command line gives them; None for the default."""
    from poise.heads import Protocol

    return [Protocol.parse(text) for text in texts] if texts else None


def refuse_parts_of(strategy: object, pool: str | None, fusion: str | None, head: str | None) -> None:
    """Refuse parts of strategies beside whole ones: which of the two was meant cannot be told."""
    given = [name for name, value in (("--pool", pool), ("--fusion", fusion), ("--head", head)) if value is not None]
    if strategy and given:
        raise typer.BadParameter(f"--strategy says all of a strategy; leave out {' and '.join(given)}.")


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
