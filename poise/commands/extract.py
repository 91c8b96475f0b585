"""``poise extract``: media files into a feature store, with progress."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from poise.commands.terminal import (
    DeviceOption,
    JsonOption,
    ManifestArgument,
    RootOption,
    StoreOption,
    console,
    note,
    print_json,
    prints_to_stderr,
)
from poise.text import name_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from poise.extract.outcomes import ExtractReport
    from poise.extract.run import ExtractProgress


_SHOWN_OUTCOMES = 30


def register(app: typer.Typer) -> None:
    """Add ``extract`` to the command line."""
    app.command(
        "extract", epilog="Example: poise extract manifest.csv --store features --video motion --audio prosody"
    )(extract_command)


def extract_command(
    manifest: ManifestArgument,
    store: StoreOption,
    root: RootOption = None,
    video: Annotated[
        str,
        typer.Option(
            "--video", metavar="NAME", help="Video encoder: videomae-base, effnet-lite0, motion, an id, a folder, none."
        ),
    ] = "videomae-base",
    audio: Annotated[
        str,
        typer.Option(
            "--audio",
            metavar="NAME",
            help="Audio encoder: wavlm-base-plus, speech-embedding, prosody, an id, a folder, none.",
        ),
    ] = "wavlm-base-plus",
    window: Annotated[float, typer.Option("--window", metavar="S", help="Length of a clip in seconds.")] = 10.0,
    hop: Annotated[float, typer.Option("--hop", metavar="S", help="From one clip's start to the next's.")] = 10.0,
    min_tail: Annotated[float, typer.Option("--min-tail", metavar="S", help="Shortest last clip that is kept.")] = 3.0,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Frames for each clip, spread over it. Default: what the model wants."),
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", metavar="L", help="Hidden states of pretrained models: last, all, or as 0,6,-1.")
    ] = "last",
    pooling: Annotated[
        Literal["mean", "cls", "mean-std"],
        typer.Option("--pooling", help="How a pretrained model's tokens become one vector."),
    ] = "mean",
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option("--precision", help="What pretrained models compute in; less than float32 needs CUDA."),
    ] = "float32",
    decoder: Annotated[
        Literal["pyav", "decord"], typer.Option("--decoder", help="What reads the picture; sound is read by PyAV.")
    ] = "pyav",
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option("--dtype", help="Numbers of the stored embeddings.")
    ] = "float16",
    device: DeviceOption = "auto",
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Where it runs: this machine, or a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, help="Processes that decode. Default: about one for each core."),
    ] = None,
    stall: Annotated[
        float, typer.Option("--stall", metavar="S", help="A decoder without a sign of life for so long is ended.")
    ] = 60.0,
    decoder_memory: Annotated[
        float, typer.Option("--decoder-memory", metavar="GB", help="Memory that each decoder may take.")
    ] = 4.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in an earlier run.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only every N-th recording, from the I-th on; others do the rest."),
    ] = None,
    max_failures: Annotated[
        float,
        typer.Option("--max-failures", min=0, max=1, help="Share of failed recordings above which to exit with 3."),
    ] = 0.1,
    as_json: JsonOption = False,
) -> None:
    """Turn recordings into features in a store.

    A second run does only what is left.
    """
    from poise.extract import ClipSettings, DecodeLimits, extract
    from poise.extract.encoders import parse_layers
    from poise.manifest import read_manifest

    recordings = read_manifest(manifest, root=root, labels="ignored", files="must exist")
    settings = ClipSettings(window_s=window, hop_s=hop, min_tail_s=min_tail)
    with prints_to_stderr(), _progress_bar(len(recordings)) as progress:
        report = extract(
            recordings,
            store,
            video=None if video == "none" else video,
            audio=None if audio == "none" else audio,
            clips=settings,
            n_frames=frames,
            layers=parse_layers(layers),
            pooling=pooling,
            precision=precision,
            decoder=decoder,
            dtype=dtype,
            device=device,
            engine=engine,
            workers=workers,
            limits=DecodeLimits(stall_s=stall, memory_gb=decoder_memory),
            retry_failed=retry_failed,
            shard=_parse_shard(shard),
            progress=progress,
        )
    _tell(report)
    _tell_stale(report, store)
    if as_json:
        print_json(report.to_json())
    else:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
        console().print(f"{counts}, in {report.seconds:.1f} s: {', '.join(report.feature_sets.values())}")
    if report.failed_share > max_failures:
        raise typer.Exit(3)


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    from poise.errors import ExtractSettingsError

    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None:
        raise ExtractSettingsError(f"--shard {text!r} is no part of a whole. Expected i/n, as --shard 2/4.")
    return int(match[1]), int(match[2])


def _tell(report: ExtractReport) -> None:
    told = [outcome for outcome in report.outcomes if outcome.reason]
    for outcome in told[:_SHOWN_OUTCOMES]:
        note(f"{outcome.outcome}: {outcome.path}: {outcome.reason}")
    if len(told) > _SHOWN_OUTCOMES:
        note(f"and {len(told) - _SHOWN_OUTCOMES} more; --json lists all")


def _tell_stale(report: ExtractReport, store: Path) -> None:
    if report.stale:
        shown = name_some([recording.path for recording in report.stale], 5)
        note(
            f"stale: {shown}: the file has other bytes now than when it was extracted before. The old features "
            f"stay in the store; `poise store rm {store} --not-in MANIFEST` removes them."
        )


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[ExtractProgress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("extracting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console(stderr=True))
    task = bar.add_task("extracting", total=total, rate="")
    try:

        def advance(state: ExtractProgress) -> None:
            bar.start()
            seconds = bar.tasks[0].elapsed or 0.0
            rate = f"{state.clips_done / seconds:.1f} clips/s" if seconds > 0 and state.clips_done else ""
            bar.update(task, completed=state.done, total=state.total, rate=rate)

        yield advance
    finally:
        bar.stop()
