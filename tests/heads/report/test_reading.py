"""Reading a study: what is whole is read, what is not is refused with its name and what to do."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poise.errors import StudyError
from poise.heads.report.checking import parse_json
from poise.heads.report.reading import read_study
from tests.heads.report.studies import edit, make_study


def test_leader_is_the_best_in_the_hardest_test(study_folder: Path) -> None:
    """The line with the highest kappa that is no baseline, where people are kept apart, and its scored predictions."""
    study = read_study(study_folder)
    assert study.protocols == ["logo:speaker", "group:source:4", "stratified:4"]
    assert study.leader["protocol"] == "logo:speaker"
    own = [row for row in study.board["leaderboard"] if row["protocol"] == "logo:speaker" and not row["baseline"]]
    assert study.leader["metrics"]["qwk"] == max(row["metrics"]["qwk"] for row in own)
    assert len(study.predictions) == study.leader["n"] == 40
    right = sum(one.label == one.predicted for one in study.predictions)
    assert right / 40 == pytest.approx(study.leader["metrics"]["accuracy"])
    assert {one.group for one in study.predictions} == {"s0", "s1", "s2", "s3", "s4"}
    assert study.n_folds == {"stratified:4": 4, "group:source:4": 4, "logo:speaker": 5}


def test_attention_is_that_of_the_leader_or_of_the_next_that_has_any(study_folder: Path, own_folder: Path) -> None:
    """With its own predictions beside it; without a file there is none."""
    study = read_study(study_folder)
    assert study.attention_of == ("attention/early/softmax:epochs=5,hidden=8", "logo:speaker")
    assert len(study.attention) == 52
    assert len(study.attended) == 40
    (own_folder / "attention.csv").write_text("path,strategy,protocol,clip,start_s,end_s,weight\na,other,x,0,0,1,1\n")
    assert read_study(own_folder).attention_of == ("", "")
    (own_folder / "attention.csv").unlink()
    assert read_study(own_folder).attention == {}


def test_study_of_baselines_alone_has_a_leader(own_folder: Path) -> None:
    """Where every line is a baseline, the leader is the one that is fitted to features."""
    edit(own_folder, lambda board: [row.update(baseline=True) for row in board["leaderboard"]])
    assert "/" in read_study(own_folder).leader["strategy"]
    edit(own_folder, lambda board: board.update(leaderboard=board["leaderboard"][:1]))
    assert read_study(own_folder).leader["strategy"] == "majority"


def test_repeats_are_all_read(tmp_path: Path) -> None:
    """Every repeat's predictions are there, and sources are the groups where nobody says who speaks."""
    study = read_study(make_study(tmp_path / "study", repeats=2, with_speakers=False, with_audit=False, in_depth=False))
    assert study.protocols[0] == "group:source:4"
    assert len(study.predictions) == 80
    assert {one.repeat for one in study.predictions} == {0, 1}


def test_folder_that_is_no_whole_study_is_refused(own_folder: Path, tmp_path: Path) -> None:
    """Nothing there, a file, another folder, and a study whose last file was not written."""
    with pytest.raises(StudyError, match=r"nothing does not exist\. Give the folder"):
        read_study(tmp_path / "nothing")
    for place in ("x" * 300, "a\0b"):
        with pytest.raises(StudyError, match=r"does not exist\. Give the folder"):
            read_study(place)
    with pytest.raises(StudyError, match="is a file, not a study's folder"):
        read_study(own_folder / "splits.json")
    (tmp_path / "other").mkdir()
    with pytest.raises(StudyError, match="holds no study"):
        read_study(tmp_path / "other")
    (own_folder / "leaderboard.json").unlink()
    with pytest.raises(StudyError, match=r"is not whole: it has no leaderboard\.json"):
        read_study(own_folder)


