"""The command line: composes the commands of :mod:`poise.commands`, catches poise's errors once, sets exit codes.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 finished but too many recordings failed; 130 and 143 after
Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from poise.commands import augment, compare, demo, doctor, extract, predict, store, train
from poise.errors import PoiseError


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: what is finished is kept, as after Ctrl-C."""


class _Group(TyperGroup):
    """Turns an error that poise raised on purpose into one block on stderr and its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output went away, as in `poise store show | head`
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            raise typer.Exit(1) from None
        except (PoiseError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
            typer.echo(f"Error: {error}{notes}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except KeyboardInterrupt as error:
            typer.echo("Interrupted. What was reported stored is kept; run the same command to go on.", err=True)
            raise typer.Exit(143 if isinstance(error, _Terminated) else 130) from None
        else:
            return result


app = typer.Typer(
    name="poise",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ordinal levels from short recorded answers: extract video and voice embeddings once, train and validate "
    "heads in seconds, ship one file.",
    epilog="Start with: poise demo",
)


def _version(value: bool) -> None:
    if value:
        from poise import __version__

        typer.echo(f"poise {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Read what concerns every command; :class:`_Group` and the version's own callback act on it."""


demo.register(app)
extract.register(app)
augment.register(app)
store.register(app)
compare.register(app)
train.register(app)
predict.register(app)
doctor.register(app)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def main() -> None:
    """Entry point of the ``poise`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  started without one
    app()
