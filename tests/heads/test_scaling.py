"""Standardisation and projection keep what varies, and weights count as repeats."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from poise.errors import BundleError
from poise.heads.scaling import CLIP, Projection, Standardiser


def test_standardiser_equals_scikit_learn_on_columns_that_vary():
    """Mean 0 and deviation 1; constant and near-constant columns are dropped."""
    X = np.random.default_rng(0).normal(3, 2, size=(50, 4))
    X[:, 1] = 7
    X[:, 2] = 1000 + 1e-5 * X[:, 0]
    scaler = Standardiser.fit(X, np.ones(50))
    assert scaler.kept.tolist() == [0, 3]
    np.testing.assert_allclose(scaler.transform(X), StandardScaler().fit_transform(X[:, [0, 3]]), atol=1e-12)


def test_column_that_hardly_varied_does_not_explode():
    """A value far outside of what was seen is clipped."""
    X = np.random.default_rng(0).normal(size=(50, 1)) * 1e-3
    scaler = Standardiser.fit(X, np.ones(50))
    assert np.abs(scaler.transform(np.array([[5.0], [-5.0]]))).max() == CLIP


def test_constant_table_stays_finite():
    """Where nothing varies, everything is 0."""
    X = np.ones((5, 3))
    assert (Standardiser.fit(X, np.ones(5)).transform(X) == 0).all()


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_projection_is_principal_components_with_mean_variance_one(shape):
    """Distances in the span are kept up to one factor; directions are scikit-learn's."""
    X = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1])
    found = Projection.fit(X, np.ones(len(X)), n_components=10).transform(X)
    expected = PCA(10).fit_transform(X)
    expected /= np.sqrt(expected.var(axis=0).mean())
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    assert found.var(axis=0).mean() == pytest.approx(1, abs=1e-5)


def test_weights_count_as_repeats():
    """Weight 2 is the same as twice, weight 0 as not at all."""
    X = np.random.default_rng(0).normal(size=(20, 6))
    weights = np.r_[np.full(5, 2.0), np.ones(13), np.zeros(2)]
    repeated = np.vstack([X[:5], X[:18]])
    once, twice = Standardiser.fit(X, weights), Standardiser.fit(repeated, np.ones(23))
    np.testing.assert_allclose(once.transform(X), twice.transform(X), atol=1e-12)
    axes = [Projection.fit(*args, n_components=3) for args in ((X, weights), (repeated, np.ones(23)))]
    np.testing.assert_allclose(*(np.abs(axis.transform(X)) for axis in axes), atol=1e-4)


def test_standardiser_of_other_features_is_refused():
    """Columns that the features do not have are an error of the bundle."""
    arrays = Standardiser.fit(np.eye(4), np.ones(4)).arrays()
    with pytest.raises(BundleError, match="columns that 3 features do not have"):
        Standardiser.from_arrays(arrays, n_features=3)
