"""Would more speakers help? The same recordings, predicted by a strategy that learnt from fewer groups or recordings.

How parts are drawn and what the points say lives in `poise.heads.statistics.learning`; fitting them lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.contestants import Contest
from poise.heads.splits import Fold, Protocol
from poise.heads.statistics.learning import LearningCurve, draw_subsets, summarise_curve
from poise.heads.statistics.tally import GroupTally, tally_groups
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold

N_DRAWS = 5
_MOST_SIZES = 5


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Learning curves of one strategy.

    Attributes
    ----------
    strategy, protocol, scored, unit : str
        ``unit`` is the column whose groups are counted.
    groups, recordings : LearningCurve or None
        Over the number of groups, and of recordings without their copies, on the training side.
    """

    strategy: str
    protocol: str
    scored: str
    unit: str
    groups: LearningCurve | None
    recordings: LearningCurve | None

    def to_json(self) -> dict[str, Any]:
        """Points of both curves, and the outlook of the one over groups."""
        return {
            "strategy": self.strategy,
            "protocol": self.protocol,
            "scored": self.scored,
            "unit": self.unit,
            "groups": [point.to_json() for point in self.groups.points] if self.groups else [],
            "recordings": [point.to_json() for point in self.recordings.points] if self.recordings else [],
            "outlook": self.groups.outlook.to_json() if self.groups and self.groups.outlook else None,
            "reason": self.groups.reason if self.groups else "one group alone is left to learn from",
        }


def draw_curves(
    contest: Contest,
    strategy: Strategy,
    protocol: Protocol,
    folds: Sequence[Fold],
    *,
    keep: NDArray[np.int64],
    cluster: str,
    n_draws: int = N_DRAWS,
    on_fit: Callable[[], None] | None = None,
) -> Curves:
    """Learning curves over groups and over recordings, under one protocol.

    Parameters
    ----------
    contest : Contest
    strategy : Strategy
    protocol : Protocol
    folds : sequence of Fold
        Those of the first repeat are used.
    keep : ndarray of int64
        Rows of the manifest that are scored.
    cluster : str
        Column of the manifest whose groups are counted.
    n_draws : int
        Parts of each size.
    on_fit : callable, optional
        Called after each fit.
    """
    manifest = contest.manifest
    first = [fold for fold in folds if fold.repeat == 0]
    groups = np.unique(manifest.groups(cluster), return_inverse=True)[1]
    curves = []
    for units, name in ((groups, cluster), (manifest.sources, "recording")):
        sizes = _choose_sizes([units[fold.train] for fold in first])
        tallies: dict[int, list[GroupTally]] = {}
        for size in sizes:
            found = _predict(contest, strategy, protocol, _draw(first, units, size, n_draws, contest.seed), on_fit)
            place = np.searchsorted(found.rows, keep)
            tallies[size] = [
                tally_groups(groups[keep], manifest.labels[keep], found.predicted[[draw]][:, place], proba[None, place])
                for draw, proba in enumerate(found.proba)
            ]
        curves.append(summarise_curve(tallies, unit=name, seed=contest.seed) if tallies else None)
    return Curves(
        strategy=str(strategy),
        protocol=str(protocol),
        scored="originals" if manifest.is_copy.any() and not manifest.is_copy[keep].any() else "all",
        unit=cluster,
        groups=curves[0],
        recordings=curves[1],
    )


def count_fits(contest: Contest, folds: Sequence[Fold], cluster: str, *, n_draws: int = N_DRAWS) -> int:
    """How many fits `draw_curves` takes."""
    first = [fold for fold in folds if fold.repeat == 0]
    groups = contest.manifest.groups(cluster)
    sizes = [_choose_sizes([units[fold.train] for fold in first]) for units in (groups, contest.manifest.sources)]
    return sum(map(len, sizes)) * n_draws * len(first)


def _choose_sizes(units: Sequence[NDArray[Any]]) -> list[int]:
    """From two units to as many as every training side has."""
    most = min(len(set(each.tolist())) for each in units)
    if most < 2:
        return []
    return sorted({int(size) for size in np.round(np.linspace(2, most, min(_MOST_SIZES, most - 1)))})


def _draw(folds: Sequence[Fold], units: NDArray[np.int64], size: int, n_draws: int, seed: int) -> list[Fold]:
    """The folds again, each with parts of its training side; a draw stands in the place of a repeat."""
    drawn = []
    for fold in folds:
        parts = draw_subsets(units[fold.train], [size], n_draws=n_draws, seed=seed + fold.fold)
        for draw in range(n_draws):
            part = parts[draw % len(parts)]  # where all are taken there is but one way
            drawn.append(Fold(repeat=draw, fold=fold.fold, train=fold.train[part.rows], test=fold.test))
    return drawn


def _predict(
    contest: Contest,
    strategy: Strategy,
    protocol: Protocol,
    folds: Sequence[Fold],
    on_fit: Callable[[], None] | None,
) -> OutOfFold:
    """Predictions of all draws; a part of one level can only say that level."""
    labels, n_classes = contest.manifest.labels, contest.manifest.n_classes
    several = [len(set(labels[fold.train].tolist())) > 1 for fold in folds]
    rows = np.unique(np.concatenate([fold.test for fold in folds]))
    shape = (1 + max(fold.repeat for fold in folds), len(rows))
    proba, predicted = np.zeros((*shape, n_classes)), np.zeros(shape, dtype=np.int64)
    good = [fold for fold, is_good in zip(folds, several, strict=True) if is_good]
    if good:
        found = contest.validate(strategy, protocol, good, on_fit)
        place = np.searchsorted(rows, found.rows)
        proba[: len(found.proba), place], predicted[: len(found.proba), place] = found.proba, found.predicted
    for fold, is_good in zip(folds, several, strict=True):
        if not is_good:
            place = np.searchsorted(rows, fold.test)
            proba[fold.repeat, place], predicted[fold.repeat, place] = 0.0, labels[fold.train[0]]
            proba[fold.repeat, place, labels[fold.train[0]]] = 1.0
    return OutOfFold(rows=rows, proba=proba, predicted=predicted, fold=np.zeros(shape, dtype=np.int64), seconds=0.0)
