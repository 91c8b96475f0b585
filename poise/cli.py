"""The command line: composes the commands of :mod:`poise.commands`, catches poise's errors once, sets exit codes.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 finished but too many recordings failed; 129, 130 and 143
after a closed terminal (SIGHUP), Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from poise.commands import app as app_command
from poise.commands import audit, augment, bundle, compare, demo, doctor, extract, predict, report, store, train
from poise.commands.terminal import note
from poise.errors import PoiseError

_PATIENCE_S = 5.0
_STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""SIGINT is ignored below a background shell, SIGHUP below nohup: that stays so."""

_KEPT = " What was reported stored is kept; run the same command to go on."


class _Stopped(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP came. Not a KeyboardInterrupt, of which typer would make an ending of its own.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.command: str | None = None


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
            note(f"Error: {error}{notes}")
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except _Stopped as stopped:
            stopped.command = ctx.invoked_subcommand
            raise
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
audit.register(app)
compare.register(app)
report.register(app)
train.register(app)
bundle.register(app)
predict.register(app)
app_command.register(app)
doctor.register(app)


class _Signals:
    """What Ctrl-C, SIGTERM and SIGHUP do while a command runs: the first stops it, and what is finished is kept.

    More of them change nothing while it stops; when that takes too long, they end the process at once.
    """

    def __init__(self) -> None:
        self._first_at: float | None = None
        self._terminals: list[int] = []

    def listen(self) -> None:
        sys.unraisablehook = self._come_again
        self._terminals = [number for number in (1, 2) if os.isatty(number)]
        for number in _STOPPING:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def forget(self) -> None:
        """Have a signal end the process at once, without a word: there is nothing left to do."""
        for number in _STOPPING:
            if signal.getsignal(number) == self._stop:
                signal.signal(number, signal.SIG_DFL)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._first_at is None:
            self._first_at = time.monotonic()
            if number not in (signal.SIGINT, signal.SIGTERM):
                self._leave_terminals()
            raise _Stopped(number)
        if time.monotonic() - self._first_at > _PATIENCE_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _leave_terminals(self) -> None:
        """Have what is still said lead nowhere: to write to a terminal that is closed is an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)

    def _come_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send a signal again that was lost: it came where nothing can be raised, as while Python tidied up."""
        if isinstance(unraisable.exc_value, _Stopped):
            self._first_at = None
            again = threading.Timer(0.05, os.kill, (os.getpid(), unraisable.exc_value.number))
            again.daemon = True
            again.start()
        else:
            sys.__unraisablehook__(unraisable)


def _fill_closed_streams() -> None:
    """Have a stream that the process was started without lead nowhere.

    A file that is opened would else get its number, and with it whatever libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def main() -> None:
    """Entry point of the ``poise`` command."""
    signals = _Signals()
    try:
        signals.listen()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a file's name may be no text
        _fill_closed_streams()
        app()
    except _Stopped as stopped:
        with suppress(OSError):
            typer.echo(f"Interrupted.{_KEPT if stopped.command in ('extract', 'store') else ''}", err=True)
        sys.exit(128 + stopped.number)
    except BaseException:
        signals.forget()
        raise
