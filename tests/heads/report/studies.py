"""Studies for the tests of reports: real ones, and the blocks of the contract that a comparison does not write yet.

:func:`make_study` runs the real comparison; :func:`complete` adds what is not there. Once ``write_study`` writes all
blocks, ``complete`` finds them and leaves them as they are, and may be removed.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from poise.heads.compare import compare
from poise.heads.splits import Protocol
from poise.heads.strategy import Strategy
from poise.heads.study import write_study
from tests.heads.recordings import make_recordings

STRATEGIES = ("mean/early/logistic", "mean/video/logistic:alpha=10", "attention/early/softmax:epochs=3")
PROTOCOLS = ("stratified:4", "group:source:4", "logo:speaker")


def make_study(folder: Path, *, repeats: int = 1, with_speakers: bool = True) -> Path:
    """A study of three strategies under three protocols on recordings with copies, with all blocks."""
    bags, manifest = make_recordings(n_copies=12, signal=4.0)
    if not with_speakers:
        manifest = replace(manifest, speakers=None)
    protocols = PROTOCOLS if with_speakers else PROTOCOLS[:2]
    found = compare(
        bags,
        manifest,
        strategies=[Strategy.parse(text) for text in STRATEGIES],
        protocols=[Protocol.parse(text) for text in protocols],
        repeats=repeats,
        with_audit=False,
    )
    return complete(write_study(folder, found))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the board of a study on disk."""
    file = folder / "leaderboard.json"
    board = json.loads(file.read_text(encoding="utf-8"))
    change(board)
    file.write_text(json.dumps(board), encoding="utf-8")
    return folder


def complete(folder: Path, *, verdict: str = "leakage") -> Path:
    """Add the blocks of the contract that a study lacks, from its own predictions where they can be counted."""
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    def change(board: dict[str, Any]) -> None:
        for row in board["leaderboard"]:
            own = [r for r in rows if (r["strategy"], r["protocol"]) == (row["strategy"], row["protocol"])]
            _complete_row(row, [r for r in own if r["scored"] == "1"], board["label_names"])
        leaders = _leaders(board)
        if not board["comparisons"]:
            board["comparisons"] = _differences(board, leaders)
        if board["audit"] is None:
            board["audit"] = _audit(board, leaders, verdict)
        board["learning_curve"] = board["learning_curve"] or _curve(board, leaders)
        board["settings"] = board["settings"] or _settings(rows)

    edit(folder, change)
    if len((folder / "attention.csv").read_text().splitlines()) < 2:
        _write_attention(folder, rows)
    return folder


def _complete_row(row: dict[str, Any], own: list[dict[str, str]], names: list[str]) -> None:
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    groups: dict[str, list[bool]] = defaultdict(list)
    for one in own:
        sure = float(one[f"proba_{one['predicted']}"])
        right = one["predicted"] == one["label"]
        bins[min(int(sure * 10), 9)].append((sure, right))
        groups[one["speaker"]].append(right)
    row.setdefault("reliability", {"bins": [_bin(low, bins[low]) for low in range(10)], "ece": row["metrics"]["ece"]})
    by_group = [
        {"group": name, "n": len(hits), "qwk": None, "accuracy": sum(hits) / len(hits), "mae": 0.5, "rps": 0.2}
        for name, hits in sorted(groups.items())
    ]
    row.setdefault("by_group", by_group if len(groups) > 1 else [])
    row.setdefault(
        "conformal",
        {
            "level": 0.9, "coverage": 0.83, "mean_size": 2.1, "singletons": 0.2, "n_groups": len(groups),
            "lowest_group_coverage": 0.5,
            "sentence": f"Sets of 2.1 of {len(names)} levels hold the truth in 83 % of recordings; 90 % were wanted.",
        },
    )  # fmt: skip


def _bin(low: int, found: list[tuple[float, bool]]) -> dict[str, Any]:
    n = len(found)
    return {
        "low": low / 10,
        "high": (low + 1) / 10,
        "n": n,
        "confidence": sum(sure for sure, _ in found) / n if n else None,
        "accuracy": sum(right for _, right in found) / n if n else None,
    }


