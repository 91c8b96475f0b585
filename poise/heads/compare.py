"""Comparing strategies: every one on identical folds and recordings, beside the baselines, as a leaderboard.

Fitting, folds and metrics live in their own modules; writing files does not live here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.heads.baselines import make_baselines
from poise.heads.cautions import find_cautions
from poise.heads.defaults import Defaults, choose_defaults
from poise.heads.fusion import available_fusions, modalities_of, usable
from poise.heads.leaderboard import LeaderboardRow, score_predictions
from poise.heads.splits import Fold, Protocol, hash_folds, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold, cross_validate, predict_out_of_fold
from poise.manifest import Manifest
from poise.store.bags import Bags

Progress = Callable[[int, int, str], None]
"""Called with the number of fits done, the number of all, and what is being fitted."""


class _Splitting(TypedDict):
    """What the folds of every protocol have in common."""

    rows: NDArray[np.int64]
    keys: Sequence[str]
    repeats: int
    seed: int


_Validate = Callable[[Sequence[Fold], Callable[[], None]], OutOfFold]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What came out of comparing strategies.

    Attributes
    ----------
    rows : list of LeaderboardRow
        Protocol after protocol; baselines first, then by quadratic kappa, best first.
    folds : dict of str to list of Fold
        Folds of each protocol.
    predictions : dict of (strategy, protocol) to OutOfFold
    manifest : Manifest
    scored_rows : ndarray of int64
        Rows of the manifest that are scored.
    cluster : str
        Column whose groups the intervals draw.
    warnings : list of str
        Plain sentences on what was left out.
    repeats, seed : int
    """

    rows: list[LeaderboardRow]
    folds: dict[str, list[Fold]]
    predictions: dict[tuple[str, str], OutOfFold]
    manifest: Manifest
    scored_rows: NDArray[np.int64]
    cluster: str
    warnings: list[str]
    repeats: int
    seed: int

    def to_json(self, *, study: str | None = None) -> dict[str, Any]:
        """The result of ``poise compare`` as JSON.

        Parameters
        ----------
        study : str, optional
            Where the study was written.
        """
        return {
            "leaderboard": [row.to_json() for row in self.rows],
            "comparisons": [],
            "audit": None,
            "audit_reason": "this version computes no audit",
            "study": study,
            "warnings": list(self.warnings),
            "label_names": list(self.manifest.label_names),
            "interval_groups": self.cluster,
            "splits": {protocol: hash_folds(folds, self.manifest) for protocol, folds in self.folds.items()},
            "repeats": self.repeats,
            "seed": self.seed,
        }


def compare(
    bags: Bags,
    manifest: Manifest,
    *,
    strategies: Sequence[Strategy],
    protocols: Sequence[Protocol] | None = None,
    score: Literal["auto", "originals", "all"] = "auto",
    repeats: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Validate strategies and baselines on identical folds.

    Recordings that lack a modality which any strategy needs are left out for all, so that the
    strategies stay comparable row by row; ``warnings`` says how many.

    Parameters
    ----------
    bags : Bags
        Aligned with the manifest.
    manifest : Manifest
    strategies : sequence of Strategy
    protocols : sequence of Protocol, optional
        Default: those of `choose_defaults` on the recordings that are not left out.
    score : {"auto", "originals", "all"}
        Copies are always trained on; whether they are scored too. ``auto`` scores originals.
    repeats : int
        Repeats with other folds and other seeds of the heads.
    seed : int
    progress : callable, optional

    Returns
    -------
    Comparison

    Raises
    ------
    StrategyError
        No recording has what the strategies need.
    SplitError
        A protocol is not possible on these labels and groups.
    """
    _check_asked(bags, manifest, strategies, repeats, seed)
    strategies = list(dict.fromkeys(strategies))
    baseline = Strategy(pooling="mean", fusion=_baseline_fusion(bags, strategies), head="ridge")
    rows, warnings = _usable_rows(bags, [*strategies, baseline])
    scored = "all" if score == "all" or not manifest.is_copy.any() else "originals"
    keep = rows[~manifest.is_copy[rows]] if scored == "originals" else rows
    if not len(keep):
        raise StrategyError(f"None of the {len(rows)} usable recordings is an original. Score copies too: --score all.")
    cluster = "speaker" if _all_given(manifest.speakers) else "source"
    splitting: _Splitting = {"rows": rows, "keys": bags.keys, "repeats": repeats, "seed": seed}
    default = Defaults(protocols=tuple(protocols)) if protocols else choose_defaults(manifest, **splitting)
    chosen = default.protocols
    warnings += [default.note] if default.note else []
    warnings += find_cautions(manifest, bags.keys, chosen, hindrance=default.hindrance)
    folds = {str(one): make_folds(one, manifest, **splitting) for one in chosen}
    contestants = _gather(bags, manifest, strategies, baseline, chosen, cluster, scored, seed)
    count = _Counter(progress, sum(len(each) for each in folds.values()) * len(contestants))
    board, predictions = [], {}
    for protocol, splits in folds.items():
        lines = []
        for name, (validate, is_baseline) in contestants.items():
            found = validate(splits, lambda text=f"{protocol}  {name}": count.step(text))  # type: ignore[misc]
            predictions[name, protocol] = found
            lines.append(
                score_predictions(
                    found, manifest, keep=keep, strategy=name, protocol=protocol, cluster=cluster, seed=seed,
                    baseline=is_baseline,
                )
            )  # fmt: skip
        board += sorted(lines, key=_place)
    return Comparison(
        rows=board,
        folds=folds,
        predictions=predictions,
        manifest=manifest,
        scored_rows=keep,
        cluster=cluster,
        warnings=warnings,
        repeats=repeats,
        seed=seed,
    )


def _check_asked(bags: Bags, manifest: Manifest, strategies: Sequence[Strategy], repeats: int, seed: int) -> None:
    if len(bags) != len(manifest):
        raise StrategyError(
            f"There are {len(bags)} bags and {len(manifest)} rows in the manifest; expected one for each."
        )
    if not strategies or repeats < 1 or seed < 0:
        raise StrategyError(
            f"{len(strategies)} strategies and {repeats} repeats to compare, with the seed {seed}; expected one or "
            "more of both and a seed from 0 on."
        )


class _Counter:
    """Counts fits and tells the progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step(self, text: str) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total, text)


