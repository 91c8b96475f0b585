"""Inner folds: how a head chooses its own settings from the training side alone, groups kept together."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

N_FOLDS = 4


def inner_folds(
    ranks: NDArray[np.int64], groups: NDArray[np.generic], *, n_folds: int = N_FOLDS, random_state: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and test rows of each fold, groups kept together and levels spread as evenly as that allows.

    None with fewer than two groups. A fold that came out without test rows is left out.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return []
    n = min(n_folds, n_groups)
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=random_state)
    if np.bincount(ranks).max() < n:  # scikit-learn refuses to stratify fewer rows of every level than folds
        splitter = GroupKFold(n, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # it need not be in every fold
        return [(train, test) for train, test in splitter.split(ranks, ranks, groups) if len(test) and len(train)]
