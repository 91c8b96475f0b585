"""Linear heads equal scikit-learn, and leave-one-out equals leaving one out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from poise.heads.linear import LogisticHead, RidgeHead, _ridge_leave_one_out
from poise.heads.ordinal import decode_median

NO_OFFSETS = np.arange(1)


def draw(dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.normal(size=(40, dim))
    ranks = np.digitize(X[:, 0] + 0.3 * random.normal(size=40), [-0.5, 0.5])
    return X, ranks, random.uniform(0.5, 2, 40)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_equals_scikit_learn_on_rows_of_unit_length(n_classes):
    """The penalty means the same however many features there are."""
    X, ranks, weights = draw(16)
    ranks = np.minimum(ranks, n_classes - 1)
    found = LogisticHead.fit(X, ranks, weights, C=2).predict_proba(X, NO_OFFSETS)
    reference = LogisticRegression(C=2 / 16, tol=1e-8, max_iter=5000).fit(X, ranks, sample_weight=weights)
    np.testing.assert_allclose(found, reference.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("dim", [5, 100])
def test_leave_one_out_equals_leaving_one_out(dim):
    """The closed form, with weights, in both shapes of table, is what refitting gives."""
    X, ranks, weights = draw(dim)
    y = ranks.astype(float)
    coef, intercept, unseen = _ridge_leave_one_out(X, y, weights, 3.0)
    reference = Ridge(alpha=3.0).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(coef, reference.coef_, atol=1e-9)
    assert intercept == pytest.approx(reference.intercept_, abs=1e-9)
    for row in range(0, 40, 9):
        rest = np.delete(np.arange(40), row)
        without = Ridge(alpha=3.0).fit(X[rest], y[rest], sample_weight=weights[rest])
        assert unseen[row] == pytest.approx(without.predict(X[[row]])[0], abs=1e-9)


def test_ridge_finds_ordered_levels_and_falls_back_to_the_prior():
    """With signal the levels are found; without, the probabilities are the label distribution."""
    X, ranks, weights = draw(5)
    head = RidgeHead.fit(X, ranks, weights, alpha=0.1)
    assert head.slope[0] > 0
    assert (np.diff(head.cutpoints) > 0).all()
    assert np.mean(decode_median(head.predict_proba(X, NO_OFFSETS)) == ranks) > 0.7
    noise = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [10, 20, 10]))
    flat = RidgeHead(coef=head.coef, intercept=head.intercept, slope=np.zeros(1), cutpoints=head.cutpoints)
    assert np.ptp(flat.predict_proba(X, NO_OFFSETS), axis=0).max() == 0
    blind = RidgeHead.fit(X, noise, np.ones(40), alpha=3.0).predict_proba(X, NO_OFFSETS)
    np.testing.assert_allclose(blind.mean(axis=0), [0.25, 0.5, 0.25], atol=0.1)