def test_study_without_an_audit_in_it_is_of_an_older_layout(own_folder: Path) -> None:
    """It says so, and how to make it anew."""
    edit(own_folder, lambda board: board.pop("audit"))
    with pytest.raises(
        StudyError, match="no 'audit': the study is of an older layout. Make it anew with `poise compare"
    ):
        read_study(own_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda board: board.pop("label_names"), "has no label_names"),
        (lambda board: board.update(leaderboard=[]), "has 0 lines and 3 levels"),
        (lambda board: board.update(label_names=["low"]), "lines and 1 levels"),
        (lambda board: board.update(leaderboard={}), "leaderboard is {}; expected a list"),
        (lambda board: board.update(seed=-1), "seed is -1; expected a whole number from 0 on"),
        (lambda board: board.update(repeats=True), "repeats is True; expected a whole number"),
        (lambda board: board.update(warnings="none"), "warnings is 'none'; expected a list"),
        (lambda board: board["leaderboard"][1].pop("metrics"), r"has no leaderboard\[1\]\.metrics"),
        (
            lambda board: board["leaderboard"][0]["metrics"].update(qwk="a"),
            r"metrics\['qwk'\] is 'a'; expected a number",
        ),
        (lambda board: board["leaderboard"][0]["metrics"].update(qwk=10**30), "expected a number or null"),
        (lambda board: board["leaderboard"][0]["metrics"].update(qwk=10**400), "expected a number or null"),
        (lambda board: board.update(seed=10**400), "seed is 10+…; expected a whole number"),
        (lambda board: board["audit"]["evidence"].update(strategy=-1), "strategy is -1; expected a text"),
        (lambda board: board["leaderboard"][0]["interval"].update(qwk=[1]), r"is \[1\]; expected two numbers"),
        (lambda board: board["leaderboard"][0].update(baseline="no"), "baseline is 'no'; expected true or false"),
        (lambda board: board["audit"].update(sentence=["x" * 90]), r"sentence is \['x+…; expected a text"),
        (lambda board: board.update(splits=[]), r"splits is \[\]; expected an object"),
        (lambda board: board["audit"]["ladder"][0].update(group_only={"column": "a"}), r"group_only\.qwk"),
        (
            lambda board: board["leaderboard"][0]["reliability"]["bins"][0].update(low=None),
            "low is None; expected a num",
        ),
    ],
)
def test_board_that_does_not_say_what_it_must_is_refused(
    own_folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """The message names the place, what is there and what was expected."""
    edit(own_folder, change)
    with pytest.raises(StudyError, match=message):
        read_study(own_folder)


def test_files_that_are_no_json_are_refused(own_folder: Path) -> None:
    """Half a file, numbers that are none, and nesting without end."""
    for text in ('{"leaderboard": [', "[NaN]", "[" * 100_000, "[" * 60 + "]" * 60):
        (own_folder / "leaderboard.json").write_text(text)
        with pytest.raises(StudyError, match=r"leaderboard\.json cannot be read"):
            read_study(own_folder)
    (own_folder / "leaderboard.json").write_text("[]")
    with pytest.raises(StudyError, match=r"the whole is \[\]; expected an object"):
        read_study(own_folder)


@pytest.mark.parametrize("name", ["attention.csv", "predictions.csv", "leaderboard.json", "splits.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "giant", "long line", "link to nothing"])
def test_a_file_that_never_ends_is_refused(own_folder: Path, name: str, kind: str) -> None:
    """A pipe that nobody writes into, a device, more than a study holds, a line that would fill the memory."""
    place = own_folder / name
    place.unlink()
    if kind == "giant":
        with place.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "long line":
        place.write_text("x" * (5 << 20))
    else:
        targets = {"device": "/dev/zero", "link to nothing": "nothing"}
        makers = {"pipe": os.mkfifo, "folder": os.mkdir}
        makers.get(kind, lambda path: path.symlink_to(targets[kind]))(place)
    with pytest.raises(StudyError, match=rf"{name} cannot be read: |has no {name}"):
        read_study(own_folder)


def test_json_has_ordinary_numbers_only() -> None:
    """What other programs would not read is not read here."""
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="Infinity is not a number"):
        parse_json("-Infinity".removeprefix("-"))
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 51 + "]" * 51)


def test_files_of_two_runs_are_refused(own_folder: Path) -> None:
    """Splits, leaderboard and predictions must be of one run."""
    splits = json.loads((own_folder / "splits.json").read_text())
    splits["protocols"]["logo:speaker"]["hash"] = "other"
    (own_folder / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(StudyError, match="not of one run"):
        read_study(own_folder)
    (own_folder / "splits.json").write_text("{}")
    with pytest.raises(StudyError, match="has no protocols"):
        read_study(own_folder)


def test_predictions_that_do_not_belong_to_the_board_are_refused(own_folder: Path) -> None:
    """Too few of them, of other levels, with no probabilities, or no table."""
    file = own_folder / "predictions.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-20]))
    with pytest.raises(StudyError, match=r"scored predictions of .* expected 40 x 1"):
        read_study(own_folder)
    file.write_text("\n".join(line.replace(",low,", ",lowest,") for line in lines))
    with pytest.raises(StudyError, match="names the level 'lowest'"):
        read_study(own_folder)
    file.write_text("\n".join(lines).replace("proba_low", "p_low"))
    with pytest.raises(StudyError, match="has no column 'proba_low'"):
        read_study(own_folder)
    with file.open("w", newline="") as text:
        csv.writer(text).writerows(
            [*row[:-1], "nan"] if number else row for number, row in enumerate(csv.reader(lines))
        )
    with pytest.raises(StudyError, match="nan is not a probability"):
        read_study(own_folder)
    file.write_text("\n".join([lines[0], *(line[:20] for line in lines[1:])]))
    with pytest.raises(StudyError, match=r"predictions\.csv cannot be read: line 2 has . cells under 13 headings"):
        read_study(own_folder)


def test_attention_that_is_none_is_refused(own_folder: Path) -> None:
    """A clip must begin before it ends, and weigh something between 0 and 1."""
    file = own_folder / "attention.csv"
    with file.open(newline="") as text:
        rows = list(csv.reader(text))
    for wrong in (["20", "10", "0.5"], ["0", "", "0.5"], ["0", "10", "1.5"], ["0", "10", "nan"], ["0", "10", ""]):
        with file.open("w", newline="") as text:
            csv.writer(text).writerows([*rows, [*rows[-1][:4], *wrong]])
        with pytest.raises(StudyError, match=f"{', '.join(wrong)} is not a clip with a weight"):
            read_study(own_folder)
    file.write_text("path,weight\n")
    with pytest.raises(StudyError, match="has no column 'strategy'"):
        read_study(own_folder)
