"""What is kept of each group gives the metrics of all recordings."""

import numpy as np
import pytest

from poise.heads.metrics import compute_scores
from poise.heads.statistics.tally import TABLE_METRICS, tally_groups
from tests.heads.statistics.draws import predictions


def test_added_up_they_are_the_metrics_of_all_predictions():
    """Also over unordered names of groups."""
    groups, ranks, predicted, proba = predictions()
    names = np.array(["b", "a", "c"])[groups % 3]
    tally = tally_groups(names, ranks, predicted, proba)
    assert tally.names.tolist() == ["a", "b", "c"]
    whole = compute_scores(ranks, predicted[0], proba[0]).values
    for name, metric in TABLE_METRICS.items():
        assert metric(tally.counts.sum(0)) == pytest.approx(whole[name], abs=1e-12)
    assert tally.rps[:, 0].sum() / tally.rps[:, 1].sum() == pytest.approx(whole["rps"], abs=1e-12)
    of_a = compute_scores(ranks[names == "a"], predicted[0, names == "a"], proba[0, names == "a"]).values
    assert TABLE_METRICS["accuracy"](tally.counts[0]) == pytest.approx(of_a["accuracy"])
    assert tally.rps[0, 0] / tally.rps[0, 1] == pytest.approx(of_a["rps"])


def test_repeats_are_added_up():
    """Two repeats that say the same count twice."""
    groups, ranks, predicted, proba = predictions()
    once = tally_groups(groups, ranks, predicted, proba)
    twice = tally_groups(groups, ranks, np.tile(predicted, (2, 1)), np.tile(proba, (2, 1, 1)))
    np.testing.assert_array_equal(twice.counts, 2 * once.counts)
    np.testing.assert_allclose(twice.rps, 2 * once.rps)
