"""Promises of the folds: the figures of any strategy, as the study has them, and a sentence where it has none."""

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from poise.app.folds import read_folds
from poise.errors import StudyError
from poise.heads.report import read_study
from tests.heads.report.studies import make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("folds") / "study", in_depth=False)


def test_folds_add_up_to_the_leaderboard(folder: Path) -> None:
    """Accuracies of folds average to that of the fold mean, and every fold names whom it tested."""
    study = read_study(folder)
    row = study.leader
    figures, same = read_folds(study, row["strategy"], row["protocol"])
    assert sum(one.n for one in figures) == row["n"]
    accuracies = [one.accuracy for one in figures]
    assert sum(accuracies) / len(accuracies) == pytest.approx(row["fold_mean"]["accuracy"])
    assert [one.fold for one in figures] == list(range(len(figures)))
    assert all(one.tested and "," not in one.tested for one in figures)
    assert same.predictions == study.predictions
    assert same.leader == row


def test_another_strategy_has_its_own_folds(folder: Path) -> None:
    """A baseline under random folds, too, and people are counted where they are many."""
    study = read_study(folder)
    figures, other = read_folds(study, "majority", "stratified:4")
    assert other.leader["strategy"] == "majority"
    assert {one.predicted for one in other.predictions} < {0, 1, 2}
    assert len(figures) == 4


def spoil(folder: Path, change: Any) -> None:
    file = folder / "predictions.csv"
    file.write_text(change(file.read_text()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",fold,", ",bend,", 1), "no column 'fold'"),
        (lambda text: text.replace(",majority,0,0,", ",majority,0,-7,"), ""),
        (lambda text: text.replace(",majority,0,1,", ",majority,0,one,"), "cannot be read"),
        (lambda text: text.replace("majority", "mini"), "no scored prediction of majority"),
        (lambda text: text + "x,y\n", ""),
    ],
)
def test_a_study_that_was_changed_by_hand_is_a_sentence(
    tmp_path: Path, folder: Path, change: Any, message: str
) -> None:
    """A column that is gone, a fold that is no number, and lines that are gone are told; others do no harm."""
    study = read_study(folder)
    spoil(Path(copytree(folder, tmp_path / "study")), change)
    changed = replace(study, folder=tmp_path / "study")
    if not message:
        assert read_folds(changed, "majority", "logo:speaker")
        return
    with pytest.raises(StudyError, match=message):
        read_folds(changed, "majority", "logo:speaker")


def test_a_study_whose_predictions_are_gone_is_a_sentence(tmp_path: Path, folder: Path) -> None:
    """As when the folder was moved while the page was open."""
    with pytest.raises(StudyError, match="cannot be read"):
        read_folds(replace(read_study(folder), folder=tmp_path), "majority", "logo:speaker")
