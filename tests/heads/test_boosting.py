"""Boosted trees as plain arrays predict what LightGBM predicts, and arrays that are no trees are refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from poise.errors import BundleError
from poise.heads.boosting import BoostedModel
from poise.heads.ordinal import proba_from_cumulative


@pytest.fixture
def table():
    """Rows with ties and labels of three levels."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 12))
    X[:, 3] = X[:, 3].round()
    return X, (X[:, 0] + random.normal(size=200) > 0).astype(np.int64) + (X[:, 3] > 0)


def fit(X, ranks, **settings) -> BoostedModel:
    given = {"n_trees": 60, "n_leaves": 7, "shrinkage": 0.1, "seed": 1, **settings}
    return BoostedModel.fit(X, ranks, np.ones(len(X)), **given)


@pytest.mark.parametrize("settings", [{}, {"n_leaves": 31, "shrinkage": 0.5}, {"n_leaves": 2, "n_trees": 1}])
def test_arrays_predict_what_lightgbm_predicts(table, settings, monkeypatch):
    """The probabilities are those of LightGBM's own models to twelve digits, on rows seen and unseen."""
    import lightgbm

    grown, train = [], lightgbm.train

    def keep(*args, **kwargs):
        grown.append(train(*args, **kwargs))
        return grown[-1]

    monkeypatch.setattr(lightgbm, "train", keep)
    X, ranks = table
    head = fit(X, ranks, **settings)
    rows = np.vstack([X, 2 * np.random.default_rng(1).normal(size=(300, 12))])
    above = np.column_stack([model.predict(rows) for model in grown])
    np.testing.assert_allclose(head.predict_proba(rows), proba_from_cumulative(above), atol=1e-12)


def test_trees_without_a_split_say_the_label_distribution():
    """Features that say nothing give every row the same probabilities: those of the labels."""
    ranks = np.repeat([0, 1, 2], [10, 20, 10])
    head = fit(np.ones((40, 2)), ranks)
    assert not len(head.columns)
    proba = head.predict_proba(np.zeros((3, 2)))
    np.testing.assert_allclose(proba, np.tile([0.25, 0.5, 0.25], (3, 1)), atol=0.05)


def test_predicting_needs_no_lightgbm(table, monkeypatch):
    """A trained head is arrays and numpy."""
    X, ranks = table
    head = fit(X, ranks)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    again = BoostedModel.from_arrays(head.arrays(), n_features=12, n_classes=3)
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("children", np.zeros_like, "run in circles"),
        ("children", lambda a: a + 10**6, "'children' goes from"),
        ("children", lambda a: a - 10**6, "'children' goes from"),
        ("children", lambda a: a[:-1], "'children' has the shape"),
        ("roots", lambda a: a - 10**6, "'roots' goes from"),
        ("roots", lambda a: a.astype(float), "'roots' is float64, expected int64"),
        ("columns", lambda a: a + 12, "'columns' goes from 12 to .*, expected 0 to 11"),
        ("levels", lambda a: a + 1, "'levels' goes from 1 to 2, expected 0 to 1"),
        ("thresholds", lambda a: a * np.nan, "'thresholds' .* is not all finite"),
        ("leaves", lambda a: a[:3], "goes from"),
    ],
)
def test_arrays_that_are_no_trees_are_refused(table, name, change, message):
    """Circles, places and columns that do not exist, and other shapes are one clear error each."""
    arrays = fit(*table).arrays()
    with pytest.raises(BundleError, match=message):
        BoostedModel.from_arrays({**arrays, name: change(arrays[name])}, n_features=12, n_classes=3)
