"""One line of a leaderboard: what out-of-fold predictions of one strategy under one protocol are worth.

Fitting and comparing do not live here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.metrics import Scores, compute_scores, quadratic_kappa, summarise
from poise.heads.statistics.bootstrap import Intervals, bootstrap_groups
from poise.heads.statistics.calibration import Reliability, tabulate_reliability
from poise.heads.statistics.conformal import SetCoverage, cover_groups
from poise.heads.statistics.tally import GroupTally, table_accuracy, table_mae, tally_groups
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
    tally : GroupTally
        What is kept of each group.
    reliability : Reliability
        How sure predictions are against how often they are right.
    coverage : SetCoverage or None
        What prediction sets held for groups they were not calibrated on; None with a single group.
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
    tally: GroupTally
    reliability: Reliability
    coverage: SetCoverage | None
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
            "by_group": self.by_group(),
            "reliability": self.reliability.to_json(),
            "conformal": self.coverage.to_json() if self.coverage else None,
            "reasons": {name: dict(part.reasons) for name, part in parts.items() if part.reasons},
        }

    def cells(self) -> dict[str, Any]:
        """The row as one line of a table; what is undefined is None."""
        low, high = self.interval.values["qwk"] or (None, None)
        return {
            "strategy": self.strategy,
            "protocol": self.protocol,
            "scored": self.scored,
            "n": self.n,
            "baseline": int(self.baseline),
            **self.metrics.values,
            "qwk_low": low,
            "qwk_high": high,
        }

    def by_group(self) -> list[dict[str, Any]]:
        """Metrics of each group by itself; kappa is None where a group has one level only."""
        tables = self.tally.counts
        kappa, accuracy, mae = quadratic_kappa(tables), table_accuracy(tables), table_mae(tables)
        repeats = int(self.tally.rps[:, 1].sum()) // max(self.n, 1)
        return [
            {
                "group": str(name),
                "n": int(tables[place].sum()) // max(repeats, 1),
                "qwk": float(kappa[place]) if np.isfinite(kappa[place]) else None,
                "accuracy": float(accuracy[place]),
                "mae": float(mae[place]),
                "rps": float(self.tally.rps[place, 0] / self.tally.rps[place, 1]),
            }
            for place, name in enumerate(self.tally.names)
        ]


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
    groups = manifest.groups(cluster)[keep]
    tally = tally_groups(groups, ranks, found.predicted[:, place], found.proba[:, place])
    return LeaderboardRow(
        strategy=strategy,
        protocol=protocol,
        scored="originals" if not manifest.is_copy[keep].any() and manifest.is_copy.any() else "all",
        n=len(keep),
        metrics=pooled[0] if len(pooled) == 1 else summarise(pooled)[0],
        fold_mean=fold_mean,
        fold_std=fold_std,
        interval=bootstrap_groups(tally.counts, rps=tally.rps, seed=seed),
        tally=tally,
        reliability=tabulate_reliability(ranks, found.predicted[:, place], found.proba[:, place]),
        coverage=cover_groups(found.proba[:, place], ranks, groups),
        seconds=found.seconds,
        baseline=baseline,
    )
