"""The permutation test keeps its promise on noise, finds what is there, and is that of a loop over deals."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GroupKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from poise.errors import SplitError
from poise.heads.exact.families import FAMILIES
from poise.heads.ordinal import decode_median
from poise.heads.statistics.deal import deal_labels
from poise.heads.statistics.permutation import blind_folds, permutation_test


def data(n_groups=24, copies=2, dim=8, signal=0.0, n_levels=3, seed=0):
    """Sources and their copies; the first column has something of the level."""
    random = np.random.default_rng(seed)
    latent = random.standard_normal(n_groups)
    ranks = np.argsort(np.argsort(latent)) * n_levels // n_groups
    rows = random.standard_normal((n_groups, dim))
    rows[:, 0] += signal * latent
    source = np.tile(np.arange(n_groups), copies)
    X = rows[source] + 0.05 * random.standard_normal((len(source), dim))
    return X, ranks[source], source, np.arange(len(source)) < n_groups


def run(X, ranks, source, scored, *, groups=None, **settings):
    groups = source if groups is None else groups
    return permutation_test(X, ranks, np.ones(len(X)), groups, source, scored, **settings)


class TestAgainstALoop:
    @pytest.mark.parametrize("family", ["cumulative", "all-threshold", "logistic"])
    def test_each_deal_is_that_of_fitting_it_alone(self, family):
        """With scikit-learn's scaler and kappa, and models one at a time; a training side may lack a level."""
        X, ranks, source, scored = data(n_groups=8, n_levels=4, signal=1.0)
        found = run(X, ranks, source, scored, family=family, penalty=0.3, n_permutations=3, seed=4)
        every = np.vstack([ranks, deal_labels(ranks, source, source, n=3, seed=4)])
        values = []
        for labels in every:
            told = np.zeros(len(X), dtype=int)
            for train, test in blind_folds(source, seed=4):
                present = np.unique(labels[train])
                scaler = StandardScaler().fit(X[train])
                rows = [np.clip(scaler.transform(X[side]), -6, 6) / np.sqrt(8) for side in (train, test)]
                own = np.searchsorted(present, labels[train])
                proba = _proba(family, rows, own, len(present))
                told[test] = present[proba.argmax(1) if family == "logistic" else decode_median(proba)]
            values.append(cohen_kappa_score(labels[scored], told[scored], weights="quadratic"))
        assert found.observed == pytest.approx(values[0], abs=1e-12)
        np.testing.assert_allclose(found.null, values[1:], atol=1e-12)
        assert found.p == pytest.approx((1 + np.sum(np.array(values[1:]) >= values[0] - 1e-12)) / 4)
        assert found.n_folds == 8

    def test_a_recording_without_weight_is_not_learnt_from(self):
        """As if it were not there; it may still be scored."""
        X, ranks, source, scored = data(signal=1.0)
        weights = np.where(scored, 1.0, 0.0)
        spoilt = np.where(scored[:, None], X, 1e3)
        one = permutation_test(X, ranks, weights, source, source, scored, n_permutations=20)
        other = permutation_test(spoilt, ranks, weights, source, source, scored, n_permutations=20)
        np.testing.assert_array_equal(one.null, other.null)


def _proba(family, rows, ranks, n_levels):
    if family == "logistic":
        C = 1 / 0.3 if n_levels > 2 else 2 / 0.3  # of two levels, each has half of the coefficients
        return LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(rows[0], ranks).predict_proba(rows[1])
    fitted = FAMILIES[family](rows[0], ranks, np.ones(len(ranks)), np.array([0.3]), n_levels, np.arange(len(ranks)))
    return fitted.predict_proba(rows[1])[0]


