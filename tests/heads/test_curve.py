"""Learning curves grow where there is something to learn, and attention is told of recordings that were held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poise.heads.attention import look_back
from poise.heads.contestants import Contest
from poise.heads.curve import draw_curves
from poise.heads.splits import Protocol, make_folds
from poise.heads.strategy import Strategy
from tests.heads.recordings import make_recordings

BY_SPEAKER = Protocol.parse("logo:speaker")


def contest(**recipe: object) -> tuple[Contest, list]:
    bags, manifest = make_recordings(**recipe)
    return Contest(bags=bags, manifest=manifest, seed=0), make_folds(BY_SPEAKER, manifest)


def test_more_speakers_help_where_there_is_a_signal():
    """The last point of the curve is better than the first, and is what validation without a curve says."""
    case, folds = contest(n_originals=60, n_speakers=6, signal=1.5, dim=12)
    strategy, keep = Strategy.parse("mean/early/cumulative"), np.arange(60)
    curves = draw_curves(case, strategy, BY_SPEAKER, folds, keep=keep, cluster="speaker")
    points = curves.groups.points
    assert [point.n for point in points] == [2, 3, 4, 5]
    assert points[-1].qwk > points[0].qwk + 0.05
    assert points[-1].rps < points[0].rps
    whole = case.validate(strategy, BY_SPEAKER, folds)
    accuracy = np.mean(whole.predicted[0] == case.manifest.labels)
    assert accuracy > 0.5
    assert {point.n_draws for point in points} == {5}
    assert curves.recordings.points[-1].n == 50
    document = curves.to_json()
    assert document["unit"] == "speaker"
    assert "20 more speakers" in document["outlook"]["sentence"]


def test_parts_of_one_level_are_predicted_and_not_left_out():
    """Speakers of one level each: two of them may have the same, and then nothing else can be said."""
    bags, manifest = make_recordings(n_originals=30, n_speakers=6)
    labels = np.array([int(speaker[1:]) % 3 for speaker in manifest.speakers])

    told = replace(manifest, labels=labels)
    case = Contest(bags=bags, manifest=told, seed=0)
    folds = make_folds(BY_SPEAKER, told)
    curves = draw_curves(
        case, Strategy.parse("mean/video/ridge"), BY_SPEAKER, folds, keep=np.arange(30), cluster="speaker"
    )
    assert [point.n for point in curves.groups.points] == [2, 3, 4, 5]
    assert all(np.isfinite(point.rps) for point in curves.groups.points)


def test_one_training_group_gives_no_curve():
    """It is said, and nothing is drawn."""
    case, folds = contest(n_speakers=2)
    curves = draw_curves(
        case, Strategy.parse("mean/video/ridge"), BY_SPEAKER, folds, keep=np.arange(40), cluster="speaker"
    )
    assert curves.groups is None
    assert curves.to_json()["outlook"] is None
    assert curves.to_json()["reason"] == "one group alone is left to learn from"


@pytest.mark.parametrize("text", ["attention/video/corn", "attention/early/softmax:center=speaker"])
def test_attention_is_told_of_recordings_that_were_held_out(text):
    """Once for each recording, weights that sum to 1, by models of the same folds."""
    case, folds = contest(n_originals=20, n_speakers=4)
    strategy = Strategy.parse(f"{text}{',' if ':' in text else ':'}epochs=3,n_seeds=1")
    glances = list(look_back(case, strategy, BY_SPEAKER, folds))
    weights = np.zeros(20)
    for glance in glances:
        weights[glance.row] += glance.weight
    np.testing.assert_allclose(weights, 1)
    counts = case.bags.modalities["video"].n_clips
    assert [sum(glance.row == row for glance in glances) for row in range(20)] == counts.tolist()
