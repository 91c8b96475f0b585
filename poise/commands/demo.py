"""``poise demo``: the whole way on a small synthesised interview set, offline."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poise.commands.terminal import JsonOption, SeedOption, console, note, print_json, prints_to_stderr

if TYPE_CHECKING:
    from poise.demo.tour import Findings


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command("demo", epilog="Example: poise demo --out poise-demo")(demo_command)


def demo_command(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for recordings, features, study and model.")
    ] = Path("poise-demo"),
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Go the whole way on a synthesised interview set, offline.

    Makes 48 recordings of 8 speakers, extracts, compares, trains and predicts, in under three minutes.
    """
    from poise.demo.tour import run

    with prints_to_stderr():
        findings = run(out, seed=seed, say=note)
    if as_json:
        print_json(findings.to_json())
    else:
        _draw(findings)


def _draw(findings: Findings) -> None:
    from poise.commands.audit import draw_audit
    from poise.commands.board import draw_leaderboard, figure
    from poise.commands.predict import draw_prediction
    from poise.demo.tour import BY_SPEAKER, CLIPS, N_SHUFFLES, SHIPPED

    screen = console()
    report, again, folder = findings.report, findings.second_report, findings.folder
    screen.print(
        f"\n{report.counts['stored']} recordings stored in {report.seconds:.0f} s; again: "
        f"{again.counts['stored']} stored, {again.counts['already']} already there, in {again.seconds:.1f} s",
    )
    screen.print()
    if findings.comparison.audit is not None:
        draw_audit(findings.comparison.audit)
        screen.print()
    draw_leaderboard(findings.comparison)
    by_speaker = findings.qwk(SHIPPED, BY_SPEAKER)
    random, audit = findings.qwk(SHIPPED, BY_SPEAKER, findings.random), findings.random.audit
    ruling = f"; {audit.verdict}" if audit is not None else ""
    screen.print(
        f"\n{SHIPPED} on speakers it has not heard: quadratic kappa {figure(by_speaker)}.\n"
        f"  The same with shuffled labels, mean of {N_SHUFFLES}: {figure(findings.shuffled_qwk)} (must be near 0).\n"
        f"  The same on a VideoMAE and a WavLM with random weights: {figure(random)} (they learnt nothing{ruling}).",
    )
    screen.print("\nA ninth speaker, three recordings:")
    for label, prediction in findings.predictions.items():
        screen.print(f"made as {label!r}:")
        draw_prediction(prediction)
    right = sum(label == prediction.label for label, prediction in findings.predictions.items())
    promised, low, high = findings.accuracy(SHIPPED, BY_SPEAKER)
    screen.print(
        f"{right} of {len(findings.predictions)} right, and {len(findings.predictions)} recordings say little: the "
        f"validation by speaker says {promised:.0%} of 48, give or take ({low:.0%} to {high:.0%})."
    )
    poise = "poise" if shutil.which("poise") else sys.argv[0]
    table = folder / "interviews" / "manifest.csv"
    screen.print(
        f"\nThe whole study as a page: {folder / 'report.html'}\n"
        f"\nTry it yourself ({CLIPS.window_s:g}-s clips; the default is 10 s):\n"
        f"  {poise} store ls {folder / 'features'}\n"
        f"  {poise} compare {table} --store {folder / 'features'} --labels low,moderate,high"
        " --video motion --audio prosody --head cumulative,coral\n"
        f"  {poise} predict {folder / 'ninth_speaker_high.mp4'} --model {folder / 'model.zip'}\n"
        f"  {poise} app --model {folder / 'model.zip'}",
    )
