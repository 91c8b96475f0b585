"""Exact heads reach the optimum that others reach, in the span of the training rows, many at a time."""

import warnings

import mord
import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression
from skordinal.classifiers import POM
from statsmodels.miscmodels.ordinal_model import OrderedModel

from poise.errors import StrategyError
from poise.heads.exact.links import differentiate, row_losses
from poise.heads.exact.newton import minimise
from poise.heads.exact.one_score import _Stack as ScoreProblems
from poise.heads.exact.one_score import fit_one_score
from poise.heads.exact.softmax import _contrasts, fit_softmax
from poise.heads.exact.softmax import _Stack as SoftmaxProblems
from poise.heads.exact.span import Span

LINKS = ("cumulative", "all-threshold")


def data(n=60, dim=8, n_levels=3, seed=0):
    """Rows and ranks that depend on the first column."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim))
    cuts = np.quantile(rows[:, 0], np.arange(1, n_levels) / n_levels)
    return rows, np.digitize(rows[:, 0] + 0.8 * rng.standard_normal(n), cuts)


def alone(link, rows, ranks, *, penalty=1.0, weights=None, n_levels=3):
    """One model."""
    weights = np.ones(len(rows)) if weights is None else weights
    found = fit_one_score(link, rows, ranks[None], weights[None], np.array([penalty]), n_levels=n_levels)
    return found.coef[0], found.cuts[0]


class TestOptimum:
    @pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
    def test_proportional_odds_is_that_of_skordinal(self, penalty):
        """The same coefficients and thresholds, as far as its own search goes."""
        rows, ranks = data()
        coef, cuts = alone("cumulative", rows, ranks, penalty=penalty)
        other = POM(alpha=penalty, tol=1e-12, max_iter=10_000).fit(rows, ranks)
        np.testing.assert_allclose(coef, other.coef_, atol=1e-5)
        np.testing.assert_allclose(cuts, other.thresholds_, atol=1e-5)

    @pytest.mark.parametrize("n_levels", [2, 3, 4])
    def test_without_a_penalty_it_is_that_of_statsmodels(self, n_levels):
        """Coefficients, thresholds and likelihood."""
        rows, ranks = data(n=150, dim=4, n_levels=n_levels)
        coef, cuts = alone("cumulative", rows, ranks, penalty=1e-12, n_levels=n_levels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = OrderedModel(ranks, rows, distr="logit").fit(method="newton", tol=1e-14, disp=0)
        np.testing.assert_allclose(coef, other.params[:4], atol=1e-7)
        np.testing.assert_allclose(cuts, other.model.transform_threshold_params(other.params)[1:-1], atol=1e-7)
        losses = row_losses("cumulative", (rows @ coef)[None], cuts[None], ranks[None])
        assert -losses.sum() == pytest.approx(other.llf, abs=1e-10)

    def test_all_thresholds_is_that_of_mord(self):
        """Linear CORAL."""
        rows, ranks = data()
        coef, cuts = alone("all-threshold", rows, ranks, penalty=3.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = mord.LogisticAT(alpha=3.0, max_iter=5_000).fit(rows, ranks)
        np.testing.assert_allclose(coef, other.coef_, atol=1e-5)
        np.testing.assert_allclose(cuts, other.theta_, atol=1e-5)

    @pytest.mark.parametrize("n_levels", [2, 3, 4])
    def test_multinomial_is_that_of_scikit_learn(self, n_levels):
        """With two levels, twice the penalty: both carry half of the coefficients."""
        rows, ranks = data(n_levels=n_levels)
        found = fit_softmax(rows, ranks[None], np.ones((1, len(rows))), np.array([2.0]), n_levels=n_levels)
        C = 1.0 if n_levels == 2 else 0.5
        other = LogisticRegression(C=C, tol=1e-12, max_iter=50_000).fit(rows, ranks)
        coef = found.coef[0, :, 1:] - found.coef[0, :, :1] if n_levels == 2 else found.coef[0]
        np.testing.assert_allclose(coef.T, other.coef_, atol=1e-6)
        proba = np.exp(rows @ found.coef[0] + found.intercept[0])
        np.testing.assert_allclose(proba / proba.sum(1, keepdims=True), other.predict_proba(rows), atol=1e-6)

    @pytest.mark.parametrize("link", LINKS)
    def test_weights_are_repetitions(self, link):
        """A weight of 2 is the row standing there twice, and 0 that it is not there."""
        rows, ranks = data()
        weights = np.random.default_rng(1).integers(0, 3, len(rows))
        again = np.repeat(np.arange(len(rows)), weights)
        weighted = alone(link, rows, ranks, weights=weights.astype(float))
        repeated = alone(link, rows[again], ranks[again])
        np.testing.assert_allclose(weighted[0], repeated[0], atol=1e-9)
        np.testing.assert_allclose(weighted[1], repeated[1], atol=1e-9)

    def test_a_model_does_not_depend_on_its_neighbours(self):
        """Alone, among other penalties, labels and weights: the same numbers."""
        rows, ranks = data()
        rng = np.random.default_rng(2)
        many = np.stack([rng.permutation(ranks) for _ in range(40)])
        penalties, weights = np.geomspace(0.01, 100, 40), rng.uniform(0.5, 2, (40, len(rows)))
        stack = fit_one_score("cumulative", rows, many, weights, penalties, n_levels=3)
        for i in range(0, 40, 7):
            coef, cuts = alone("cumulative", rows, many[i], penalty=penalties[i], weights=weights[i])
            np.testing.assert_allclose(stack.coef[i], coef, atol=1e-10)
            np.testing.assert_allclose(stack.cuts[i], cuts, atol=1e-10)

    def test_separated_levels_have_an_optimum(self):
        """The penalty bounds it, however small; cutpoints rise."""
        rows = np.linspace(-1, 1, 30)[:, None]
        ranks = np.repeat([0, 1, 2], 10)
        for link in LINKS:
            coef, cuts = alone(link, rows, ranks, penalty=1e-4)
            assert np.isfinite(coef).all()
            assert cuts[0] < cuts[1]

    def test_what_cannot_be_solved_is_said(self):
        """Losses that fall for ever are not passed off as optima."""

        class Falling:
            def loss(self, _problems, params):
                return np.exp(-1e-3 * params[:, 0])

            def derivatives(self, _problems, params):
                slope = -1e-3 * np.exp(-1e-3 * params)
                return slope, np.full((len(params), 1, 1), 1e-4)

        with pytest.raises(StrategyError, match="1 of 1 models did not arrive at their optimum"):
            minimise(Falling(), np.zeros((1, 1)), scale=np.ones(1))


class TestDerivatives:
    @pytest.mark.parametrize("link", LINKS)
    @pytest.mark.parametrize("n_levels", [2, 3, 5])
    def test_are_those_of_the_loss(self, link, n_levels):
        """Gradient and curvature against differences."""
        rows, ranks = data(n_levels=n_levels)
        weights = np.random.default_rng(3).uniform(0, 2, (1, len(rows)))
        self._check(
            ScoreProblems(link, rows, ranks[None], weights, np.array([0.7])),
            np.concatenate([0.3 * np.ones(rows.shape[1]), np.linspace(-1, 1, n_levels - 1)]),
        )

    @pytest.mark.parametrize("n_levels", [2, 3, 5])
    def test_of_softmax_are_those_of_the_loss(self, n_levels):
        """Gradient and curvature against differences."""
        rows, ranks = data(n_levels=n_levels)
        wide = np.hstack([rows, np.ones((len(rows), 1))])
        weights = np.random.default_rng(3).uniform(0, 2, (1, len(rows)))
        self._check(
            SoftmaxProblems(wide, ranks[None], weights, np.array([0.7]), _contrasts(n_levels)),
            np.random.default_rng(4).standard_normal((n_levels - 1) * wide.shape[1]),
        )

    def _check(self, problems, params):
        one = np.array([0])
        gradient = lambda x: problems.derivatives(one, x[None])[0][0]  # noqa: E731
        assert check_grad(lambda x: problems.loss(one, x[None])[0], gradient, params) < 1e-4
        curvature = problems.derivatives(one, params[None])[1][0]
        steps = 1e-6 * np.eye(len(params))
        numeric = np.stack([(gradient(params + h) - gradient(params - h)) / 2e-6 for h in steps])
        np.testing.assert_allclose(curvature, numeric, atol=1e-6)

    def test_far_scores_stay_finite(self):
        """Probabilities that are 0 in float64 still have a slope."""
        score, cuts, ranks = np.array([[900.0, -900.0]]), np.array([[-1.0, 1.0]]), np.array([[0, 2]])
        assert row_losses("cumulative", score, cuts, ranks)[0] == pytest.approx([901, 901])
        found = differentiate("cumulative", score, cuts, ranks)
        assert all(np.isfinite(part).all() for part in found)
        assert found.score[0] == pytest.approx([1, -1])


class TestSpan:
    def test_loses_nothing(self):
        """The optimum among the axes is the optimum among the columns."""
        rows, ranks = data(n=30, dim=12)
        wide = rows @ np.random.default_rng(0).standard_normal((12, 200))
        span = Span.of(wide)
        assert span.train.shape[1] == 12
        coef, cuts = alone("cumulative", span.train, ranks, penalty=5.0)
        direct, direct_cuts = alone("cumulative", wide, ranks, penalty=5.0)
        np.testing.assert_allclose(span.lift(coef), direct, atol=1e-8)
        np.testing.assert_allclose(cuts, direct_cuts, atol=1e-8)
        unseen = np.random.default_rng(1).standard_normal((5, 200))
        np.testing.assert_allclose(span.project(unseen) @ coef, unseen @ direct, atol=1e-8)
        np.testing.assert_allclose(span.project(wide), span.train, atol=1e-8)

    def test_of_more_rows_than_columns_is_the_columns(self):
        """Nothing is rotated."""
        rows, _ = data()
        span = Span.of(rows)
        assert span.train is rows
        assert span.project(rows[:3]).tolist() == rows[:3].tolist()
        assert span.lift(np.ones((2, 8))).tolist() == np.ones((2, 8)).tolist()

    def test_of_zeros_is_one_axis(self):
        """Constant features leave nothing, and a model of the label distribution."""
        span = Span.of(np.zeros((6, 9)))
        coef, cuts = alone("cumulative", span.train, np.array([0, 0, 1, 1, 2, 2]))
        assert np.abs(span.lift(coef)).max() == 0
        np.testing.assert_allclose(cuts, [-np.log(2), np.log(2)])
