"""Who takes part in a comparison: the dumb baselines first, then the strategies, each with how it is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from poise.heads.baselines import make_baselines
from poise.heads.fusion import available_fusions, modalities_of
from poise.heads.splits import Fold, Protocol, bound_groups
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold, PredictFold, cross_validate, predict_out_of_fold
from poise.manifest import Manifest
from poise.store.bags import Bags, ModalityBags

DURATION = "duration-only"
"""Name of the baseline that knows nothing of a recording but how long it is."""

WEIGHT_FREE = "weight-free"
"""Name of the baseline that sees what encoders without weights make of the same recordings."""

Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """What all contestants have in common.

    Attributes
    ----------
    bags : Bags
        Aligned with the manifest.
    manifest : Manifest
    seed : int
    weight_free : Bags or None
        Features of the same recordings by encoders without weights; what a pretrained encoder must do better than.
    """

    bags: Bags
    manifest: Manifest
    seed: int
    weight_free: Bags | None = None

    def validate(
        self, strategy: Strategy, protocol: Protocol, folds: Sequence[Fold], on_fold: Step | None = None
    ) -> OutOfFold:
        """Out-of-fold predictions of a strategy; its inner folds keep together what the protocol does."""
        return self._validate(strategy, self.bags, protocol, folds, on_fold)

    def validate_duration(self, protocol: Protocol, folds: Sequence[Fold], on_fold: Step | None = None) -> OutOfFold:
        """Out-of-fold predictions from how long each recording is, by the default head."""
        strategy = Strategy(pooling="mean", fusion="video", head="cumulative")
        return self._validate(strategy, _durations(self.bags), protocol, folds, on_fold)

    def validate_ridge(
        self, features: Bags, protocol: Protocol, folds: Sequence[Fold], on_fold: Step | None = None
    ) -> OutOfFold:
        """Out-of-fold predictions by ridge regression on other features of the same recordings."""
        strategy = Strategy(pooling="mean", fusion=available_fusions(features)[0], head="ridge")
        return self._validate(strategy, features, protocol, folds, on_fold)

    def validate_baseline(self, predict: PredictFold, folds: Sequence[Fold], on_fold: Step | None = None) -> OutOfFold:
        """Out-of-fold predictions of something that sees no features."""
        labels, n_classes = self.manifest.labels, self.manifest.n_classes
        return predict_out_of_fold(predict, labels, folds, n_classes=n_classes, on_fold=on_fold)

    def _validate(
        self, strategy: Strategy, bags: Bags, protocol: Protocol, folds: Sequence[Fold], on_fold: Step | None
    ) -> OutOfFold:
        manifest = self.manifest
        return cross_validate(
            strategy,
            bags,
            manifest.labels,
            folds,
            n_classes=manifest.n_classes,
            seed=self.seed,
            groups=bound_groups(manifest, protocol.column, keys=bags.keys) if protocol.column else None,
            columns=columns_of(manifest),
            on_fold=on_fold,
        )


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One line of every protocol.

    Attributes
    ----------
    name : str
    baseline : bool
    validate : callable
        From a protocol, its folds and what to call after each fold to out-of-fold predictions.
    """

    name: str
    baseline: bool
    validate: Callable[[Protocol, Sequence[Fold], Step], OutOfFold]


def gather_contestants(
    contest: Contest, strategies: Sequence[Strategy], *, columns: Sequence[str], counted: NDArray[np.bool_]
) -> list[Contestant]:
    """Baselines first: no features, how long a recording is, ridge regression on weight-free features and on the mean.

    Parameters
    ----------
    contest : Contest
    strategies : sequence of Strategy
    columns : sequence of str
        Columns of the manifest whose value alone may give the label away.
    counted : ndarray of shape (n_recordings,), bool
        Rows like those that are scored.
    """
    manifest = contest.manifest
    groups = {column: manifest.groups(column) for column in columns}
    found = [
        Contestant(
            name=name,
            baseline=True,
            validate=lambda _, folds, step, predict=predict: contest.validate_baseline(predict, folds, step),  # type: ignore[misc]
        )
        for name, predict in make_baselines(manifest.n_classes, groups, counted=counted).items()
    ]
    found.append(Contestant(name=DURATION, baseline=True, validate=contest.validate_duration))
    if contest.weight_free is not None:
        ridge = partial(contest.validate_ridge, contest.weight_free)
        found.append(Contestant(name=WEIGHT_FREE, baseline=True, validate=ridge))
    baseline = baseline_strategy(contest.bags, strategies)
    found += [
        Contestant(
            name=str(strategy),
            baseline=strategy is baseline,
            validate=lambda protocol, folds, step, strategy=strategy: contest.validate(  # type: ignore[misc]
                strategy, protocol, folds, step
            ),
        )
        for strategy in [baseline, *(one for one in strategies if one != baseline)]
    ]
    return found


def baseline_strategy(bags: Bags, strategies: Sequence[Strategy]) -> Strategy:
    """Ridge on the mean, with the richest fusion among those compared: a baseline must not cost recordings."""
    asked = {strategy.fusion for strategy in strategies if strategy.fusion != "gated"} or {"mid"}
    for strategy in strategies:
        modalities_of(strategy.fusion, bags)
    fusion = next(fusion for fusion in [*available_fusions(bags), *sorted(asked)] if fusion in asked)
    return Strategy(pooling="mean", fusion=fusion, head="ridge")


def columns_of(manifest: Manifest) -> Mapping[str, NDArray[np.str_]]:
    """Columns of the manifest that recordings may be grouped by, where every row has one."""
    names = [*(["speaker"] if manifest.speakers is not None else []), "source", *manifest.extra]
    found = {}
    for name in names:
        values = np.array(manifest.extra[name], dtype=np.str_) if name in manifest.extra else None
        if name == "speaker":
            values = manifest.speakers
        if name == "source":
            values = manifest.groups("source")
        if values is not None and (values != "").all():
            found[name] = values
    return found


def _durations(bags: Bags) -> Bags:
    """One number for each recording: the logarithm of when its last clip ends, or of how many clips it has."""
    sides = list(bags.modalities.values())
    lengths = np.zeros(len(bags))
    known = all(np.isfinite(side.clip_times).all() for side in sides)
    for side in sides:
        ends = side.clip_times[:, 1] if known else np.ones(len(side.values))
        full = np.flatnonzero(side.present)
        if len(full):
            reduce = np.maximum.reduceat if known else np.add.reduceat
            lengths[full] = np.maximum(lengths[full], reduce(ends, side.offsets[:-1][full]))
    n = len(bags)
    column = ModalityBags(
        values=np.log1p(lengths)[:, None], offsets=np.arange(n + 1), clip_times=np.full((n, 2), np.nan)
    )
    return Bags(keys=bags.keys, modalities={"video": column})
