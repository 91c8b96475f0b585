"""``poise audit``: whether a good number is real, in one sentence, with the ladder and the evidence behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.board import figure, fit_bar
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
    print_table,
)

if TYPE_CHECKING:
    from poise.heads.audit import Audit, Rung


def register(app: typer.Typer) -> None:
    """Add ``audit`` to the command line."""
    app.command(
        "audit",
        epilog="Exit code 0 for the verdict supported, 1 for every other one, so that CI can ask for it. "
        "Example: poise audit manifest.csv --store features",
    )(audit_command)


def audit_command(
    manifest: ManifestArgument,
    store: StoreOption,
    root: RootOption = None,
    video: VideoSetOption = None,
    audio: AudioSetOption = None,
    labels: LabelsOption = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="SPEC",
            help="What is audited, as attention/early/corn:hidden=64. Default: mean/…/cumulative on all there is.",
        ),
    ] = None,
    tried: TriedOption = 1,
    permutations: Annotated[
        int, typer.Option("--permutations", metavar="N", min=0, help="Deals of the permutation test; 0 for none.")
    ] = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Tell whether a good number is real: leakage, confounding, chance.

    Climbs from random folds to speakers not heard, looks for undeclared copies, for what the speaker and being a copy
    give away, and deals labels out at random. Says supported, leakage, confounded, no evidence or too little data.
    """
    from poise.heads import Strategy
    from poise.heads.audit import audit

    chosen = Strategy.parse(strategy) if strategy is not None else None
    recordings, bags, _ = load_features(manifest, store, root=root, labels=labels, video=video, audio=audio)
    with fit_bar() as progress:
        found = audit(
            bags,
            recordings,
            strategy=chosen,
            n_permutations=permutations,
            n_tried=tried,
            seed=seed,
            progress=progress,
        )
    for warning in found.warnings:
        note(f"Note: {warning}")
    if as_json:
        print_json(found.to_json())
    else:
        draw_audit(found)
    if found.verdict != "supported":
        raise typer.Exit(1)


def draw_audit(found: Audit) -> None:
    """The verdict, the ladder as a table and what was found as lines, on stdout."""
    screen = console()
    screen.print(found.sentence)
    columns = ["folds", "scored", ">n", ">qwk", ">95 % interval", ">accuracy", ">group's qwk", ">majority accuracy?"]
    made = [rung for rung in found.ladder if rung.made]
    print_table(columns, [_cells(rung) for rung in made], title=f"\n{found.evidence['strategy']}")
    if made:
        screen.print(_on_intervals(made))
    for text in dict.fromkeys(_why_not(rung) for rung in found.ladder if not rung.made):
        screen.print(text)
    for text in found.findings:
        screen.print(text)


def _on_intervals(made: Sequence[Rung]) -> str:
    """What the intervals draw: not the same on each rung, as each promises something else."""
    units = {"source": "recordings", "speaker": "speakers"}
    folds: dict[str, list[str]] = {}
    for rung in made:
        folds.setdefault(units[rung.interval_groups], []).append(rung.protocol)
    drawn = [f"{unit} ({', '.join(dict.fromkeys(names))})" for unit, names in folds.items()]
    return f"qwk: quadratic kappa; interval: bootstrap over {' and '.join(drawn)}."


def _why_not(rung: Rung) -> str:
    """Most reasons begin with the protocol."""
    reason = rung.reasons["rung"]
    return reason if reason.startswith(rung.protocol) else f"{rung.protocol}: {reason}"


def _cells(rung: Rung) -> list[str]:
    alone: Mapping[str, Any] = rung.group_only or {"qwk": None}
    return [
        rung.protocol,
        rung.scored,
        str(rung.n),
        figure(rung.qwk),
        f"{rung.interval[0]:.2f} to {rung.interval[1]:.2f}" if rung.interval else "–",
        figure(rung.accuracy),
        figure(alone["qwk"]),
        figure(rung.majority["accuracy"]),
    ]
