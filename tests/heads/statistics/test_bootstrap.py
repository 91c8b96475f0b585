"""Intervals over groups are those of drawing recordings again, and cover what they promise."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from poise.heads.metrics import ranked_probability
from poise.heads.statistics import bootstrap
from poise.heads.statistics.bootstrap import bootstrap_groups, draw_groups, draw_metrics
from poise.heads.statistics.tally import tally_groups
from tests.heads.statistics.draws import predictions


def test_every_draw_is_that_of_drawing_recordings_and_calling_scikit_learn():
    """Kappa, accuracy, absolute error and ranked probability, over two repeats, to 1e-12."""
    groups, ranks, predicted, proba = predictions(n_groups=7, repeats=2)
    tally = tally_groups(groups, ranks, predicted, proba)
    found = draw_metrics(tally.counts, rps=tally.rps, n_draws=100, seed=3)
    truth, told, scores = np.tile(ranks, 2), predicted.ravel(), ranked_probability(proba, ranks).ravel()
    names = np.tile(groups, 2)
    for draw, times in enumerate(np.concatenate(list(draw_groups(7, n_draws=100, seed=3)))):
        rows = np.concatenate([np.tile(np.flatnonzero(names == g), int(times[g])) for g in range(7)])
        assert found["qwk"][draw] == pytest.approx(
            cohen_kappa_score(truth[rows], told[rows], weights="quadratic", labels=range(3)), abs=1e-12
        )
        assert found["accuracy"][draw] == pytest.approx(accuracy_score(truth[rows], told[rows]), abs=1e-12)
        assert found["mae"][draw] == pytest.approx(mean_absolute_error(truth[rows], told[rows]), abs=1e-12)
        assert found["rps"][draw] == pytest.approx(scores[rows].mean(), abs=1e-12)
    ends = bootstrap_groups(tally.counts, rps=tally.rps, n_draws=100, seed=3).values
    for name, values in found.items():
        assert ends[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_draws_do_not_depend_on_how_they_are_cut_into_chunks(monkeypatch):
    """Small chunks draw the same groups as one."""
    whole = np.concatenate(list(draw_groups(9, n_draws=50, seed=1)))
    monkeypatch.setattr(bootstrap, "_CHUNK", 30)
    parts = list(draw_groups(9, n_draws=50, seed=1))
    assert max(map(len, parts)) == 3
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_groups_in_which_nothing_is_scored_are_not_drawn():
    """They neither widen an interval nor count as groups."""
    groups, ranks, predicted, proba = predictions(n_groups=4)
    counts = tally_groups(groups, ranks, predicted, proba).counts
    padded = np.concatenate([counts, np.zeros((5, 3, 3), dtype=int)])
    assert bootstrap_groups(padded, n_draws=200).values == bootstrap_groups(counts, n_draws=200).values
    few = bootstrap_groups(padded[2:])
    assert set(few.values.values()) == {None}
    assert "2 groups" in few.reasons["mae"]


def test_ranked_probability_has_an_interval_where_it_is_asked_for():
    """And only there."""
    groups, ranks, predicted, proba = predictions()
    tally = tally_groups(groups, ranks, predicted, proba)
    assert set(bootstrap_groups(tally.counts, n_draws=100).values) == {"qwk", "accuracy", "mae"}
    low, high = bootstrap_groups(tally.counts, rps=tally.rps, n_draws=100).values["rps"]
    assert low < ranked_probability(proba[0], ranks).mean() < high


def test_tallies_of_one_level_have_no_kappa_but_an_error():
    """Draws of one level only leave the other metrics as they are."""
    counts = np.zeros((4, 2, 2), dtype=int)
    counts[:, 0, 0] = 3
    found = bootstrap_groups(counts, n_draws=100)
    assert found.values["qwk"] is None
    assert "one level" in found.reasons["qwk"]
    assert found.values["mae"] == (0.0, 0.0)


def test_group_intervals_cover_and_recording_intervals_do_not():
    """79 recordings of 42 sources, copies agree in 90 %: intervals cover 0.90 to 0.97, or below 0.89."""
    covered = np.zeros(2)
    for seed in range(600):
        random = np.random.default_rng(seed)
        source = np.concatenate([np.arange(42), random.permutation(42)[:37]])
        right = random.random(42) < 0.6
        hit = np.where(random.random(79) < 0.9, right[source], ~right[source])
        hit[:42] = right
        truth = (42 * 0.6 + 37 * (0.6 * 0.9 + 0.4 * 0.1)) / 79
        for place, groups in enumerate((source, np.arange(79))):
            counts = np.zeros((groups.max() + 1, 2, 2), dtype=int)
            np.add.at(counts, (groups, np.zeros(79, int), 1 - hit.astype(int)), 1)
            low, high = bootstrap_groups(counts, n_draws=500, seed=seed).values["accuracy"]
            covered[place] += low <= truth <= high
    by_group, by_recording = covered / 600
    assert 0.90 <= by_group <= 0.97
    assert by_recording < 0.89
