"""The LightGBM head: one binary model for each threshold "above level k".

LightGBM grows the trees and is imported for that only; they are kept and read as plain arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.inputs import as_table
from poise.heads.ordinal import proba_from_cumulative, sigmoid
from poise.heads.parameters import HeadSettings
from poise.heads.problem import Fit, Problem
from poise.heads.scaling import Projection, Standardiser
from poise.heads.state import get_array
from poise.heads.tabular import TabularHead, read_scaling

_FIXED = {
    "objective": "binary",
    # with more threads a fit on a hundred rows takes ten times as long
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    # the library's default of 20 hardly splits a hundred rows
    "min_data_in_leaf": 3,
    "min_data_in_bin": 1,
    "lambda_l2": 1.0,
    "bagging_freq": 1,
    "bagging_fraction": 0.8,
}

_BATCH_CELLS = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class BoostedModel:
    """Boosted trees for ordered levels, after Frank and Hall (2001), doi:10.1007/3-540-44795-4_13.

    A place in a tree is a whole number: from 0 on it is a node, below 0 it is the leaf ``-1 - place``.

    Attributes
    ----------
    roots : ndarray of shape (n_trees,), int64
        Where each tree begins.
    levels : ndarray of shape (n_trees,), int64
        The level above which each tree looks, 0 .. n_classes - 2.
    columns : ndarray of shape (n_nodes,), int64
        Feature that each node asks for.
    thresholds : ndarray of shape (n_nodes,), float64
        A row goes left where the feature is at most this.
    children : ndarray of shape (n_nodes, 2), int64
        Places to the left and to the right; a node stands before its children.
    leaves : ndarray of shape (n_leaves,), float64
        Log-odds that the trees of a level add up.
    n_classes : int
    """

    roots: NDArray[np.int64]
    levels: NDArray[np.int64]
    columns: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    children: NDArray[np.int64]
    leaves: NDArray[np.float64]
    n_classes: int

    @classmethod
    def fit(
        cls,
        X: NDArray[np.float64],
        ranks: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        n_trees: int,
        n_leaves: int,
        shrinkage: float,
        seed: int,
    ) -> BoostedModel:
        """Learn from rows of shape (n, n_features)."""
        import lightgbm

        counted = weights > 0
        rows = X[counted]
        # a tree needs few of a thousand alike columns
        share = min(1.0, max(8 * np.sqrt(X.shape[1]), 1) / X.shape[1])
        settings = _FIXED | {
            "num_leaves": n_leaves, "learning_rate": shrinkage, "feature_fraction": share, "seed": seed
        }  # fmt: skip
        texts = []
        for level in range(int(ranks.max())):
            above = (ranks[counted] > level).astype(np.float64)
            table = lightgbm.Dataset(rows, label=above, weight=weights[counted], params=settings)
            texts.append(lightgbm.train(settings, table, num_boost_round=n_trees).model_to_string())
        return cls._from_texts(texts)

    @classmethod
    def _from_texts(cls, texts: list[str]) -> BoostedModel:
        """The trees that LightGBM has just grown, one model for each level but the last."""
        found: dict[str, list[Any]] = {"columns": [], "thresholds": [], "children": [], "leaves": []}
        roots, levels = [], []
        for level, text in enumerate(texts):
            for tree in _read_trees(text):
                n_nodes, n_leaves = len(found["columns"]), len(found["leaves"])
                sides = np.array([tree["left_child"], tree["right_child"]]).astype(np.int64).T.reshape(-1, 2)
                found["children"] += np.where(sides >= 0, sides + n_nodes, sides - n_leaves).tolist()
                found["columns"] += tree["split_feature"]
                found["thresholds"] += tree["threshold"]
                found["leaves"] += tree["leaf_value"]
                roots.append(n_nodes if len(sides) else -1 - n_leaves)
                levels.append(level)
        return cls(
            roots=np.array(roots, dtype=np.int64),
            levels=np.array(levels, dtype=np.int64),
            columns=np.array(found["columns"], dtype=np.float64).astype(np.int64),
            thresholds=np.array(found["thresholds"], dtype=np.float64),
            children=np.array(found["children"], dtype=np.int64).reshape(-1, 2),
            leaves=np.array(found["leaves"], dtype=np.float64),
            n_classes=len(texts) + 1,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int) -> BoostedModel:
        """Rebuild from what `arrays` gave."""
        roots = get_array(arrays, "roots", (None,))
        columns = get_array(arrays, "columns", (None,))
        leaves = get_array(arrays, "leaves", (None,))
        levels = get_array(arrays, "levels", (len(roots),))
        thresholds = get_array(arrays, "thresholds", (len(columns),))
        children = get_array(arrays, "children", (len(columns), 2))
        whole = {"roots": roots, "columns": columns, "levels": levels, "children": children}
        for name, array in whole.items():
            if array.dtype != np.int64:
                raise BundleError(f"The model's array {name!r} is {array.dtype}, expected int64. Train it again.")
        _check_range("columns", columns, 0, n_features)
        _check_range("levels", levels, 0, n_classes - 1)
        _check_range("roots", roots, -len(leaves), len(columns))
        _check_range("children", children, -len(leaves), len(columns))
        inner = children >= 0
        if (children <= np.arange(len(columns))[:, None])[inner].any():
            raise BundleError("The model's trees run in circles: a node stands after its children. Train it again.")
        return cls(
            roots=roots, levels=levels, columns=columns, thresholds=thresholds, children=children, leaves=leaves,
            n_classes=n_classes,
        )  # fmt: skip

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes)."""
        scores = np.zeros((len(X), self.n_classes - 1))
        for level in range(self.n_classes - 1):
            roots = self.roots[self.levels == level]
            size = max(1, _BATCH_CELLS // max(1, len(roots)))
            for first in range(0, len(X), size):
                rows = slice(first, first + size)
                scores[rows, level] = self._leaf_values(X[rows], roots).sum(axis=1)
        return proba_from_cumulative(sigmoid(scores))

    def _leaf_values(self, X: NDArray[np.float64], roots: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each tree says of each row, shape (n, n_trees)."""
        places = np.tile(roots, (len(X), 1))  # (n, n_trees)
        row, tree = np.nonzero(places >= 0)
        while len(row):
            nodes = places[row, tree]
            right = ~(X[row, self.columns[nodes]] <= self.thresholds[nodes])
            found = self.children[nodes, right.astype(np.int64)]
            places[row, tree] = found
            row, tree = row[found >= 0], tree[found >= 0]
        return np.asarray(self.leaves[-1 - places])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        names = ("roots", "levels", "columns", "thresholds", "children", "leaves")
        return {name: getattr(self, name) for name in names}


def fit_boosted(problem: Problem, settings: HeadSettings) -> Fit:
    """Grow the trees of one problem.

    Parameters
    ----------
    problem : Problem
    settings : HeadSettings
        ``n_trees``, ``n_leaves``, ``shrinkage``, ``n_components``.
    """
    X, weights = as_table(problem.inputs), problem.weights / problem.weights[problem.weights > 0].mean()
    standardiser = Standardiser.fit(X, weights)
    rows, projection, most = standardiser.transform(X), None, settings.number("n_components")
    if most is not None:
        projection = Projection.fit(rows, weights, n_components=int(most))
        rows = projection.transform(rows)
    trees = {name: settings[name] for name in ("n_trees", "n_leaves", "shrinkage")}
    model = BoostedModel.fit(rows, problem.ranks, weights, seed=problem.seed, **trees)
    return Fit(head=TabularHead(standardiser=standardiser, projection=projection, model=model))


def read_boosted(arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int) -> TabularHead:
    """Rebuild a head from what its `arrays` gave.

    Raises
    ------
    BundleError
        An array is missing or damaged, or the trees are none.
    """
    standardiser, projection, n_seen = read_scaling(arrays, n_features=n_features)
    model = BoostedModel.from_arrays(arrays, n_features=n_seen, n_classes=n_classes)
    return TabularHead(standardiser=standardiser, projection=projection, model=model)


def _read_trees(text: str) -> Iterator[dict[str, list[float]]]:
    """Numbers of each tree in LightGBM's own text."""
    names = ("split_feature", "threshold", "left_child", "right_child", "leaf_value")
    for block in text.split("\nTree=")[1:]:
        lines = dict(line.partition("=")[::2] for line in block.splitlines())
        yield {name: [float(number) for number in lines[name].split()] for name in names}


def _check_range(name: str, array: NDArray[np.int64], low: int, high: int) -> None:
    if array.size and not (low <= array.min() and array.max() < high):
        raise BundleError(
            f"The model's array {name!r} goes from {array.min()} to {array.max()}, expected {low} to {high - 1}. "
            "Train it again."
        )
