"""``poise report``: a study as one HTML page that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poise.commands.terminal import JsonOption, console, print_json


def register(app: typer.Typer) -> None:
    """Add ``report`` to the command line."""
    app.command("report", epilog="Example: poise report study --out report.html")(report_command)


def report_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder that `poise compare --out` wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page. Default: report.html in the study's folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a study as one HTML page: verdict first, then what is behind it.

    The page needs no network and no scripts; it can be printed, mailed, and read on a phone.
    """
    from poise.heads.report import make_sections, read_study, write_report

    found = read_study(study)
    path = write_report(study / "report.html" if out is None else out, found)
    if as_json:
        audit = found.board["audit"]
        sections = [
            {"name": one.name, "title": one.title, "shown": not one.absent, "reason": one.absent or None}
            for one in make_sections(found)
        ]
        print_json({"report": str(path), "verdict": audit and audit["verdict"], "sections": sections})
        return
    console().print(f"Report written to {path}")
