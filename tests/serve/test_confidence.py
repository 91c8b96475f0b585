"""Promises of the levels that a prediction leaves possible: how often they hold the true one, and what is refused."""

from typing import Any

import numpy as np
import pytest

from poise.errors import BundleError
from poise.heads import Strategy, compare
from poise.heads.splits import Protocol
from poise.heads.statistics.conformal import LEVEL, calibrate_sets
from poise.serve.confidence import Confidence, calibrate, read_confidence
from tests.heads.recordings import make_recordings

STRATEGY = "mean/early/cumulative:alpha=1"


def calibrated(n_speakers: int, *, seed: int = 0, repeats: int = 1) -> tuple[dict[str, Any], Any]:
    bags, manifest = make_recordings(n_speakers=n_speakers, signal=1.0, seed=seed)
    protocols = [Protocol.parse("stratified:3"), Protocol.parse(f"group:speaker:{min(n_speakers, 5)}")]
    found = compare(
        bags,
        manifest,
        strategies=[Strategy.parse(STRATEGY)],
        protocols=protocols,
        repeats=repeats,
        with_audit=False,
    )
    return calibrate(found, STRATEGY), found


def test_the_hardest_protocol_is_what_sets_are_calibrated_on() -> None:
    """On predictions of speakers that were not learnt from, of all repeats, each speaker counting the same."""
    said, found = calibrated(8, repeats=2)
    assert (said["level"], said["protocol"], said["n_groups"], said["reason"]) == (LEVEL, "group:speaker:5", 8, "")
    seen = found.predictions[STRATEGY, "group:speaker:5"]
    people = found.manifest.speakers
    expected = calibrate_sets(
        np.concatenate(seen.proba), np.tile(found.manifest.labels, 2), LEVEL, groups=np.tile(people, 2)
    )
    assert said["threshold"] == expected
    assert read_confidence({"confidence": said}) == Confidence(level=LEVEL, threshold=expected)


def test_sets_hold_the_true_level_of_new_speakers_as_often_as_they_promise() -> None:
    """Calibrated on ten speakers' predictions, over 200 other speakers."""
    rng = np.random.default_rng(0)

    def speakers(n: int) -> tuple[Any, Any, Any]:
        ranks = rng.integers(0, 3, (n, 6))
        shift = rng.normal(0, 0.7, (n, 1))  # whom the model sees too high or too low
        logits = -((np.arange(3) - (ranks + shift + rng.normal(0, 0.6, ranks.shape))[..., None]) ** 2) * 2
        proba = np.exp(logits)
        return proba / proba.sum(-1, keepdims=True), ranks, np.repeat(np.arange(n), 6)

    held = []
    for _ in range(20):
        proba, ranks, groups = speakers(10)
        limit = calibrate_sets(proba.reshape(-1, 3), ranks.ravel(), LEVEL, groups=groups)
        sets = Confidence(level=LEVEL, threshold=limit)
        proba, ranks, _ = speakers(10)
        held += [
            rank in sets.levels(row, int(row.argmax()))
            for row, rank in zip(proba.reshape(-1, 3), ranks.ravel(), strict=True)
        ]
    assert np.mean(held) > LEVEL - 0.02


def test_the_predicted_level_is_always_among_them() -> None:
    """The median of a distribution need not be its mode."""
    sets = Confidence(level=LEVEL, threshold=0.0)
    proba = np.array([0.4, 0.25, 0.35])
    assert list(sets.levels(proba, 0)) == [0]
    assert list(sets.levels(proba, 1)) == [0, 1]
    assert list(Confidence(level=LEVEL, threshold=1.0).levels(proba, 1)) == [0, 1, 2]


def test_too_few_speakers_promise_nothing() -> None:
    """Three cannot speak for four of five recordings of a new one; the reason says how many could."""
    said, _ = calibrated(3)
    assert said["threshold"] is None
    assert said["reason"] == "3 speakers, 4 are needed to promise 80%"
    assert read_confidence({"confidence": said}) is None
    assert read_confidence({}) is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (7, "confidence is 7"),
        ({}, "expected a level"),
        ({"level": 2}, "expected a level"),
        ({"level": True, "threshold": 0.5}, "expected a level"),
        ({"level": 0.8, "threshold": "all"}, "threshold is 'all'"),
        ({"level": 0.8, "threshold": -1}, "threshold is -1"),
        ({"level": 0.8, "threshold": 10**400}, "expected a number from 0 to 1"),
    ],
)
def test_a_confidence_that_is_none_is_refused(said: Any, message: str) -> None:
    """Each is an error of the bundle."""
    with pytest.raises(BundleError, match=message):
        read_confidence({"confidence": said})
