"""Reading a study that ``poise compare`` wrote: what a report draws, checked. Nothing is fitted or drawn here."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from poise.errors import StudyError
from poise.heads.report.checking import check_board, check_splits, parse_json
from poise.store.regular import open_regular, read_regular

_MOST_TABLE_BYTES = 1 << 32  # a row takes 200 bytes: 10,000 recordings under 2,000 strategies and protocols
_LONGEST_LINE = 1 << 22
_ANEW = "Make the study anew with `poise compare … --out STUDY`."


class Prediction(NamedTuple):
    """One out-of-fold prediction of the leading strategy under the hardest protocol.

    ``label`` and ``predicted`` are ranks; ``group`` is the speaker, or the source where no speakers are given.
    """

    path: str
    group: str
    repeat: int
    label: int
    predicted: int
    proba: tuple[float, ...]


class AttentionClip(NamedTuple):
    """How much one clip of a recording counted; the weights of a recording add up to one.

    Times are None where nobody knows them, as of features that were imported.
    """

    start_s: float | None
    end_s: float | None
    weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What a study's folder holds, as far as a report shows it.

    Attributes
    ----------
    folder : Path
    board : mapping
        ``leaderboard.json``, checked.
    n_folds : dict of str to int
        Folds of each protocol, over all repeats.
    leader : mapping
        Line of the leading strategy under the hardest protocol: the best that is no baseline.
    predictions : tuple of Prediction
        Of the leader under its protocol, for the recordings that are scored.
    attention : dict of str to list of AttentionClip
        Path to clips, of the strategy `attention_of` under the hardest protocol that has weights; empty without any.
    attention_of : tuple of str
        Strategy and protocol; both empty without any.
    attended : tuple of Prediction
        Of that strategy under that protocol, for the recordings that are scored.
    """

    folder: Path
    board: Mapping[str, Any]
    n_folds: Mapping[str, int]
    leader: Mapping[str, Any]
    predictions: tuple[Prediction, ...]
    attention: Mapping[str, Sequence[AttentionClip]]
    attention_of: tuple[str, str]
    attended: tuple[Prediction, ...]

    @property
    def label_names(self) -> list[str]:
        """Names of the levels, lowest first."""
        return list(self.board["label_names"])

    @property
    def protocols(self) -> list[str]:
        """Protocols of the leaderboard, hardest first."""
        return sort_hardest_first(self.board)


def read_study(folder: str | os.PathLike[str]) -> Study:
    """Read a study.

    Parameters
    ----------
    folder : path
        What ``poise compare --out`` or :func:`poise.heads.write_study` wrote.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        The folder is no study, is not whole, is of an older layout, or its files do not belong together.
    """
    path = Path(folder)
    _check_whole(path)
    board = check_board(_read_json(path / "leaderboard.json"), f"{path / 'leaderboard.json'}")
    splits = check_splits(_read_json(path / "splits.json"), f"{path / 'splits.json'}")["protocols"]
    if {name: each["hash"] for name, each in splits.items()} != board["splits"]:
        raise StudyError(
            f"{path}: splits.json and leaderboard.json are not of one run, as after a run that was stopped while it "
            f"wrote. {_ANEW}"
        )
    leader = _find_leader(board)
    attention_of = _find_attention(path / "attention.csv", board, leader)
    predictions = _read_predictions(path / "predictions.csv", board, leader)
    return Study(
        folder=path,
        board=board,
        n_folds={name: len(each["folds"]) for name, each in splits.items()},
        leader=leader,
        predictions=predictions,
        attention=_read_attention(path / "attention.csv", *attention_of) if attention_of[0] else {},
        attention_of=attention_of,
        attended=predictions if attention_of == _name(leader) else _read_attended(path, board, attention_of),
    )


