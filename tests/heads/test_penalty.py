"""The exact heads by name, and how strongly they are penalised: decided by held-out groups of the training rows."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from poise.heads.exact.families import FAMILIES
from poise.heads.exact.penalty import FALLBACK, PENALTIES, choose_penalty
from poise.heads.inner import inner_folds
from poise.heads.metrics import ranked_probability


def data(n_groups=24, copies=2, dim=40, n_levels=3, signal=1.0, seed=0):
    """Groups of near-copies whose first column has something of their level."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal(n_groups)
    ranks = np.digitize(latent, np.quantile(latent, np.arange(1, n_levels) / n_levels))
    rows = rng.standard_normal((n_groups, dim))
    rows[:, 0] += signal * latent
    X = np.repeat(rows, copies, axis=0) + 0.05 * rng.standard_normal((n_groups * copies, dim))
    return X, np.repeat(ranks, copies), np.repeat(np.arange(n_groups), copies)


class TestFamilies:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_probabilities_are_those_of_ordered_levels(self, family):
        """They sum to 1, and none is below 0."""
        X, ranks, groups = data()
        fitted = FAMILIES[family](X, ranks, np.ones(len(X)), np.array([0.1, 10.0]), 3, groups)
        proba = fitted.predict_proba(X[:7])
        assert proba.shape == (2, 7, 3)
        assert proba.min() >= 0
        np.testing.assert_allclose(proba.sum(-1), 1)

    def test_frank_and_hall_fit_each_threshold_alone(self):
        """As scikit-learn does on whether a level is exceeded."""
        X, ranks, groups = data(n_levels=4)
        weights = np.random.default_rng(1).uniform(0.5, 2, len(X))
        fitted = FAMILIES["frank-hall"](X, ranks, weights, np.array([0.5, 2.0]), 4, groups)
        for model, penalty in enumerate((0.5, 2.0)):
            for level in range(3):
                other = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
                other.fit(X, ranks > level, sample_weight=weights)
                np.testing.assert_allclose(fitted.coef[model, level], other.coef_[0], atol=1e-5)
                np.testing.assert_allclose(-fitted.cuts[model, level], other.intercept_[0], atol=1e-5)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_penalty_does_not_depend_on_those_beside_it(self, family):
        """Nine at once are each the one alone."""
        X, ranks, groups = data()
        weights = np.ones(len(X))
        many = FAMILIES[family](X, ranks, weights, PENALTIES, 3, groups).predict_proba(X)
        alone = FAMILIES[family](X, ranks, weights, PENALTIES[4:5], 3, groups).predict_proba(X)
        np.testing.assert_allclose(many[4], alone[0], atol=1e-9)


class TestChoice:
    def test_is_that_of_a_loop_over_folds_and_penalties(self):
        """With scikit-learn's scaler and logistic regression on the same folds: the same losses."""
        X, ranks, groups = data()
        found = choose_penalty("logistic", X, ranks, np.ones(len(X)), groups)
        losses = np.zeros(len(PENALTIES))
        for train, test in inner_folds(ranks, groups, n_folds=4, random_state=0):
            scaler = StandardScaler().fit(X[train])
            for i, penalty in enumerate(PENALTIES):
                model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
                model.fit(scaler.transform(X[train]) / np.sqrt(X.shape[1]), ranks[train])
                proba = model.predict_proba(scaler.transform(X[test]) / np.sqrt(X.shape[1]))
                losses[i] += ranked_probability(proba, ranks[test]).sum()
        np.testing.assert_allclose(found.losses, losses / len(X), atol=1e-6)
        assert found.penalty == PENALTIES[losses.argmin()]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_groups_keep_near_copies_from_choosing_for_themselves(self, family):
        """On noise, held-out copies of training rows want hardly any penalty, and held-out groups all of it."""
        X, ranks, groups = data(signal=0.0)
        weights = np.ones(len(X))
        leaky = choose_penalty(family, X, ranks, weights, np.arange(len(X)))
        honest = choose_penalty(family, X, ranks, weights, groups)
        assert leaky.penalty < 0.1
        assert honest.penalty > 1

    def test_one_group_alone_can_choose_nothing(self):
        """The fallback is used, and says that nothing was measured."""
        X, ranks, _ = data()
        found = choose_penalty("cumulative", X, ranks, np.ones(len(X)), np.zeros(len(X)))
        assert found.penalty == FALLBACK
        assert np.isnan(found.losses).all()

    def test_groups_of_one_level_each_can_choose_nothing(self):
        """Without one group only one level is left to learn from."""
        X, ranks, _ = data(n_levels=2)
        found = choose_penalty("cumulative", X, ranks, np.ones(len(X)), ranks)
        assert found.penalty == FALLBACK

    def test_a_level_that_a_fold_does_not_train_on_has_no_probability(self):
        """It is no reason to fail: its rows cost what they cost."""
        X, ranks, groups = data(n_groups=9)
        only_one = ranks.copy()
        only_one[ranks == 2] = 1
        only_one[groups == 0] = 2
        found = choose_penalty("cumulative", X, only_one, np.ones(len(X)), groups)
        assert np.isfinite(found.losses).all()

    def test_rows_without_weight_choose_nothing(self):
        """They are as if they were not there, but for the folds."""
        X, ranks, groups = data()
        weights = np.ones(len(X))
        weights[::5] = 0
        found = choose_penalty("cumulative", X, ranks, weights, groups)
        wild = X.copy()
        wild[::5] = 1e6
        np.testing.assert_allclose(choose_penalty("cumulative", wild, ranks, weights, groups).losses, found.losses)

    @pytest.mark.parametrize("n_groups", [2, 3, 24])
    def test_no_group_crosses_a_fold(self, n_groups):
        """Every row is held out once, and no fold is empty."""
        _, ranks, groups = data(n_groups=n_groups)
        folds = inner_folds(ranks, groups, n_folds=4, random_state=0)
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
        assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(ranks)))

    def test_the_score_is_that_of_skordinal(self):
        """Divided by the number of levels less one."""
        from skordinal.metrics import ranked_probability_score

        rng = np.random.default_rng(0)
        proba, ranks = rng.dirichlet(np.ones(4), 30), rng.integers(0, 4, 30)
        assert ranked_probability(proba, ranks).mean() == pytest.approx(ranked_probability_score(ranks, proba) / 3)
