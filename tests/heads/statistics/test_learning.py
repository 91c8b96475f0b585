"""A learning curve has nested parts, intervals over groups, and an outlook that says when it does not know."""

import numpy as np
import pytest

from poise.errors import SplitError
from poise.heads.metrics import compute_scores
from poise.heads.statistics.learning import draw_subsets, fit_inverse, summarise_curve
from poise.heads.statistics.tally import tally_groups


def curve(sizes=(8, 12, 18, 27, 40), *, gain=1.0, n_groups=30, n_draws=6, seed=0):
    """Tallies whose probability of the true level is `0.5 - gain / n` and some chance."""
    random = np.random.default_rng(seed)
    groups, ranks = np.repeat(np.arange(n_groups), 2), random.integers(0, 3, 2 * n_groups)
    common, found = random.normal(0, 0.1, 2 * n_groups), {}
    for size in sizes:
        found[size] = []
        for _ in range(n_draws):
            chance = random.normal(0, 0.05, 2 * n_groups)
            right = np.clip(0.5 - gain / size + common + chance, 0.01, 0.99)[:, None]
            proba = np.where(np.eye(3)[ranks] > 0, right, (1 - right) / 2)
            found[size].append(tally_groups(groups, ranks, proba.argmax(1)[None], proba[None]))
    return found


class TestSubsets:
    def test_take_whole_groups_and_lie_in_one_another(self):
        """Each draw's smaller parts are in its larger ones; all groups are taken once."""
        groups = np.array(["a", "b", "a", "c", "d", "d", "b"])
        found = draw_subsets(groups, [1, 4, 2], n_draws=5, seed=3)
        assert [(one.draw, one.size) for one in found[:3]] == [(0, 1), (0, 2), (0, 4)]
        assert sum(one.size == 4 for one in found) == 1
        assert sum(one.size == 2 for one in found) == 5
        for one in found:
            chosen = set(groups[one.rows])
            assert len(chosen) == one.size
            assert one.rows.tolist() == np.flatnonzero(np.isin(groups, list(chosen))).tolist()
        for small, large in zip(found[3::2], found[4::2], strict=True):
            assert small.draw == large.draw
            assert set(small.rows) < set(large.rows)

    def test_every_group_is_as_likely(self):
        """Over many draws of one of three."""
        found = draw_subsets(np.array([0, 1, 1, 2]), [1], n_draws=3000, seed=0)
        times = np.bincount([len(one.rows) * 10 + one.rows[0] for one in found], minlength=24)
        assert times[times > 0] == pytest.approx([1000, 1000, 1000], abs=130)

    @pytest.mark.parametrize("size", [0, 4])
    def test_sizes_that_are_not_there_are_refused(self, size):
        """With the largest that is."""
        with pytest.raises(SplitError, match="Expected sizes from 1 to 3"):
            draw_subsets(np.array([0, 1, 2, 2]), [2, size], n_draws=1)


class TestPoints:
    def test_are_the_metrics_of_all_draws(self):
        """In order of size, inside their intervals."""
        given = curve(sizes=(12, 8, 20), n_draws=1)
        found = summarise_curve(given, n_draws=300).points
        assert [one.n for one in found] == [8, 12, 20]
        for one in found:
            tally = given[one.n][0]
            assert one.rps == pytest.approx(tally.rps[:, 0].sum() / tally.rps[:, 1].sum())
            assert one.interval["rps"][0] < one.rps < one.interval["rps"][1]
            assert one.interval["qwk"][0] <= one.qwk <= one.interval["qwk"][1]
            told = one.to_json()
            assert set(told) == {"n", "qwk", "rps", "interval", "n_draws"}
            assert told["n_draws"] == 1

    def test_interval_of_one_draw_is_the_bootstrap_of_groups(self):
        """Two draws that say the same are one."""
        given = curve(n_draws=1)
        twice = {size: some * 2 for size, some in given.items()}
        one, two = (summarise_curve(some, n_draws=300).points for some in (given, twice))
        for a, b in zip(one, two, strict=True):
            assert a.interval["rps"] == pytest.approx(b.interval["rps"])
            assert a.qwk == pytest.approx(b.qwk)

    def test_kappa_of_one_level_has_none(self):
        """But a reason, and the score stays."""
        groups, ranks, proba = np.arange(5), np.zeros(5, int), np.tile([0.9, 0.1], (5, 1))
        tally = tally_groups(groups, ranks, ranks[None], proba[None])
        point = summarise_curve({2: [tally], 3: [tally], 4: [tally]}, n_draws=50).points[0].to_json()
        assert point["qwk"] is point["interval"]["qwk"] is None
        assert "one level" in point["reason"]
        assert point["rps"] == pytest.approx(compute_scores(ranks, ranks, proba).values["rps"])

    def test_other_recordings_are_refused(self):
        """Every size and draw is scored on the same."""
        given = curve()
        given[8] = curve(n_groups=20)[8]
        with pytest.raises(SplitError, match="not scored on the same recordings"):
            summarise_curve(given)

    def test_a_size_without_predictions_is_refused(self):
        """And so is no size at all."""
        for given in ({}, {4: []}):
            with pytest.raises(SplitError, match="needs predictions of every size"):
                summarise_curve(given)


class TestOutlook:
    def test_the_line_is_that_of_numpy(self):
        """Weighted, in 1 / n, for several curves at once."""
        random = np.random.default_rng(0)
        sizes, values, weights = np.array([5, 9, 20, 33]), random.random((4, 3)), random.random(4)
        a, b = fit_inverse(sizes, values, weights)
        for column in range(3):
            slope, start = np.polyfit(1 / sizes, values[:, column], 1, w=np.sqrt(weights))
            assert (a[column], b[column]) == pytest.approx((start, slope))

    def test_a_rising_curve_says_what_more_would_bring(self):
        """As much as the curve that it was drawn from."""
        outlook = summarise_curve(curve(gain=3.0), unit="speaker", n_draws=500).outlook
        assert outlook.sentence.startswith("20 more speakers would lower")
        low, high = outlook.interval
        assert low < outlook.rps_then - outlook.rps_now < high < 0
        assert set(outlook.to_json()) == {"more", "rps_now", "rps_then", "interval", "sentence"}

    def test_no_gain_is_unclear(self):
        """In nearly all of 40 flat curves."""
        said = [summarise_curve(curve(gain=0.0, seed=seed), n_draws=300).outlook.sentence for seed in range(40)]
        assert sum("is unclear" in one for one in said) >= 34

    def test_a_falling_curve_says_that_more_does_not_help(self):
        """Rather than a gain with the wrong sign."""
        outlook = summarise_curve(curve(gain=-3.0), n_draws=300).outlook
        assert "would not help" in outlook.sentence
        assert outlook.interval[0] > 0

    def test_far_beyond_what_was_tried_is_said(self):
        """More than as many again."""
        near, far = (summarise_curve(curve(gain=3.0), more=more, n_draws=300).outlook for more in (40, 41))
        assert "take it with care" in far.sentence
        assert "take it with care" not in near.sentence

    @pytest.mark.parametrize(
        ("settings", "reason"), [({"sizes": (4, 8)}, "2 sizes"), ({"n_groups": 2}, "2 groups are scored")]
    )
    def test_too_little_has_no_outlook(self, settings, reason):
        """But says why; with too few groups the points have no intervals either."""
        found = summarise_curve(curve(**settings), n_draws=100)
        assert found.outlook is None
        assert reason in found.reason
        assert (found.points[0].interval["rps"] is None) == ("n_groups" in settings)
