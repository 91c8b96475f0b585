"""Write docs/cli.md from the help pages: `python docs/make_cli.py`. A test checks that it is up to date."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from poise.cli import app

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# Command line

Progress and notes go to stderr, the result to stdout; `--json` prints exactly one JSON document. Exit codes:
0 done, 1 failed, 2 the command line is wrong,
3 finished but some recordings failed (`extract`: more than `--max-failures`).

This page is made from the help pages: `python docs/make_cli.py`.
"""


def command_names() -> list[list[str]]:
    """Every command, as the words that call it."""
    root = typer.main.get_command(app)
    names: list[list[str]] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [[name, *([] if word is None else [word])] for word in (inner or [None])]
    return names


def render() -> str:
    """The page."""
    parts = [HEAD]
    for name in [[], *command_names()]:
        shown = CliRunner().invoke(app, [*name, "-h"], env={"COLUMNS": "100", "TERMINAL_WIDTH": "100"})
        lines = [f"    {line}".rstrip() for line in shown.stdout.strip().splitlines()]
        parts.append("\n".join([f"\n## {' '.join(['poise', *name])}\n", *lines, ""]))
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
