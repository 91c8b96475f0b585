"""``poise bundle``: the group of commands on a model's file: what it says of itself, and older ones made new."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.commands.board import figure
from poise.commands.terminal import JsonOption, TrustPickleOption, console, note, print_json, print_table

if TYPE_CHECKING:
    from poise.serve import Bundle

BundleArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The ZIP that `poise train` wrote, or an older one.")
]


def register(app: typer.Typer) -> None:
    """Add ``bundle`` and its commands to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Look at a model's file, and make older ones new.",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Example: poise bundle show model.zip",
    )
    group.command("show", epilog="Example: poise bundle show model.zip")(show)
    group.command("convert", epilog="Example: poise bundle convert final_model_bundle.zip --out model.zip")(convert)
    app.add_typer(group, name="bundle")


def show(file: BundleArgument, trust_pickle: TrustPickleOption = False, as_json: JsonOption = False) -> None:
    """Show what a model says of itself: whether it holds first.

    Levels, strategy, how its features were made, validation, training, versions, sizes. Nothing in it is run, unless
    you say so of an older one.
    """
    from poise.serve import read_bundle

    bundle = read_bundle(file, trust_pickle=trust_pickle)
    _check_head(file, bundle)
    if as_json:
        print_json(_describe(file, bundle))
    else:
        draw_bundle(file, bundle)


def convert(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A ZIP of older software, with a .pt or .pth file in it.")],
    out: Annotated[Path, typer.Option("--out", metavar="NEW", help="The bundle to write, as model.zip.")],
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of an older one: the same predictions, and a card that says what is not known.

    An older bundle does not say how it was validated: the verdict on it is unknown, and stays so.
    """
    from poise.serve import convert_bundle

    bundle = convert_bundle(old, out, trust_pickle=trust_pickle)
    note(f"Note: {bundle.audit['sentence']}")
    if as_json:
        print_json({"out": str(out), **_describe(out, bundle)})
        return
    origin: Mapping[str, Any] = bundle.converted_from or {}
    console().print(f"{origin['file']}: {origin['architecture']}\nWritten to {out}: {' < '.join(bundle.label_names)}")


def draw_bundle(file: Path, bundle: Bundle) -> None:
    """A bundle on stdout: the verdict and the figures, what is known of how it was made, and how large it is."""
    from poise.serve.facts import list_facts, list_limits

    screen, document = console(), bundle.to_json()
    screen.print(f"{file}\n\n{_tell_verdict(bundle)}")
    for warning in bundle.audit["warnings"]:
        screen.print(f"Note: {warning}")
    _draw_validation(bundle)
    screen.print("")
    facts = [*list_facts(document), ("size", _tell_size(file, bundle))]
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        screen.print(f"{name:{width}}  {fact}")
    screen.print("")
    for limit in list_limits(document):
        screen.print(limit)


def _tell_verdict(bundle: Bundle) -> str:
    verdict, sentence = str(bundle.audit["verdict"]), str(bundle.audit["sentence"])
    return sentence if sentence.lower().startswith(verdict) else f"Verdict: {verdict}. {sentence}"


def _draw_validation(bundle: Bundle) -> None:
    """One table for each protocol."""
    if not bundle.validation:
        console().print("There are no figures.")
    columns = ["strategy", ">n", ">qwk", ">95 % interval", ">accuracy", ">MAE"]
    for protocol in dict.fromkeys(row["protocol"] for row in bundle.validation):
        rows = [row for row in bundle.validation if row["protocol"] == protocol]
        print_table(columns, [_cells(row) for row in rows], title=f"\n{protocol}, scored: {rows[0]['scored']}")


def _cells(row: Mapping[str, Any]) -> list[str]:
    metrics, ends = row["metrics"], row["interval"].get("qwk")
    return [
        f"[{row['strategy']}]" if row.get("baseline") is True else row["strategy"],
        str(row["n"]),
        figure(metrics.get("qwk")),
        f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "–",
        figure(metrics.get("accuracy")),
        figure(metrics.get("mae")),
    ]


def _tell_size(file: Path, bundle: Bundle) -> str:
    n = sum(array.size for array in bundle.head.arrays.values())
    return f"{file.stat().st_size:,} bytes; {len(bundle.head.arrays)} arrays of {n:,} numbers"


def _describe(file: Path, bundle: Bundle) -> dict[str, Any]:
    from poise.store.schema import set_name

    arrays = bundle.head.arrays.items()
    return {
        "path": str(file),
        "bytes": file.stat().st_size,
        "verdict": bundle.audit["verdict"],
        **bundle.to_json(),
        "feature_sets": {modality: set_name(spec) for modality, spec in bundle.extraction.items()},
        "arrays": {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays},
        "card": bundle.card(),
    }


def _check_head(file: Path, bundle: Bundle) -> None:
    """Refuse a bundle whose head cannot be built: what it says would be about nothing."""
    from poise.errors import BundleError
    from poise.heads import ClipClassifier

    try:
        ClipClassifier.from_state(bundle.head)
    except BundleError as error:
        raise BundleError(f"{file}: {error}") from error
