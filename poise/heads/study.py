"""A study on disk: leaderboard, out-of-fold predictions and splits of a comparison. Nothing is computed here."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poise.errors import OutputError
from poise.heads.comparison import Comparison
from poise.heads.splits import hash_folds
from poise.manifest import Manifest
from poise.store.runs import library_versions
from poise.store.schema import Spec, set_name
from poise.table import replace_text

FILES = ("splits.json", "predictions.csv", "attention.csv", "leaderboard.csv", "leaderboard.json")
"""Files of a study: a folder with the first is one, a folder with the last is a complete one."""


def write_study(
    folder: str | os.PathLike[str], comparison: Comparison, *, settings: Mapping[str, Any] | None = None
) -> Path:
    """Write a comparison into a folder, replacing a study that is there.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    comparison : Comparison
    settings : mapping, optional
        How it came about, as JSON: command, features, versions.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        The folder holds something that is no study, or cannot be written.
    """
    path = Path(folder)
    check_folder(path)
    writers: dict[str, Callable[[Comparison], str]] = {
        "splits.json": lambda found: _dump(_splits(found)),
        "predictions.csv": _predictions,
        "attention.csv": _attention,
        "leaderboard.csv": _leaderboard,
        "leaderboard.json": lambda found: _dump(found.to_json(study=str(path), settings=settings)),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            replace_text(path / name, writers[name](comparison))
    except OSError as error:
        raise OutputError(f"The study cannot be written to {path}: {error.strerror}. Choose another --out.") from error
    return path


def describe_study(
    command: Sequence[str],
    manifest: str | os.PathLike[str],
    store: str | os.PathLike[str],
    recordings: Manifest,
    specs: Mapping[str, Spec],
) -> dict[str, Any]:
    """What is needed to make a study again: the ``settings`` of :func:`write_study`.

    Parameters
    ----------
    command : sequence of str
        That makes it.
    manifest, store : path
        As the command names them.
    recordings : Manifest
    specs : mapping of str to mapping
        Spec of the feature set of each modality.

    Returns
    -------
    dict
        JSON values.
    """
    people = recordings.speakers
    return {
        "command": list(command),
        "manifest": os.fspath(manifest),
        "store": os.fspath(store),
        "n_recordings": len(recordings),
        "n_copies": int(recordings.is_copy.sum()),
        "n_speakers": len(set(people.tolist())) if people is not None else None,
        "feature_sets": [set_name(spec) for spec in specs.values()],
        "versions": dict(library_versions()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_folder(path: Path) -> None:
    """Refuse to write a study where there is something else.

    Raises
    ------
    OutputError
        The folder holds something that is no study, cannot be read, or is a file.
    """
    try:
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be read: {error.strerror}. Choose another --out.") from error
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; a study is a folder. Choose another --out.")
    if names and FILES[0] not in names:
        raise OutputError(
            f"The folder {path} holds {len(names)} files but no study, so it is left as it is. "
            "Choose a new or empty folder for --out."
        )


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _splits(comparison: Comparison) -> dict[str, Any]:
    paths = comparison.manifest.paths
    protocols = {}
    for protocol, folds in comparison.folds.items():
        tests = [
            {"repeat": fold.repeat, "fold": fold.fold, "test": [paths[row] for row in fold.test]} for fold in folds
        ]
        trained = sorted({int(row) for fold in folds for row in fold.test})
        protocols[protocol] = {
            "hash": hash_folds(folds, comparison.manifest),
            "recordings": [paths[row] for row in trained],
            "folds": tests,
        }
    return {"seed": comparison.seed, "repeats": comparison.repeats, "protocols": protocols}


def _predictions(comparison: Comparison) -> str:
    names = comparison.manifest.label_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    fixed = ["path", "speaker", "source", "protocol", "strategy", "repeat", "fold", "scored", "label", "predicted"]
    writer.writerow([*fixed, *(f"proba_{name}" for name in names)])
    writer.writerows(_prediction_rows(comparison))
    return text.getvalue()


def _leaderboard(comparison: Comparison) -> str:
    """The leaderboard as a table; an undefined number is an empty cell."""
    text = io.StringIO()
    lines = [row.cells() for row in comparison.rows]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _attention(comparison: Comparison) -> str:
    """Where a strategy looked; an unknown time is an empty cell. Only the header where none has attention."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "strategy", "protocol", "clip", "start_s", "end_s", "weight"])
    for glance in comparison.glances:
        times = ("" if math.isnan(time) else time for time in (glance.start_s, glance.end_s))
        path = comparison.manifest.paths[glance.row]
        writer.writerow([path, glance.strategy, glance.protocol, glance.clip, *times, glance.weight])
    return text.getvalue()


def _prediction_rows(comparison: Comparison) -> Iterator[list[Any]]:
    manifest, scored = comparison.manifest, set(comparison.scored_rows.tolist())
    names = manifest.label_names
    for (strategy, protocol), found in comparison.predictions.items():
        for repeat in range(len(found.predicted)):
            for place, row in enumerate(found.rows.tolist()):
                yield [
                    manifest.paths[row],
                    "" if manifest.speakers is None else manifest.speakers[row],
                    manifest.paths[int(manifest.sources[row])],
                    protocol,
                    strategy,
                    repeat,
                    int(found.fold[repeat, place]),
                    int(row in scored),
                    names[manifest.labels[row]],
                    names[found.predicted[repeat, place]],
                    *(repr(float(share)) for share in found.proba[repeat, place]),
                ]