def _leaders(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    leaders: dict[str, dict[str, Any]] = {}
    for row in board["leaderboard"]:
        if not row["baseline"]:
            leaders.setdefault(row["protocol"], row)
    return leaders


def _differences(board: dict[str, Any], leaders: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in board["leaderboard"]:
        best = leaders[row["protocol"]]
        if row["strategy"] == best["strategy"]:
            continue
        gap = best["metrics"]["qwk"] - row["metrics"]["qwk"]
        found.append(
            {
                "protocol": row["protocol"], "scored": row["scored"], "metric": "qwk", "a": best["strategy"],
                "b": row["strategy"], "difference": gap, "interval": [gap - 0.2, gap + 0.15], "p": 0.02,
                "p_corrected": 0.0004 if gap > 0.5 else 0.3, "n_compared": 6,
                "corrected_t": {"difference": gap, "p": 0.1},
            }
        )  # fmt: skip
    return found


def _audit(board: dict[str, Any], leaders: dict[str, dict[str, Any]], verdict: str) -> dict[str, Any]:
    ladder = []
    for protocol, row in leaders.items():
        lines = {one["strategy"]: one for one in board["leaderboard"] if one["protocol"] == protocol}
        alone = next((one for name, one in lines.items() if name.startswith("group-only:")), None)
        for scored, lift in (("originals", 0.0), ("all", 0.08)):
            ladder.append(
                {
                    "protocol": protocol, "scored": scored, "n": row["n"],
                    "qwk": min(row["metrics"]["qwk"] + lift, 1), "accuracy": min(row["metrics"]["accuracy"] + lift, 1),
                    "interval": row["interval"]["qwk"] if scored == "originals" else None,
                    "group_only": alone and {"column": "speaker", "qwk": alone["metrics"]["qwk"]},
                    "majority": {"qwk": 0.0, "accuracy": lines["majority"]["metrics"]["accuracy"]},
                }
            )  # fmt: skip
    sentence = (
        "The figure of random folds is not to be believed: once the same people are kept out of training, the strategy "
        "does no better than always saying the most frequent level."
    )
    evidence = {
        "permutation": {"p": 0.62, "n_permutations": 1000, "n_strategies": len(leaders)},
        "overlap": {"sources": 0, "speakers": 6, "near_identical": ["r1.mp4", "r2.mp4"]},
        "copies": {"told_from_originals": 0.97, "predict_the_label": True},
    }
    return {"verdict": verdict, "sentence": sentence, "ladder": ladder, "evidence": evidence}


def _curve(board: dict[str, Any], leaders: dict[str, dict[str, Any]]) -> dict[str, Any]:
    row = list(leaders.values())[-1]
    value = row["metrics"]["qwk"]

    def steps(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
        return [
            {
                "n": n, "qwk": value * n / sizes[-1], "rps": 0.3 - 0.01 * place, "n_draws": 20,
                "interval": {"qwk": [value * n / sizes[-1] - 0.2, value * n / sizes[-1] + 0.2], "rps": [0.2, 0.4]},
            }
            for place, n in enumerate(sizes)
        ]  # fmt: skip

    return {
        "strategy": row["strategy"], "protocol": row["protocol"], "scored": row["scored"], "unit": "speaker",
        "groups": steps((2, 3, 4, 5)), "recordings": steps((10, 20, 30, 42)),
        "outlook": {
            "more": 20, "rps_now": 0.27, "rps_then": 0.25, "interval": [0.2, 0.29],
            "sentence": "20 more speakers would probably lower the ranked probability score from 0.27 to about 0.25.",
        },
    }  # fmt: skip


def _settings(rows: list[dict[str, str]]) -> dict[str, Any]:
    paths = {row["path"] for row in rows}
    return {
        "command": ["/usr/bin/poise", "compare", "my labels.csv", "--store", "features", "--out", "study"],
        "manifest": "my labels.csv",
        "store": "features",
        "n_recordings": len(paths),
        "n_copies": 12,
        "n_speakers": len({row["speaker"] for row in rows}),
        "feature_sets": ["videomae-base@24ee2b6180c4c0bc", "wavlm-base-plus@d46fd755ccb980f5"],
        "versions": {"poise": "0.1.0", "numpy": "2.1.0", "torch": "2.10.0"},
        "created": "2026-01-31T12:00:00+00:00",
    }


def _write_attention(folder: Path, rows: list[dict[str, str]]) -> None:
    own = [row for row in rows if row["strategy"].startswith("attention") and row["repeat"] == "0"]
    with open(folder / "attention.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "strategy", "protocol", "clip", "start_s", "end_s", "weight"])
        for number, row in enumerate(own):
            n_clips = 1 + number % 5
            weights = [1 + (number + clip) % 3 for clip in range(n_clips)]
            for clip, weight in enumerate(weights):
                fixed = [row["path"], row["strategy"], row["protocol"], clip]
                writer.writerow([*fixed, 10 * clip, 10 * clip + 10, weight / sum(weights)])
