"""Studies for the tests of reports, as the real comparison writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from poise.heads.compare import compare
from poise.heads.splits import Protocol
from poise.heads.strategy import Strategy
from poise.heads.study import write_study
from tests.heads.recordings import make_recordings

STRATEGIES = ("mean/early/cumulative", "mean/video/cumulative:alpha=0.1", "attention/early/softmax:epochs=5,hidden=8")
PROTOCOLS = ("stratified:4", "group:source:4", "logo:speaker")
SETTINGS = {
    "command": ["/usr/bin/poise", "compare", "my labels.csv", "--store", "features", "--out", "study"],
    "manifest": "my labels.csv",
    "store": "features",
    "n_recordings": 52,
    "n_copies": 12,
    "n_speakers": 5,
    "feature_sets": ["videomae-base@24ee2b6180c4c0bc", "wavlm-base-plus@d46fd755ccb980f5"],
    "versions": {"poise": "0.1.0", "numpy": "2.1.0", "torch": "2.10.0"},
    "created": "2026-01-31T12:00:00+00:00",
}


def make_study(
    folder: Path, *, repeats: int = 1, with_speakers: bool = True, with_audit: bool = True, in_depth: bool = True
) -> Path:
    """A study of strategies under three protocols, on recordings with copies whose features show the label."""
    bags, manifest = make_recordings(n_copies=12, signal=4.0)
    if not with_speakers:
        manifest = replace(manifest, speakers=None)
    found = compare(
        bags,
        manifest,
        strategies=[Strategy.parse(text) for text in (STRATEGIES if in_depth else STRATEGIES[:2])],
        protocols=[Protocol.parse(text) for text in (PROTOCOLS if with_speakers else PROTOCOLS[:2])],
        repeats=repeats,
        with_audit=with_audit,
        in_depth=in_depth,
    )
    return write_study(folder, found, settings=SETTINGS)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the board of a study on disk."""
    file = folder / "leaderboard.json"
    board = json.loads(file.read_text(encoding="utf-8"))
    change(board)
    file.write_text(json.dumps(board), encoding="utf-8")
    return folder
