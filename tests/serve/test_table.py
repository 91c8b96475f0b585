"""Promises of the table of predictions: rows as they come, nothing else overwritten, a full disk told."""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from poise.errors import OutputError
from poise.serve.table import PredictionTable

RESULT: dict[str, Any] = {
    "path": 'a,"b".mp4',
    "label": "low",
    "abstains": False,
    "trusted": True,
    "likely": ["low", "moderate"],
    "proba": {"low": 0.75, "moderate": 0.25},
    "duration_s": 4.5,
    "flags": ["dark:0", "short"],
    "because": [],
    "doubts": [],
    "notes": [],
}


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_each_row_is_there_before_the_next_comes(tmp_path: Path) -> None:
    """Whatever a path holds, and also of a file that failed."""
    path = tmp_path / "new" / "out.csv"
    with PredictionTable(path, ["low", "moderate"]) as table:
        assert read(path) == []
        table.add(RESULT)
        (row,) = read(path)
        assert row["path"] == 'a,"b".mp4'
        assert (row["label"], row["trusted"], row["likely"]) == ("low", "true", "low; moderate")
        assert (float(row["proba_low"]), float(row["duration_s"])) == (0.75, 4.5)
        assert row["flags"] == "dark:0; short"
        odd = os.fsdecode(b"\xff.mp4")
        table.add({**RESULT, "path": odd, "label": None, "likely": None, "proba": None, "error": "no film"})
    failed = read(path)[1]
    assert (failed["path"], failed["label"], failed["proba_low"], failed["error"]) == (odd, "", "", "no film")


def test_an_older_table_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """A table of labels, a folder and a place that cannot be are refused, and left as they are."""
    path = tmp_path / "out.csv"
    for names in (["low", "high"], ["a", "b", "c"]):
        with PredictionTable(path, names) as table:
            table.add({**RESULT, "proba": dict.fromkeys(names, 0.5)})
    assert "proba_c" in read(path)[0]
    (tmp_path / "empty.csv").touch()
    with PredictionTable(tmp_path / "empty.csv", ["low"]):
        pass
    labels = tmp_path / "manifest.csv"
    labels.write_text("path,label\na.mp4,low\n")
    for bad, message in [
        (labels, "is not a table of predictions"),
        (tmp_path, "is a folder"),
        (labels / "out.csv", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
    ]:
        with pytest.raises(OutputError, match=message):
            PredictionTable(bad, ["low"])
    assert labels.read_text() == "path,label\na.mp4,low\n"


def test_an_older_table_stays_until_the_first_row_is_known(tmp_path: Path) -> None:
    """So that a run that is stopped at once costs nothing; the new one has nothing of the old."""
    path = tmp_path / "out.csv"
    with PredictionTable(path, ["low", "moderate"]) as table:
        table.add({**RESULT, "path": "a long name " * 50})
        table.add(RESULT)
    before = path.read_bytes()
    with PredictionTable(path, ["low", "moderate"]):
        pass
    assert path.read_bytes() == before
    with PredictionTable(path, ["low", "moderate"]) as table:
        table.add(RESULT)
        assert [row["path"] for row in read(path)] == [RESULT["path"]]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of files there")
def test_a_table_that_is_being_written_is_left_to_whoever_writes_it(tmp_path: Path) -> None:
    """Also by another name; once it is closed, it can be replaced."""
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    with PredictionTable(path, ["low", "moderate"]) as table:
        table.add(RESULT)
        for name in (path, link):
            with pytest.raises(OutputError, match=r"is being written by another poise; expected .*give another --csv"):
                PredictionTable(name, ["low"])
        table.add(RESULT)
    assert len(read(path)) == 2
    with PredictionTable(path, ["low"]) as table:
        table.add({**RESULT, "proba": {"low": 1.0}})
    assert len(read(path)) == 1


def test_a_full_disk_is_one_sentence() -> None:
    """At the first row that finds no room."""
    with pytest.raises(OutputError, match=r"/dev/full cannot be written any more: No space left .*has 0 rows"):
        PredictionTable("/dev/full", ["low"])
