"""One line of a leaderboard: what out-of-fold predictions of one strategy under one protocol are worth.

Fitting and comparing do not live here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.metrics import Scores, compute_scores, count_confusion, summarise
from poise.heads.statistics.bootstrap import Intervals, bootstrap_groups
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class LeaderboardRow:
    """One strategy under one protocol.

    Attributes
    ----------
    strategy, protocol : str
    scored : {"originals", "all"}
    n : int
        Number of recordings scored.
    metrics : Scores
        Over all out-of-fold predictions of a repeat together; the mean over repeats.
    fold_mean, fold_std : Scores
        Mean and standard deviation over single folds, where a metric is defined.
    interval : Intervals
        95 % cluster bootstrap interval of the pooled metric.
    seconds : float
    baseline : bool
    """

    strategy: str
    protocol: str
    scored: str
    n: int
    metrics: Scores
    fold_mean: Scores
    fold_std: Scores
    interval: Intervals
    seconds: float
    baseline: bool

    def to_json(self) -> dict[str, Any]:
        """The row as JSON; the reason of each null stands under ``reasons``."""
        parts: dict[str, Any] = {
            "metrics": self.metrics,
            "fold_mean": self.fold_mean,
            "fold_std": self.fold_std,
            "interval": self.interval,
        }
        values: dict[str, dict[str, Any]] = {name: dict(part.values) for name, part in parts.items()}
        values["interval"] = {name: list(ends) if ends else None for name, ends in self.interval.values.items()}
        return {
            "strategy": self.strategy,
            "protocol": self.protocol,
            "scored": self.scored,
            "n": self.n,
            **values,
            "seconds": self.seconds,
            "baseline": self.baseline,
            "reasons": {name: dict(part.reasons) for name, part in parts.items() if part.reasons},
        }


def score_predictions(
    found: OutOfFold,
    manifest: Manifest,
    *,
    keep: NDArray[np.int64],
    strategy: str,
    protocol: str,
    cluster: str,
    seed: int = 0,
    baseline: bool = False,
) -> LeaderboardRow:
    """What predictions are worth on some of the recordings.

    Parameters
    ----------
    found : OutOfFold
    manifest : Manifest
    keep : ndarray of int64
        Rows of the manifest that are scored, rising.
    strategy, protocol : str
    cluster : str
        Column of the manifest whose groups the intervals draw.
    seed : int
        Of the bootstrap.
    baseline : bool
    """
    place = np.searchsorted(found.rows, keep)
    ranks = manifest.labels[keep]
    pooled, by_fold = [], []
    for predicted, proba, fold in zip(
        found.predicted[:, place], found.proba[:, place], found.fold[:, place], strict=True
    ):
        pooled.append(compute_scores(ranks, predicted, proba))
        by_fold += [
            compute_scores(ranks[fold == one], predicted[fold == one], proba[fold == one]) for one in np.unique(fold)
        ]
    fold_mean, fold_std = summarise(by_fold)
    counts = count_groups(manifest.groups(cluster)[keep], ranks, found.predicted[:, place], manifest.n_classes)
    return LeaderboardRow(
        strategy=strategy,
        protocol=protocol,
        scored="originals" if not manifest.is_copy[keep].any() and manifest.is_copy.any() else "all",
        n=len(keep),
        metrics=pooled[0] if len(pooled) == 1 else summarise(pooled)[0],
        fold_mean=fold_mean,
        fold_std=fold_std,
        interval=bootstrap_groups(counts, seed=seed),
        seconds=found.seconds,
        baseline=baseline,
    )


def count_groups(
    groups: NDArray[np.str_], ranks: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Confusion table of each group, added up over repeats, shape (n_groups, n_classes, n_classes)."""
    repeats = len(predicted)
    return np.stack(
        [
            count_confusion(np.tile(ranks[groups == name], repeats), predicted[:, groups == name].ravel(), n_classes)
            for name in np.unique(groups)
        ]
    )
