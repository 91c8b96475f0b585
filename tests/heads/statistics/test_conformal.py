"""Prediction sets are those of a loop, hold neighbouring levels, and cover new groups as they promise."""

import math

import numpy as np
import pytest

from poise.heads.statistics.conformal import calibrate_sets, cover_groups, groups_needed, grow_sets, predict_sets
from tests.heads.statistics.draws import predictions


def set_by_hand(row, threshold):
    """The largest set whose last level came in at no more than the threshold."""
    low = high = int(np.argmax(row))
    mass = row[low]
    while high - low < len(row) - 1 and round(mass, 12) <= threshold:
        down = row[low - 1] if low > 0 else -1
        up = row[high + 1] if high < len(row) - 1 else -1
        if down >= up:
            low, mass = low - 1, mass + down
        else:
            high, mass = high + 1, mass + up
    return low, high


def threshold_by_hand(proba, ranks, groups, level):
    """The least threshold under which the known groups, each as one, hold enough with one unknown beside them."""
    names = np.unique(groups)
    for threshold in sorted({0.0, *np.round(np.array([grow_sets(row[None])[0] for row in proba]).ravel(), 12)}):
        held = []
        for name in names:
            rows = np.flatnonzero(groups == name)
            sets = [set_by_hand(proba[row], threshold) for row in rows]
            held.append(np.mean([low <= ranks[row] <= high for row, (low, high) in zip(rows, sets, strict=True)]))
        if sum(held) / (len(names) + 1) >= level - 1e-9:
            return threshold
    return math.inf


class TestSets:
    @pytest.mark.parametrize("n_classes", [2, 3, 5])
    def test_are_those_of_a_loop(self, n_classes):
        """For any threshold, also with equal and with impossible levels."""
        random = np.random.default_rng(n_classes)
        proba = random.dirichlet(np.ones(n_classes), size=60)
        proba[:20] = np.round(proba[:20], 1)
        proba[:20] += np.eye(n_classes)[0] * (1 - proba[:20].sum(1, keepdims=True))
        for threshold in (0.0, 0.3, 0.5, 0.8, 0.95, math.inf):
            low, high = predict_sets(proba, threshold)
            expected = [set_by_hand(row, threshold) for row in proba]
            assert list(zip(low.tolist(), high.tolist(), strict=True)) == expected

    def test_grow_by_the_likelier_neighbour(self):
        """From the most likely level, and never skip one."""
        np.testing.assert_allclose(grow_sets(np.array([[0.1, 0.2, 0.4, 0.25, 0.05]])), [[0.85, 0.65, 0, 0.4, 0.95]])
        # the last level is likelier than the one before it, but stands behind it
        np.testing.assert_allclose(grow_sets(np.array([[0.5, 0.1, 0.4]])), [[0, 0.5, 0.6]])


class TestCalibration:
    @pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
    def test_threshold_is_that_of_a_loop(self, level):
        """Groups of unlike size count the same."""
        _, ranks, _, proba = predictions(n_groups=15)
        groups = np.random.default_rng(0).integers(0, 12, len(ranks))
        found = calibrate_sets(proba[0], ranks, level, groups=groups)
        assert found == pytest.approx(threshold_by_hand(proba[0], ranks, groups, level), abs=1e-12)

    def test_without_groups_it_is_the_usual_quantile(self):
        """The k-th smallest score, k = ceil((n + 1) level)."""
        _, ranks, _, proba = predictions(n_groups=10)
        scores = np.sort(grow_sets(proba[0])[np.arange(40), ranks])
        assert calibrate_sets(proba[0], ranks, 0.9) == scores[math.ceil(41 * 0.9) - 1]

    def test_too_few_groups_promise_nothing_but_all_levels(self):
        """Nine for 90 %, nineteen for 95 %."""
        assert (groups_needed(0.9), groups_needed(0.95), groups_needed(0.8)) == (9, 19, 4)
        for level, needed in ((0.9, 9), (0.95, 19)):
            proba, ranks = np.tile([0.8, 0.2], (needed, 1)), np.zeros(needed, int)
            assert calibrate_sets(proba, ranks, level) == 0.0
            assert calibrate_sets(proba[1:], ranks[1:], level) == math.inf
        low, high = predict_sets(np.array([[0.2, 0.8, 0.0]]), math.inf)
        assert (low.tolist(), high.tolist()) == ([0], [2])

    def test_new_groups_are_covered(self):
        """On average over calibrations at least as promised, though groups differ among themselves."""
        held = []
        for seed in range(300):
            random = np.random.default_rng(seed)
            groups = np.repeat(np.arange(21), 4)
            ability = random.uniform(0.1, 0.9, 21)[groups]
            ranks = random.integers(0, 3, 84)
            proba = (
                random.dirichlet(np.ones(3), size=84) * (1 - ability)[:, None]
                + np.eye(3)[ranks] * (ability * random.random(84))[:, None]
            )
            proba /= proba.sum(1, keepdims=True)
            threshold = calibrate_sets(proba[:80], ranks[:80], 0.9, groups=groups[:80])
            low, high = predict_sets(proba[80:], threshold)
            held.append(np.mean((low <= ranks[80:]) & (ranks[80:] <= high)))
        assert np.mean(held) >= 0.9 - 2 * np.std(held) / np.sqrt(300)
        assert np.mean(held) < 0.97


class TestCoverage:
    def test_is_that_of_leaving_each_group_out(self):
        """Over two repeats; every number by a loop."""
        groups, ranks, _, proba = predictions(n_groups=14, repeats=2, right=0.4)
        found = cover_groups(proba, ranks, groups)
        held, sizes, by_group = [], [], []
        for name in range(14):
            rest = groups != name
            threshold = calibrate_sets(
                np.concatenate(proba[:, rest]), np.tile(ranks[rest], 2), groups=np.tile(groups[rest], 2)
            )
            low, high = predict_sets(np.concatenate(proba[:, ~rest]), threshold)
            truth = np.tile(ranks[~rest], 2)
            inside = (low <= truth) & (truth <= high)
            held += inside.tolist()
            sizes += (high - low + 1).tolist()
            by_group.append(inside.mean())
        assert found.coverage == pytest.approx(np.mean(held))
        assert found.mean_size == pytest.approx(np.mean(sizes))
        assert found.singletons == pytest.approx(np.mean(np.array(sizes) == 1))
        assert found.lowest_group_coverage == pytest.approx(min(by_group))
        assert found.n_groups == 14

    def test_sentence_warns_of_groups_that_shift(self):
        """And has the numbers in it."""
        groups, ranks, _, proba = predictions(n_groups=14)
        found = cover_groups(proba, ranks, groups).to_json()
        assert "fails for a group that differs" in found["sentence"]
        assert f"{found['coverage']:.0%}" in found["sentence"]
        assert set(found) == {
            "level", "coverage", "mean_size", "singletons", "n_groups", "lowest_group_coverage", "sentence",
        }  # fmt: skip

    def test_sentence_warns_of_too_few_groups(self):
        """Sets of all levels, which say nothing."""
        groups, ranks, _, proba = predictions(n_groups=4)
        found = cover_groups(proba[0], ranks, groups)
        assert (found.coverage, found.mean_size) == (1.0, 3.0)
        assert found.sentence.startswith("With 4 groups no set smaller than all 3 levels")
        assert "5 groups are needed" in found.sentence
        assert cover_groups(proba[0], ranks, np.zeros(len(ranks))) is None
