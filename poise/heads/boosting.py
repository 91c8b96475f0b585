"""The LightGBM head: one binary model for each threshold "above level k". LightGBM is imported on use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.ordinal import proba_from_cumulative
from poise.heads.state import get_array

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


@dataclass(frozen=True, kw_only=True, eq=False)
class BoostedHead:
    """Boosted trees for ordered levels, after Frank and Hall (2001), doi:10.1007/3-540-44795-4_13.

    Attributes
    ----------
    trees : tuple of str
        LightGBM's text of one model for each level but the last.
    """

    trees: tuple[str, ...]

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
    ) -> BoostedHead:
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
        return cls(trees=tuple(texts))

    @classmethod
    def from_texts(
        cls, texts: Mapping[str, str], arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int
    ) -> BoostedHead:
        """Rebuild from what `texts` and `arrays` gave."""
        names = [_name(level) for level in range(n_classes - 1)]
        missing = [name for name in names if name not in texts]
        if missing:
            raise BundleError(f"The model has no text {', '.join(missing)}. It has: {', '.join(texts) or 'none'}.")
        if int(get_array(arrays, "n_features", (1,))[0]) != n_features:
            raise BundleError(f"The model's trees were grown on another number of features than {n_features}.")
        return cls(trees=tuple(texts[name] for name in names))

    def predict_proba(self, X: NDArray[np.float64], _offsets: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes)."""
        import lightgbm

        columns = [lightgbm.Booster(model_str=text).predict(X, num_threads=1) for text in self.trees]
        return proba_from_cumulative(np.column_stack(columns))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The number of features, which LightGBM's text is checked against."""
        import lightgbm

        return {"n_features": np.array([lightgbm.Booster(model_str=self.trees[0]).num_feature()])}

    def texts(self) -> dict[str, str]:
        """LightGBM's own text of each model."""
        return {_name(level): text for level, text in enumerate(self.trees)}


def _name(level: int) -> str:
    return f"above_{level}"
