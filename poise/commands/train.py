"""``poise train``: one strategy, validated, then fitted on everything and written as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poise.commands.audit import draw_audit
from poise.commands.board import draw_leaderboard, fit_bar
from poise.commands.compare import CvOption, RepeatsOption, ScoreOption, parse_protocols, refuse_parts_of
from poise.commands.terminal import (
    AudioSetOption,
    JsonOption,
    LabelsOption,
    ManifestArgument,
    RootOption,
    SeedOption,
    StoreOption,
    TriedOption,
    VideoSetOption,
    console,
    load_features,
    note,
    print_json,
)

if TYPE_CHECKING:
    from poise.heads import Strategy
    from poise.store import Bags


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    app.command(
        "train",
        epilog="Example: poise train manifest.csv --store features --out model.zip --pool attention --head corn",
    )(train_command)


def train_command(
    manifest: ManifestArgument,
    store: StoreOption,
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="The bundle to write, as model.zip.")],
    root: RootOption = None,
    video: VideoSetOption = None,
    audio: AudioSetOption = None,
    labels: LabelsOption = None,
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool", metavar="NAME", help="mean, mean-std, max, attention or gated-attention. Default: mean."
        ),
    ] = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            "--fusion", metavar="NAME", help="video, audio, early, mid, gated or late. Default: all there is."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="NAME",
            help="cumulative, all-threshold, frank-hall, logistic or ridge; softmax, coral, corn or regression; or "
            "lightgbm. Default: cumulative.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", metavar="SPEC", help="In place of the three, as mean/early/corn:hidden=64."),
    ] = None,
    tried: TriedOption = 1,
    cv: CvOption = None,
    score: ScoreOption = "auto",
    repeats: RepeatsOption = 1,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Validate a strategy, fit it on everything, write a bundle.

    The bundle is one ZIP with the head, the extraction settings and how it was validated.
    """
    from poise.serve.bundle import check_target
    from poise.serve.training import train

    refuse_parts_of(strategy, pool, fusion, head)
    check_target(out)
    protocols = parse_protocols(cv)
    recordings, bags, specs = load_features(manifest, store, root=root, labels=labels, video=video, audio=audio)
    chosen = _strategy(bags, strategy, pool, fusion, head)
    with fit_bar() as progress:
        trained = train(
            bags,
            recordings,
            specs,
            out,
            strategy=chosen,
            protocols=protocols,
            score=score,
            repeats=repeats,
            n_tried=tried,
            seed=seed,
            progress=progress,
        )
    audit = trained.comparison.audit
    for warning in dict.fromkeys([*trained.warnings, *(audit.warnings if audit else [])]):
        note(f"Note: {warning}")
    if as_json:
        document = {**trained.comparison.to_json(), "warnings": list(trained.warnings)}
        print_json({"model": str(out), "strategy": str(chosen), **document})
        return
    if audit is not None:
        draw_audit(audit)
        console().print()
    draw_leaderboard(trained.comparison)
    console().print(f"\n{chosen}, trained on {trained.bundle.training['n_recordings']} recordings: {out}")


def _strategy(bags: Bags, text: str | None, pool: str | None, fusion: str | None, head: str | None) -> Strategy:
    from poise.commands.compare import richest_fusion
    from poise.heads import Strategy

    if text is not None:
        return Strategy.parse(text)
    chosen = richest_fusion(bags)[0] if fusion in (None, "auto") else fusion
    return Strategy.parse(f"{pool or 'mean'}/{chosen}/{head or 'cumulative'}")
