"""``poise predict``: the level of new recordings, one after the other, each told as soon as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.terminal import (
    DeviceOption,
    JsonList,
    JsonOption,
    TrustPickleOption,
    console,
    note,
    prints_to_stderr,
)

if TYPE_CHECKING:
    from poise.serve import Prediction, Predictor
    from poise.serve.files import Listed
    from poise.store.schema import Modality


def register(app: typer.Typer) -> None:
    """Add ``predict`` to the command line."""
    app.command("predict", epilog="Example: poise predict answer.mp4 --model model.zip")(predict_command)


def predict_command(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Media files, and folders with media files.")],
    model: Annotated[
        Path, typer.Option("--model", metavar="MODEL", help="A bundle of `poise train`, or an older one.")
    ],
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT", help="Write a table too, a row for each file as it comes.")
    ] = None,
    video: Annotated[
        str | None, typer.Option("--video", metavar="NAME", help="Where the video encoder is, if not where it was.")
    ] = None,
    audio: Annotated[
        str | None, typer.Option("--audio", metavar="NAME", help="Where the audio encoder is, if not where it was.")
    ] = None,
    device: DeviceOption = "auto",
    stall: Annotated[
        float, typer.Option("--stall", metavar="S", help="A decoder without a sign of life for so long is ended.")
    ] = 60.0,
    decoder_memory: Annotated[
        float, typer.Option("--decoder-memory", metavar="GB", help="Memory that each decoder may take.")
    ] = 4.0,
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict the level of new recordings.

    With probabilities, when in the answer they come from, and whether to believe them.
    """
    from poise.extract import DecodeLimits
    from poise.serve.files import list_recordings
    from poise.serve.predict import Predictor
    from poise.serve.table import PredictionTable

    listing = list_recordings(files)
    places: dict[Modality, str | None] = {"video": video, "audio": audio}
    given = {modality: place for modality, place in places.items() if place is not None}
    with prints_to_stderr():
        limits = DecodeLimits(stall_s=stall, memory_gb=decoder_memory)
        predictor = Predictor.from_bundle(
            model, encoders=given, device=device, limits=limits, trust_pickle=trust_pickle
        )
        predictor.load()  # what is wrong with an encoder is told before anything is written
    for text in listing.notes:
        note(_on_one_line(f"Note: {text}"))
    rows = nullcontext() if table is None else PredictionTable(table, predictor.bundle.label_names)
    n_failed = n_done = 0
    with predictor, rows as row, JsonList() if as_json else nullcontext() as document:
        try:
            for entry in listing.entries:
                result, prediction = _predict_one(predictor, entry, f"{n_done + 1}/{len(listing.entries)}")
                if row is not None:
                    row.add(result)
                if document is not None:
                    document.add(result)
                elif prediction is not None:
                    draw_prediction(prediction, with_clips=len(listing.entries) == 1)
                n_failed += prediction is None
                n_done += 1
        except BaseException:
            note(f"{n_done} of {len(listing.entries)} were looked at before the end; what was said of them stands.")
            raise
    if n_failed:
        raise typer.Exit(1 if n_failed == n_done else 3)


def _predict_one(predictor: Predictor, entry: Listed, number: str) -> tuple[dict[str, Any], Prediction | None]:
    """What is told of one file, and its prediction if there is one."""
    from poise.errors import MediaError, PoiseError
    from poise.text import describe_error

    reason = entry.error
    if not reason:
        try:
            with prints_to_stderr(), _bar(f"{number} {Path(entry.path).name}") as progress:
                prediction = predictor.predict(entry.path, progress=progress)
            return prediction.to_json(), prediction
        except MediaError as error:
            reason = str(error)
        except PoiseError:
            raise
        except Exception as error:  # noqa: BLE001
            # whatever one file brings about, the others are still looked at
            reason = describe_error(error)
    note(_on_one_line(f"Error: {reason}" if entry.path in reason else f"Error: {entry.path}: {reason}"))
    return _failed(entry.path, reason), None


def _failed(path: str, reason: str) -> dict[str, Any]:
    return {
        "path": path,
        "label": None,
        "proba": None,
        "likely": None,
        "abstains": True,
        "because": [],
        "trusted": False,
        "doubts": [],
        "notes": [],
        "flags": [],
        "verdict": None,
        "duration_s": None,
        "clips": [],
        "seconds": {},
        "error": reason,
    }


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int, str], None] | None]:
    """A progress bar on stderr for one file, gone when it ends; none where nobody looks."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from poise.text import readable

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(readable(title, 60), total=None)

        def advance(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=f"{readable(title, 60)}: {what}")

        yield advance


def draw_prediction(prediction: Prediction, *, with_clips: bool = True) -> None:
    """One prediction on stdout: the level, when it came from, and what speaks against it."""
    screen = console()
    shares = ", ".join(f"{name} {share:.2f}" for name, share in prediction.proba.items())
    path = _on_one_line(prediction.path)
    if prediction.abstains:
        screen.print(f"{path}: no level; the best guess would be {prediction.label}  ({shares})")
    else:
        screen.print(f"{path}: {prediction.label}  ({shares}){_likely(prediction)}")
    if with_clips:
        _draw_clips(prediction)
    for reason in prediction.because:
        screen.print(f"  No level, because {reason}.")
    for doubt in prediction.doubts[len(prediction.because) :]:
        screen.print(f"  Do not rely on this: {doubt.rstrip('.')}.")
    for text in prediction.notes:
        screen.print(f"  Note: {text}.")


def _on_one_line(text: str) -> str:
    """A file's name must not look like the result of another file."""
    return text.replace("\n", "\\n")


def _likely(prediction: Prediction) -> str:
    likely = prediction.likely
    if likely is None or len(likely) < 2:
        return ""
    return f"; likely {likely[0]} {'or' if len(likely) == 2 else 'to'} {likely[-1]}"


def _draw_clips(prediction: Prediction) -> None:
    screen = console()
    even = len({round(clip.attention, 9) for clip in prediction.clips}) == 1
    for clip in prediction.clips:
        weight = "" if even else f"  attention {clip.attention:.2f}"
        alone = f"  this clip alone: {max(clip.proba, key=clip.proba.__getitem__)}" if clip.proba else ""
        words = f"  {', '.join(clip.flags)}" if clip.flags else ""
        screen.print(f"  {clip.start_s:6.1f} to {clip.end_s:5.1f} s{weight}{alone}{words}")
