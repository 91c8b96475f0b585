"""Figures of a study fold by fold, and the predictions of any of its strategies. Charts live in ``study_page``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from poise.errors import StudyError
from poise.heads.metrics import compute_scores
from poise.heads.report.reading import Prediction, Study

_FIXED = ("path", "speaker", "source", "protocol", "strategy", "repeat", "fold", "scored", "label", "predicted")
_MOST_SPEAKERS = 6


@dataclass(frozen=True, kw_only=True)
class FoldFigures:
    """What one strategy did in one fold.

    Attributes
    ----------
    repeat, fold : int
    n : int
        Recordings that were scored.
    tested : str
        Who was tested, where folds keep few people together; else empty.
    accuracy, qwk, mae : float or None
        None where it is not defined, as quadratic kappa of recordings of one level.
    """

    repeat: int
    fold: int
    n: int
    tested: str
    accuracy: float | None
    qwk: float | None
    mae: float | None


def read_folds(study: Study, strategy: str, protocol: str) -> tuple[list[FoldFigures], Study]:
    """The figures of each fold of a strategy, and the study as if that strategy led it under that protocol.

    Parameters
    ----------
    study : Study
    strategy, protocol : str
        Of a line of the leaderboard.

    Returns
    -------
    list of FoldFigures
        By repeat and fold.
    Study
        Whose ``leader`` and ``predictions`` are of this strategy.

    Raises
    ------
    StudyError
        The study says nothing of them.
    """
    rows = _read_rows(study, strategy, protocol)
    lines = [row for row in study.board["leaderboard"] if (row["strategy"], row["protocol"]) == (strategy, protocol)]
    if not rows or not lines:
        raise StudyError(f"The study has no scored prediction of {strategy} under {protocol}. Choose another.")
    folds: dict[tuple[int, int], list[Mapping[str, str]]] = {}
    for row in rows:
        folds.setdefault((int(row["repeat"]), int(row["fold"])), []).append(row)
    figures = [_figures(study, place, inside) for place, inside in sorted(folds.items())]
    leader = min(lines, key=lambda row: row["scored"] != "originals")
    predictions = tuple(_prediction(study, row) for row in rows)
    return figures, replace(study, leader=leader, predictions=predictions)


def _read_rows(study: Study, strategy: str, protocol: str) -> list[dict[str, str]]:
    path = Path(study.folder) / "predictions.csv"
    wanted = [*_FIXED, *(f"proba_{name}" for name in study.label_names)]
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            lacking = [name for name in wanted if name not in (reader.fieldnames or ())]
            if lacking:
                raise StudyError(f"{path} has no column {lacking[0]!r}. Make the study anew with `poise compare`.")
            rows = [row for row in reader if (row["strategy"], row["protocol"]) == (strategy, protocol)]
        return [row for row in rows if row["scored"] == "1" and _is_whole(row, wanted, study.label_names)]
    except (OSError, csv.Error, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{path} cannot be read: {error}. Make the study anew with `poise compare`.") from error


def _is_whole(row: Mapping[str, Any], wanted: Sequence[str], names: Sequence[str]) -> bool:
    if any(row.get(name) is None for name in wanted) or not {row["label"], row["predicted"]} <= set(names):
        raise ValueError(f"a line of {row.get('path')!r:.80} is not what poise wrote")
    return int(row["repeat"]) >= 0 and int(row["fold"]) >= 0


def _figures(study: Study, place: tuple[int, int], rows: Sequence[Mapping[str, str]]) -> FoldFigures:
    rank = {name: number for number, name in enumerate(study.label_names)}
    scores = compute_scores(
        np.array([rank[row["label"]] for row in rows]),
        np.array([rank[row["predicted"]] for row in rows]),
        np.array([[float(row[f"proba_{name}"]) for name in study.label_names] for row in rows]),
        names=("accuracy", "qwk", "mae"),
    )
    people = sorted({row["speaker"] for row in rows if row["speaker"]})
    return FoldFigures(
        repeat=place[0],
        fold=place[1],
        n=len(rows),
        tested=", ".join(people) if len(people) <= _MOST_SPEAKERS else f"{len(people)} speakers",
        **scores.values,
    )


def _prediction(study: Study, row: Mapping[str, str]) -> Prediction:
    names = study.label_names
    return Prediction(
        path=row["path"],
        group=row.get(study.board["interval_groups"]) or row["path"],
        repeat=int(row["repeat"]),
        label=names.index(row["label"]),
        predicted=names.index(row["predicted"]),
        proba=tuple(float(row[f"proba_{name}"]) for name in names),
    )
