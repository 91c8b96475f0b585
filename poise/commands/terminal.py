"""What all commands share: options that mean the same everywhere, and where output goes.

Results go to stdout, everything else to stderr; ``--json`` prints exactly one document.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from poise.text import readable, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from poise.manifest import Manifest
    from poise.store.bags import Bags

_PIPED_WIDTH = 120
_LEAST_WIDTH = 10
_LONGEST_CELL = 400
_LONGEST_NOTE = 4000

ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="CSV with the columns path,label[,speaker][,source][,augmentation].")
]
StoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", help="Folder of the feature store, or an .h5 file exported from one.")
]
StoreOption = Annotated[Path, typer.Option("--store", metavar="DIR", help="Folder of the feature store.")]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="Folder that relative paths start from. Default: the manifest's."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", metavar="LOW,…,HIGH", help="Names of the levels, lowest first, as low,moderate,high."),
]
VideoSetOption = Annotated[
    str | None,
    typer.Option("--video", metavar="NAME", help="Video feature set, or none. Default: the only one in the store."),
]
AudioSetOption = Annotated[
    str | None,
    typer.Option("--audio", metavar="NAME", help="Audio feature set, or none. Default: the only one in the store."),
]
TriedOption = Annotated[
    int,
    typer.Option(
        "--tried", metavar="N", min=1, help="Strategies of which this one was picked; the audit's p is corrected for N."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of folds and training.")]
DeviceOption = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")]
TrustPickleOption = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Unpickle Python objects in an older bundle. That runs whatever code its maker put in, with all that you "
        "may do: only for files that you made, or whose maker you trust as you trust a program that you run.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n")


class JsonList:
    """A list as one JSON document on stdout, whose items are written as they come; a context manager.

    Whatever ends it, the list is closed: what was written is a document.
    """

    def __init__(self) -> None:
        self._n_items = 0

    def __enter__(self) -> JsonList:
        sys.stdout.write("[")
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.write("\n]\n" if self._n_items else "]\n")
        sys.stdout.flush()

    def add(self, item: Any) -> None:
        """One more item, which whoever reads stdout gets at once."""
        text = json.dumps(item, indent=2, ensure_ascii=True, allow_nan=False)
        comma = "," if self._n_items else ""
        sys.stdout.write(comma + "\n" + "\n".join(f"  {line}" for line in text.split("\n")))
        self._n_items += 1
        sys.stdout.flush()


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """While it lasts, what anybody prints goes to stderr: encoders of other packages, and the C libraries they use."""
    with redirect_stdout(sys.stderr):
        if not _has_own(sys.__stdout__, 1) or not _has_own(sys.__stderr__, 2):
            yield  # started without, or below a program that keeps what is printed
            return
        _flush_all()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            try:
                _flush_all()
            finally:
                os.dup2(kept, 1)
                os.close(kept)


def _has_own(stream: TextIO | None, number: int) -> bool:
    try:
        return stream is not None and stream.fileno() == number
    except (OSError, ValueError):  # it is closed, or has none
        return False


def _flush_all() -> None:
    """Have what Python and C keep back for stdout written to where it leads now."""
    import ctypes

    if sys.__stdout__ is not None:
        sys.__stdout__.flush()
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)


def console(*, stderr: bool = False) -> Console:
    """Where to draw: stdout for results, stderr for progress. What is printed is text as it is, without markup."""
    from rich.console import Console

    class Plain(Console):
        """Shows what a file's name may hold, as an escape sequence, instead of doing it."""

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(visible(item) if isinstance(item, str) else item for item in objects), **options)

    return Plain(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def note(text: str) -> None:
    """One message on stderr; where that cannot be written, the work goes on without it."""
    with suppress(OSError):
        typer.echo(readable(text, _LONGEST_NOTE), err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table on stdout that fits the terminal.

    Parameters
    ----------
    columns : sequence of str
        Headings. ``>`` in front aligns to the right; ``?`` at the end marks a column that a narrow terminal
        goes without, the last first.
    rows : sequence of sequence of str
    title : str
    """
    screen = console()
    if not screen.is_terminal and not os.environ.get("COLUMNS"):
        screen.width = _PIPED_WIDTH
    shown = list(range(len(columns)))
    drawn = _draw(columns, rows, shown, title)
    unbounded = screen.options.update(width=10_000)
    spare = [i for i in shown if columns[i].endswith("?")]
    while spare and screen.measure(drawn, options=unbounded).maximum > screen.width:
        shown.remove(spare.pop())
        drawn = _draw(columns, rows, shown, title)
    # narrower than its numbers and a little of each text a table says nothing: lines run over instead
    screen.width = max(screen.width, screen.measure(drawn, options=unbounded).minimum)
    with screen.capture() as capture:
        screen.print(drawn, soft_wrap=False)
    lines = [line.rstrip() for line in capture.get().strip("\n").splitlines()]
    sys.stdout.write("\n".join([*lines, ""]))


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[int], title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left", title_style="bold")
    for i in shown:
        right = columns[i].startswith(">")
        name = columns[i].strip(">?")
        # a number that is cut is another number
        least = max([len(name), *(len(row[i]) for row in rows)]) if right else min(_LEAST_WIDTH, len(name))
        drawn.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right, min_width=least)
    for row in rows:
        drawn.add_row(*(Text(_short(visible(row[i]))) for i in shown))
    return drawn


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def split_names(text: str | None) -> list[str] | None:
    """``low,moderate,high`` as a list."""
    return None if text is None else [name.strip() for name in text.split(",")]


def load_features(
    manifest_path: Path,
    store_path: Path,
    *,
    root: Path | None,
    labels: str | None,
    video: str | None,
    audio: str | None,
) -> tuple[Manifest, Bags, Mapping[str, Any]]:
    """The manifest, its features, and the spec of each modality's feature set."""
    from poise.manifest import read_manifest
    from poise.store import FeatureStore

    manifest = read_manifest(manifest_path, root=root, label_names=split_names(labels))
    store = FeatureStore.open(store_path)
    found = {"video": store.find(video, "video"), "audio": store.find(audio, "audio")}
    specs = {modality: index.spec for modality, index in found.items() if index is not None}
    return manifest, store.load(manifest, video=video, audio=audio, verify=True), specs


def load_weight_free(manifest: Manifest, store_path: Path, chosen: Mapping[str, Any]) -> Bags | None:
    """What the encoders without weights made of the same recordings, for modalities whose chosen set has weights.

    None where nothing is stored, or where several sets could be meant.
    """
    from poise.errors import AmbiguousFeatureSetError, FeatureSetNotFoundError, FeaturesMissingError
    from poise.extract.encoders.registry import WEIGHT_FREE
    from poise.store import FeatureStore

    store = FeatureStore.open(store_path)
    names = {modality: name for modality, name in WEIGHT_FREE.items() if modality in chosen}
    if all(chosen[modality].get("encoder", {}).get("name") == name for modality, name in names.items()):
        return None
    try:
        return store.load(manifest, video=names.get("video", "none"), audio=names.get("audio", "none"))
    except (AmbiguousFeatureSetError, FeatureSetNotFoundError, FeaturesMissingError):
        return None