def _name(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["strategy"], row["protocol"]


def _read_attended(path: Path, board: Mapping[str, Any], attention_of: tuple[str, str]) -> tuple[Prediction, ...]:
    lines = [row for row in board["leaderboard"] if _name(row) == attention_of]
    lines.sort(key=lambda row: row["scored"] != "originals")
    return _read_predictions(path / "predictions.csv", board, lines[0]) if lines else ()


def sort_hardest_first(board: Mapping[str, Any]) -> list[str]:
    """Protocols by what they keep apart: people, then other groups, then a copy and its source, then nothing."""
    names = list(dict.fromkeys(row["protocol"] for row in board["leaderboard"]))
    rungs = [rung["protocol"] for rung in (board["audit"] or {}).get("ladder", ())]
    return sorted(names, key=lambda name: (_hardness(name), rungs.index(name) if name in rungs else -1), reverse=True)


def _hardness(protocol: str) -> int:
    kind, _, rest = protocol.partition(":")
    column = rest.partition(":")[0]
    if kind not in ("group", "logo"):
        return 0
    return {"source": 1, "speaker": 3}.get(column, 2)


def _check_whole(path: Path) -> None:
    if not os.path.isdir(path):
        what = "is a file, not a study's folder" if os.path.exists(path) else "does not exist"
        raise StudyError(f"{path} {what}. Give the folder that `poise compare … --out STUDY` wrote.")
    lacking = [
        name for name in ("splits.json", "predictions.csv", "leaderboard.json") if not os.path.isfile(path / name)
    ]
    if len(lacking) == 3:
        raise StudyError(f"{path} holds no study. Give the folder that `poise compare … --out STUDY` wrote.")
    if lacking:
        raise StudyError(f"The study in {path} is not whole: it has no {' and no '.join(lacking)}. {_ANEW}")


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_regular(path).decode("utf-8", "surrogateescape"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read: {error}. {_ANEW}") from error


def _find_leader(board: Mapping[str, Any]) -> Mapping[str, Any]:
    """The best line that is no baseline; where all are, the best that is fitted to features."""
    lines = [row for row in board["leaderboard"] if row["protocol"] == sort_hardest_first(board)[0]]
    originals = [row for row in lines if row["scored"] == "originals"]
    lines = originals or lines
    own = [row for row in lines if not row["baseline"]] or [row for row in lines if "/" in row["strategy"]] or lines
    return max(own, key=_kappa)  # the first of equals


def _kappa(row: Mapping[str, Any]) -> float:
    value = row["metrics"].get("qwk")
    return -math.inf if value is None else float(value)


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Header and rows of a CSV that has these columns."""
    try:
        with (
            open_regular(path, max_bytes=_MOST_TABLE_BYTES) as file,
            io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as text,
        ):
            rows = csv.reader(_lines(text), strict=True)
            header = next(rows, [])
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise StudyError(f"{path} has no column {lacking[0]!r}: it is not what poise wrote. {_ANEW}")
            yield header, (_check_width(row, header, rows.line_num) for row in rows if row)
    except (OSError, csv.Error, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"{path} cannot be read: {error}. {_ANEW}") from error


def _lines(text: TextIO) -> Iterator[str]:
    """Lines, none of which fills the memory, and no more of them than such a table has, also while it grows."""
    left = _MOST_TABLE_BYTES
    while line := text.readline(_LONGEST_LINE + 1):
        left -= len(line)
        if len(line) > _LONGEST_LINE or left < 0:
            raise ValueError(
                f"a line is longer than {_LONGEST_LINE:,} characters, or the whole than {_MOST_TABLE_BYTES:,}"
            )
        yield line


def _check_width(row: list[str], header: Sequence[str], line: int) -> list[str]:
    if len(row) != len(header):
        raise ValueError(f"line {line} has {len(row)} cells under {len(header)} headings")
    return row


def _read_predictions(path: Path, board: Mapping[str, Any], leader: Mapping[str, Any]) -> tuple[Prediction, ...]:
    names = board["label_names"]
    rank = {name: number for number, name in enumerate(names)}
    shares = [f"proba_{name}" for name in names]
    fixed = ["path", "speaker", "protocol", "strategy", "repeat", "scored", "label", "predicted"]
    with _table(path, [*fixed, *shares]) as (header, rows):
        place = {name: number for number, name in enumerate(header)}
        group = place.get(board["interval_groups"], place["path"])
        wanted = (leader["strategy"], leader["protocol"])
        found = tuple(
            Prediction(
                path=row[place["path"]],
                group=row[group] or row[place["path"]],
                repeat=int(row[place["repeat"]]),
                label=_level(rank, row[place["label"]], path),
                predicted=_level(rank, row[place["predicted"]], path),
                proba=tuple(_share(row[place[name]]) for name in shares),
            )
            for row in rows
            if (row[place["strategy"]], row[place["protocol"]]) == wanted and row[place["scored"]] == "1"
        )
    if len(found) != leader["n"] * board["repeats"]:
        raise StudyError(
            f"{path} holds {len(found)} scored predictions of {leader['strategy']} under {leader['protocol']}; "
            f"expected {leader['n']} x {board['repeats']} as leaderboard.json says. {_ANEW}"
        )
    return found


def _level(rank: Mapping[str, int], name: str, path: Path) -> int:
    if name not in rank:
        raise StudyError(f"{path} names the level {name!r}; leaderboard.json knows {', '.join(rank)}. {_ANEW}")
    return rank[name]


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1.001:
        raise ValueError(f"{text} is not a probability")
    return share


def _find_attention(path: Path, board: Mapping[str, Any], leader: Mapping[str, Any]) -> tuple[str, str]:
    """Strategy and protocol whose attention is shown: the leader's if it has any, else the next best one's."""
    if not os.path.lexists(path):
        return "", ""
    with _table(path, ["strategy", "protocol"]) as (header, rows):
        first, second = header.index("strategy"), header.index("protocol")
        have = {(row[first], row[second]) for row in rows}
    for protocol in sort_hardest_first(board):
        lines = [row for row in board["leaderboard"] if row["protocol"] == protocol]
        for row in [leader, *sorted(lines, key=_kappa, reverse=True)]:
            if (row["strategy"], protocol) in have:
                return row["strategy"], protocol
    return "", ""


def _read_attention(path: Path, strategy: str, protocol: str) -> dict[str, list[AttentionClip]]:
    found: dict[str, list[AttentionClip]] = {}
    columns = ["path", "strategy", "protocol", "start_s", "end_s", "weight"]
    with _table(path, columns) as (header, rows):
        at = [header.index(name) for name in columns]
        for row in rows:
            name, of, under, *numbers = (row[place] for place in at)
            if (of, under) == (strategy, protocol):
                found.setdefault(name, []).append(_clip(numbers))
    return found


def _clip(texts: list[str]) -> AttentionClip:
    start, end, weight = (float(text) if text else None for text in texts)
    timed = start is not None and end is not None and 0 <= start < end < math.inf
    if weight is None or not 0 <= weight <= 1.001 or not (timed or start is end is None):
        raise ValueError(f"{', '.join(texts)} is not a clip with a weight")
    return AttentionClip(start, end, weight)
