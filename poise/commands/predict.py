"""``poise predict``: the level of new recordings, one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.terminal import DeviceOption, JsonOption, console, note, print_json, prints_to_stderr

if TYPE_CHECKING:
    from poise.serve import Prediction
    from poise.store.schema import Modality


def register(app: typer.Typer) -> None:
    """Add ``predict`` to the command line."""
    app.command("predict", epilog="Example: poise predict answer.mp4 --model model.zip")(predict_command)


def predict_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Media files.")],
    model: Annotated[Path, typer.Option("--model", metavar="MODEL", help="A bundle from `poise train`.")],
    video: Annotated[
        str | None, typer.Option("--video", metavar="NAME", help="Where the video encoder is, if not where it was.")
    ] = None,
    audio: Annotated[
        str | None, typer.Option("--audio", metavar="NAME", help="Where the audio encoder is, if not where it was.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict the level of new recordings.

    With probabilities, when in the answer they come from, and whether to trust them.
    """
    from poise.errors import MediaError
    from poise.serve import Predictor

    places: dict[Modality, str | None] = {"video": video, "audio": audio}
    given = {modality: place for modality, place in places.items() if place is not None}
    with prints_to_stderr():
        predictor = Predictor.from_bundle(model, encoders=given, device=device)
    results: list[dict[str, Any]] = []
    for file in files:
        try:
            with prints_to_stderr():
                prediction = predictor.predict(file)
        except MediaError as error:
            note(f"Error: {error}" if str(file) in str(error) else f"Error: {file}: {error}")
            results.append(_failed(file, error))
            continue
        results.append(prediction.to_json())
        if not as_json:
            draw_prediction(prediction)
    if as_json:
        print_json(results)
    n_failed = sum(result["label"] is None for result in results)
    if n_failed:
        raise typer.Exit(1 if n_failed == len(files) else 3)


def _failed(file: Path, error: Exception) -> dict[str, Any]:
    return {
        "path": str(file),
        "label": None,
        "proba": None,
        "trusted": False,
        "doubts": [],
        "flags": [],
        "clips": [],
        "seconds": {},
        "error": str(error),
    }


def draw_prediction(prediction: Prediction) -> None:
    """One prediction on stdout: the level, when it came from, and what speaks against it."""
    screen = console()
    shares = ", ".join(f"{name} {share:.2f}" for name, share in prediction.proba.items())
    screen.print(f"{prediction.path}: {prediction.label}  ({shares})")
    even = len({round(clip.attention, 9) for clip in prediction.clips}) == 1
    for clip in prediction.clips:
        weight = "" if even else f"  attention {clip.attention:.2f}"
        alone = f"  this clip alone: {max(clip.proba, key=clip.proba.__getitem__)}" if clip.proba else ""
        screen.print(f"  {clip.start_s:6.1f} to {clip.end_s:5.1f} s{weight}{alone}")
    for doubt in prediction.doubts:
        screen.print(f"  Do not rely on this: {doubt}.")
