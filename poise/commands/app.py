"""``poise app``: predictions and studies in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from poise.commands.terminal import DeviceOption, console, note


def register(app: typer.Typer) -> None:
    """Add ``app`` to the command line."""
    app.command("app", epilog="Example: poise app --model model.zip")(app_command)


def app_command(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="MODEL", help="A bundle to begin with. Default: $CONFIDENCE_MODEL_ZIP, or none."
        ),
    ] = None,
    study: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY", help="A folder of `poise compare --out` to begin with.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where to listen. Others reach it only if you say so here.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8501,
    max_upload: Annotated[
        int, typer.Option("--max-upload", metavar="MB", min=1, max=100_000, help="Size that a recording may have.")
    ] = 200,
    theme: Annotated[
        str, typer.Option("--theme", metavar="NAME", help="dark, light, or system: as the visitor's machine is set.")
    ] = "dark",
    paths: Annotated[
        bool | None,
        typer.Option(
            "--paths/--no-paths",
            help="Whether visitors may name models and studies on this machine. Default: not with a --host for others.",
        ),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle", help="Let visitors load older models that are Python objects: that runs what is in them."
        ),
    ] = False,
    video: Annotated[
        str, typer.Option("--video", metavar="NAME", help="Where the video encoder is, if not where it was.")
    ] = "",
    audio: Annotated[
        str, typer.Option("--audio", metavar="NAME", help="Where the audio encoder is, if not where it was.")
    ] = "",
    device: DeviceOption = "auto",
) -> None:
    """Open predictions and studies in a browser.

    Upload a recording and see its level, how sure that is, when in the answer it came from, and when not to believe it.
    """
    from poise.app.server import check_streamlit, find_port, is_loopback, running
    from poise.app.settings import AppSettings
    from poise.app.theme import check_theme
    from poise.errors import AppError

    check_streamlit()
    try:
        chosen = check_theme(theme)
    except AppError as error:
        raise typer.BadParameter(str(error), param_hint="--theme") from error
    for place in (model, study):
        _check_there(place)
    alone = is_loopback(host)
    settings = AppSettings(
        model="" if model is None else os.path.abspath(model),
        study="" if study is None else os.path.abspath(study),
        max_upload_mb=max_upload,
        trust_pickle=trust_pickle,
        allow_paths=alone if paths is None else paths,
        video=video,
        audio=audio,
        device=device,
    )
    if not alone:
        note(f"Whoever reaches {host} can use the app: it asks for no password.")
    if trust_pickle:
        note("Visitors may load pickled models, which runs whatever program is in them, with all that you may do.")
    with running(settings, host=host, port=find_port(host, port), theme=chosen) as server:
        console().print(f"The app is at {server.url} until Ctrl-C.")
        server.wait()


def _check_there(path: Path | None) -> None:
    from poise.errors import AppError

    if path is not None and not path.exists():
        raise AppError(f"There is nothing at {path}. Give a model with --model, or the folder of a study with --study.")