def _gather(
    bags: Bags,
    manifest: Manifest,
    strategies: Sequence[Strategy],
    baseline: Strategy,
    protocols: Sequence[Protocol],
    cluster: str,
    scored: str,
    seed: int,
) -> dict[str, tuple[_Validate, bool]]:
    """How each line of the board is validated, baselines first, and whether it is one."""
    labels, n_classes = manifest.labels, manifest.n_classes
    # without speakers or copies every source is its own group and says nothing
    columns = [cluster] if cluster == "speaker" or manifest.is_copy.any() else []
    columns += [one.column for one in protocols if one.column not in ("", "source", "speaker")]
    groups = {column: manifest.groups(column) for column in dict.fromkeys(columns)}
    counted = np.ones(len(manifest), dtype=bool) if scored == "all" else ~manifest.is_copy
    found: dict[str, tuple[_Validate, bool]] = {}
    for name, predict in make_baselines(n_classes, groups, counted=counted).items():
        found[name] = (
            lambda folds, step, predict=predict: predict_out_of_fold(  # type: ignore[misc]
                predict, labels, folds, n_classes=n_classes, on_fold=step
            ),
            True,
        )
    for strategy in [baseline, *(one for one in strategies if one != baseline)]:
        found[str(strategy)] = (
            lambda folds, step, strategy=strategy: cross_validate(  # type: ignore[misc]
                strategy, bags, labels, folds, n_classes=n_classes, seed=seed, on_fold=step
            ),
            strategy is baseline,
        )
    return found


def _usable_rows(bags: Bags, strategies: Sequence[Strategy]) -> tuple[NDArray[np.int64], list[str]]:
    """Rows that have what every strategy needs, and a warning if some have not."""
    fusions = sorted({strategy.fusion for strategy in strategies})
    have = np.logical_and.reduce([usable(bags, fusion) for fusion in fusions])
    rows = np.flatnonzero(have)
    if len(rows) == len(bags):
        return rows, []
    names = sorted({name for fusion in fusions for name in modalities_of(fusion, bags)})
    lacking = [f"{np.count_nonzero(~bags.modalities[name].present)} lack {name}" for name in names]
    left = f"{len(bags) - len(rows)} of {len(bags)} recordings"
    if not len(rows):
        raise StrategyError(
            f"No recording has everything that the strategies need: of {len(bags)} recordings {', '.join(lacking)}. "
            "Extract the modality, or use --fusion video or --fusion audio."
        )
    return rows, [
        f"{left} are left out of the whole comparison, so that all strategies are scored on the same ones: "
        f"{', '.join(lacking)}. To use them, choose a --fusion that they have."
    ]


def _baseline_fusion(bags: Bags, strategies: Sequence[Strategy]) -> str:
    """The richest fusion among those compared: a baseline must not cost recordings."""
    asked = {strategy.fusion for strategy in strategies}
    for strategy in strategies:
        modalities_of(strategy.fusion, bags)
    return next(fusion for fusion in [*available_fusions(bags), *sorted(asked)] if fusion in asked)


def _all_given(values: NDArray[np.str_] | None) -> bool:
    return values is not None and bool((values != "").all())


def _place(row: LeaderboardRow) -> tuple[bool, float]:
    qwk = row.metrics.values["qwk"]
    # sorting keeps the order of the baselines
    return (not row.baseline, 0.0 if row.baseline else -(qwk if qwk is not None else -np.inf))
