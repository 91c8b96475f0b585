"""One table says whether probabilities are what they say, and a bounded temperature makes them so."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from poise.heads.metrics import compute_scores
from poise.heads.statistics.calibration import HIGHEST, LOWEST, apply_temperature, fit_temperature, tabulate_reliability
from tests.heads.statistics.draws import predictions


class TestReliability:
    @pytest.mark.parametrize("seed", range(3))
    def test_error_is_that_of_mapie_and_of_the_metric(self, seed):
        """Ten bins are eleven of its edges."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mapie.metrics.calibration import expected_calibration_error

        _, ranks, predicted, proba = predictions(n_groups=40, seed=seed)
        sure = proba[0].max(1)
        right = (predicted[0] == ranks).astype(int)
        expected = expected_calibration_error(right, sure, num_bins=11, split_strategy="uniform")
        found = tabulate_reliability(ranks, predicted, proba)
        assert found.ece == pytest.approx(expected, abs=1e-10)
        assert found.ece == pytest.approx(compute_scores(ranks, predicted[0], proba[0]).values["ece"], abs=1e-15)

    def test_bins_are_those_of_a_loop(self):
        """Over two repeats; an empty bin has no means."""
        _, ranks, predicted, proba = predictions(repeats=2)
        found = tabulate_reliability(ranks, predicted, proba)
        sure, truth = proba.max(-1).ravel(), np.tile(ranks, 2)
        assert [one.low for one in found.bins] == pytest.approx([k / 10 for k in range(10)])
        assert sum(one.n for one in found.bins) == len(truth)
        for one in found.bins:
            inside = (sure > one.low) & (sure <= one.high)
            assert one.n == inside.sum()
            if one.n:
                assert one.confidence == pytest.approx(sure[inside].mean())
                assert one.accuracy == pytest.approx((predicted.ravel() == truth)[inside].mean())
            else:
                assert one.confidence is one.accuracy is None
        assert found.bins[0].n == 0

    def test_nothing_scored_has_no_error(self):
        """None, not NaN; the JSON has ten bins."""
        found = tabulate_reliability(np.zeros(0, int), np.zeros((1, 0), int), np.zeros((1, 0, 3))).to_json()
        assert found["ece"] is None
        assert len(found["bins"]) == 10
        assert set(found["bins"][0]) == {"low", "high", "n", "confidence", "accuracy"}


class TestTemperature:
    @pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
    def test_is_the_least_surprising_one(self, truth):
        """As scipy finds it, near the one by which labels were drawn, with weights."""
        random = np.random.default_rng(0)
        proba = random.dirichlet(np.ones(4), size=2000)
        drawn = apply_temperature(proba, truth)
        ranks = (random.random((2000, 1)) > np.cumsum(drawn, axis=1)).sum(1).clip(0, 3)
        weights = random.uniform(0.5, 2, 2000)

        def loss(log):
            return -(weights * np.log(apply_temperature(proba, np.exp(log))[np.arange(2000), ranks])).sum()

        best = minimize_scalar(loss, bounds=np.log([LOWEST, HIGHEST]), method="bounded", options={"xatol": 1e-10})
        found = fit_temperature(proba, ranks, weights)
        assert found == pytest.approx(np.exp(best.x), rel=1e-5)
        assert found == pytest.approx(truth, rel=0.15)

    def test_stays_within_bounds(self):
        """Always right asks for 0, always wrong for infinity."""
        proba = np.tile([0.6, 0.3, 0.1], (10, 1))
        assert fit_temperature(proba, np.zeros(10, int)) == LOWEST
        assert fit_temperature(proba, np.full(10, 2)) == HIGHEST

    def test_is_one_where_nothing_speaks_for_another(self):
        """No recordings, no weights, equal probabilities, or sure and right already."""
        level = np.zeros(3, int)
        assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
        assert fit_temperature(np.tile([0.6, 0.4], (3, 1)), level, np.zeros(3)) == 1.0
        assert fit_temperature(np.full((3, 3), 1 / 3), level) == 1.0
        assert fit_temperature(np.tile([1.0, 0.0], (3, 1)), level) == 1.0

    def test_impossible_levels_have_no_say(self):
        """A level with the probability 0 neither breaks nor bends the choice."""
        _, ranks, _, proba = predictions(n_groups=30)
        proba = proba[0]
        odd = np.vstack([proba, [[0.0, 0.5, 0.5]] * 5])
        more = np.concatenate([ranks, np.zeros(5, int)])
        assert fit_temperature(odd, more) == pytest.approx(fit_temperature(proba, ranks), rel=1e-9)

    @pytest.mark.parametrize("temperature", [LOWEST, 1.0, 2.5, HIGHEST])
    def test_order_of_levels_stays(self, temperature):
        """Rows sum to 1, the likeliest level and zeros stay, no level is exceeded more often than the one before."""
        random = np.random.default_rng(1)
        proba = random.dirichlet(np.full(5, 0.05), size=(2, 100))
        proba[0, 0] = [1e-200, 0, 0, 1 - 1e-16, 1e-300]
        found = apply_temperature(proba, temperature)
        np.testing.assert_allclose(found.sum(-1), 1)
        np.testing.assert_array_equal(found.argmax(-1), proba.argmax(-1))
        assert (found[proba == 0] == 0).all()
        above = np.cumsum(found[..., ::-1], axis=-1)[..., ::-1]
        assert (np.diff(above, axis=-1) <= 0).all()
        if temperature == 1.0:
            np.testing.assert_allclose(found, proba, atol=1e-15)