class TestPromise:
    def test_noise_is_seldom_called_signal(self):
        """80 sets of noise: at 0.05, 0.10 and 0.20, no more than so many and two standard errors; and not never."""
        p = np.array([run(*data(seed=seed), n_permutations=99, seed=seed).p for seed in range(80)])
        for level in (0.05, 0.10, 0.20):
            error = np.sqrt(level * (1 - level) / 80)
            assert abs(np.mean(p <= level) - level) <= 2 * error

    @pytest.mark.slow
    def test_noise_within_speakers_is_seldom_called_signal(self):
        """The same where every speaker has several labels and copies."""
        p = []
        for seed in range(80):
            X, ranks, source, scored = data(n_groups=30, seed=seed)
            groups = np.random.default_rng(seed).integers(0, 6, 30)[source]
            X = X + np.random.default_rng([seed, 1]).standard_normal((6, X.shape[1]))[groups]
            p.append(run(X, ranks, source, scored, groups=groups, n_permutations=99, seed=seed).p)
        for level in (0.05, 0.10, 0.20):
            assert np.mean(np.array(p) <= level) <= level + 2 * np.sqrt(level * (1 - level) / 80)

    def test_signal_is_found(self):
        """In most of 10 sets, by each family."""
        for family in ("cumulative", "all-threshold", "logistic"):
            sets = [data(signal=2.5, seed=seed) for seed in range(10)]
            p = [run(*one, family=family, n_permutations=99).p for one in sets]
            assert np.mean(np.array(p) <= 0.05) >= 0.9

    def test_separable_groups_have_a_small_p_where_scikit_learn_gives_one(self):
        """Its groups exchange labels within themselves alone: one label each, so nothing ever changes."""
        X, ranks, source, scored = data(n_levels=2)
        X[:, 0] += 10.0 * ranks
        head = make_pipeline(StandardScaler(), LogisticRegression())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score, null, p = permutation_test_score(
                head, X, ranks, groups=source, cv=GroupKFold(3), n_permutations=9, random_state=0
            )
        assert (p, len(np.unique(null))) == (1.0, 1)
        assert score > 0.9
        found = run(X, ranks, source, scored, n_permutations=99)
        assert found.p == 0.01
        assert found.observed > 0.9

    def test_wide_rows_are_seen_in_their_span(self):
        """More columns than rows, some of which do not vary."""
        X, ranks, source, scored = data(signal=5.0)
        wide = X @ np.random.default_rng(0).standard_normal((8, 300))
        wide[:, 5] = 1.0
        assert run(wide, ranks, source, scored, n_permutations=49).p == 0.02


class TestFolds:
    def test_folds_know_nothing_of_labels(self):
        """Each of up to twenty groups is left out once; more go into so many folds."""
        few = blind_folds(np.repeat(np.arange(20), 2))
        assert [len(test) for _, test in few] == [2] * 20
        groups = np.repeat(np.arange(21), 2)
        more = blind_folds(groups, n_folds=4)
        assert len(more) == 4
        assert all(not set(groups[train]) & set(groups[test]) for train, test in more)
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in more])), np.arange(42))

    def test_one_group_cannot_be_held_out(self):
        """And the message says what to do."""
        with pytest.raises(SplitError, match="of 1 group"):
            blind_folds(np.zeros(4))

    def test_a_fold_without_weights_is_refused(self):
        """Nothing to learn from."""
        X, ranks, source, scored = data(n_groups=3)
        with pytest.raises(SplitError, match="no recording with a weight"):
            permutation_test(X, ranks, (source == 0) * 1.0, source, source, scored, n_permutations=3)

    def test_the_same_seed_gives_the_same_numbers(self):
        """Another one other deals."""
        one, same, other = (run(*data(), n_permutations=20, seed=seed).null for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


class TestUndefined:
    def test_one_level_has_no_p_but_a_reason(self):
        """Nothing to deal."""
        X, ranks, source, scored = data()
        found = run(X, np.zeros_like(ranks), source, scored, n_permutations=5)
        assert found.observed is found.p is None
        told = found.to_json()
        assert "one level" in told["reason"]
        assert told["null_median"] is None
        assert told["n_ways"] == 1

    def test_a_training_side_of_one_level_says_that_level(self):
        """Two sources that differ: each fold learns from one of them, and is wrong."""
        X, ranks, source, scored = data(n_groups=2, n_levels=2)
        found = run(X, ranks, source, scored, n_permutations=9)
        assert found.observed == -1.0
        assert found.p == 1.0
        assert found.n_ways == 2

    def test_json_has_the_null_by_two_numbers(self):
        """Its middle and its upper end."""
        told = run(*data(signal=1.0), n_permutations=30).to_json()
        assert told["null_median"] <= told["null_high"]
        assert set(told) == {"observed", "p", "null_median", "null_high", "n_permutations", "n_ways", "n_folds"}
