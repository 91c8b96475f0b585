"""`poise report`: one page of a study, or one clear block on why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.heads.report.studies import edit, make_study
from tests.test_cli import assert_refused, poise


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a verdict."""
    return make_study(tmp_path_factory.mktemp("studies") / "study", in_depth=False)


def test_report_lies_in_the_study_or_where_it_is_asked_for(study: Path, tmp_path: Path) -> None:
    """The path is printed, and both pages are the same."""
    assert poise("report", study).stdout == f"Report written to {study / 'report.html'}\n"
    target = tmp_path / "elsewhere" / "page.html"
    assert poise("report", study, "--out", target).stdout == f"Report written to {target}\n"
    assert target.read_bytes() == (study / "report.html").read_bytes()
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_report_as_json_says_what_is_shown(study: Path, tmp_path: Path) -> None:
    """One document with path, verdict and every section; a section without data has its reason."""
    result = poise("report", study, "--out", tmp_path / "a.html", "--json")
    document = json.loads(result.stdout)
    assert document["report"] == str(tmp_path / "a.html")
    assert document["verdict"] == "supported"
    assert [one["name"] for one in document["sections"]][:3] == ["verdict", "ladder", "board"]
    absent = {one["name"]: one["reason"] for one in document["sections"] if not one["shown"]}
    assert list(absent) == ["learning", "attention"]
    assert all(absent.values())
    assert all(one["reason"] is None for one in document["sections"] if one["shown"])


def test_report_as_json_of_a_study_without_a_verdict(study: Path, tmp_path: Path) -> None:
    """The verdict is null then, and the ladder says why it is not shown."""
    before = (study / "leaderboard.json").read_text()
    edit(study, lambda board: board.update(audit=None))
    document = json.loads(poise("report", study, "--out", tmp_path / "a.html", "--json").stdout)
    (study / "leaderboard.json").write_text(before)
    assert document["verdict"] is None
    ladder = document["sections"][1]
    assert (ladder["name"], ladder["shown"]) == ("ladder", False)
    assert ladder["reason"]


def test_report_refuses_what_is_no_study_and_what_is_no_report(study: Path, tmp_path: Path) -> None:
    """With the exit code of a failure, and the file that stood there stays."""
    assert_refused(poise("report", tmp_path), 1, "holds no study")
    other = tmp_path / "notes.html"
    other.write_text("mine")
    assert_refused(poise("report", study, "--out", other), 1, "is not a report, so it is left as it is")
    assert other.read_text() == "mine"
