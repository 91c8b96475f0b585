"""Comparing strategies: every one on identical folds and recordings, beside the baselines, as a leaderboard.

Fitting, folds and metrics live in their own modules; writing files does not live here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError, StrategyError
from poise.heads.attention import learns_attention, look_back
from poise.heads.audit.audit import audit
from poise.heads.cautions import find_cautions, tell_left_out
from poise.heads.comparison import Comparison
from poise.heads.contestants import Contest, Contestant, baseline_strategy, columns_of, gather_contestants
from poise.heads.curve import count_fits, draw_curves
from poise.heads.defaults import Defaults, choose_defaults
from poise.heads.differences import find_differences
from poise.heads.fusion import available_fusions, modalities_of, usable
from poise.heads.leaderboard import LeaderboardRow, score_predictions
from poise.heads.progress import Progress, StepCounter
from poise.heads.splits import Fold, Protocol, make_folds
from poise.heads.strategy import Strategy, check_name
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest
from poise.store.bags import Bags


class _Splitting(TypedDict):
    """What the folds of every protocol have in common."""

    rows: NDArray[np.int64]
    keys: Sequence[str]
    repeats: int
    seed: int


def compare(
    bags: Bags,
    manifest: Manifest,
    *,
    strategies: Sequence[Strategy],
    protocols: Sequence[Protocol] | None = None,
    score: Literal["auto", "originals", "all"] = "auto",
    repeats: int = 1,
    seed: int = 0,
    weight_free: Bags | None = None,
    with_audit: bool = True,
    n_tried: int = 1,
    in_depth: bool = False,
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
    weight_free : Bags, optional
        Features of the same recordings by encoders without weights (motion, prosody): one more baseline, if every
        recording that is compared has them.
    with_audit : bool
        Also ask whether the figures of the leader under the hardest protocol are real.
    n_tried : int
        Strategies that were tried in all, if more than are compared here: the audit's p is corrected for them.
    in_depth : bool
        Also draw learning curves and keep where attention looked, which takes about a hundred fits of the leader.
    progress : callable, optional

    Returns
    -------
    Comparison
        Without the strategies that could not be fitted; ``warnings`` says why.

    Raises
    ------
    StrategyError
        No recording has what the strategies need, or none of them can be fitted.
    SplitError
        A protocol is not possible on these labels and groups.
    """
    _check_asked(bags, manifest, strategies, score, repeats, seed)
    strategies = list(dict.fromkeys(strategies))
    baseline = baseline_strategy(bags, strategies)
    rows, warnings = _usable_rows(bags, manifest, [*strategies, baseline])
    scored = "all" if score == "all" or not manifest.is_copy.any() else "originals"
    keep = rows[~manifest.is_copy[rows]] if scored == "originals" else rows
    if not len(keep):
        raise StrategyError(f"None of the {len(rows)} usable recordings is an original. Score copies too: --score all.")
    cluster = "speaker" if "speaker" in columns_of(manifest) else "source"
    splitting: _Splitting = {"rows": rows, "keys": bags.keys, "repeats": repeats, "seed": seed}
    try:
        default = Defaults(protocols=tuple(protocols)) if protocols else choose_defaults(manifest, **splitting)
        folds = {one: make_folds(one, manifest, **splitting) for one in default.protocols}
    except SplitError as error:
        for text in warnings:  # what was left out may be why
            error.add_note(text)
        raise
    chosen = default.protocols
    warnings += [default.note] if default.note else []
    warnings += find_cautions(manifest, bags.keys, chosen, hindrance=default.hindrance)
    warnings += _on_centering(strategies)
    besides, notes = _check_weight_free(weight_free, rows, len(bags))
    warnings += notes
    contest = Contest(bags=bags, manifest=manifest, seed=seed, weight_free=besides)
    contestants = gather_contestants(
        contest,
        strategies,
        columns=_telling_columns(manifest, chosen, cluster),
        counted=np.ones(len(manifest), dtype=bool) if scored == "all" else ~manifest.is_copy,
    )
    predictions, failed = _validate_all(contestants, folds, progress)
    warnings += [f"{name} is left out: {error}" for name, error in failed.items()]
    fitted = [one for one in strategies if str(one) not in failed]
    if not fitted:
        raise next(iter(failed.values()))
    board, differences = [], []
    for protocol, splits in folds.items():
        lines = [
            score_predictions(
                predictions[one.name, str(protocol)],
                manifest,
                keep=keep,
                strategy=one.name,
                protocol=str(protocol),
                cluster=cluster,
                seed=seed,
                baseline=one.baseline,
            )
            for one in contestants
            if one.name not in failed
        ]
        lines.sort(key=_place)
        board += lines
        seen = {name: predictions[name, str(protocol)] for name in map(str, [*fitted, baseline])}
        differences += find_differences(lines, seen, splits, manifest, seed=seed)
    hardest = max(folds, key=lambda protocol: protocol.hardness)
    ranked = _rank(fitted, baseline, board, str(hardest))
    deep = _look_deeper(contest, ranked, hardest, folds[hardest], keep, cluster, progress) if in_depth else {}
    if with_audit:
        deep["audit"] = audit(
            bags,
            manifest,
            strategy=ranked[0],
            rows=rows,
            known={str(protocol): predictions[str(ranked[0]), str(protocol)] for protocol in folds},
            n_tried=max(n_tried, len(strategies)),
            seed=seed,
            progress=progress,
        )
    return Comparison(
        rows=board,
        folds={str(protocol): splits for protocol, splits in folds.items()},
        predictions=predictions,
        manifest=manifest,
        scored_rows=keep,
        cluster=cluster,
        warnings=warnings,
        repeats=repeats,
        seed=seed,
        differences=differences,
        **deep,
    )


def _validate_all(
    contestants: Sequence[Contestant], folds: Mapping[Protocol, Sequence[Fold]], progress: Progress | None
) -> tuple[dict[tuple[str, str], OutOfFold], dict[str, StrategyError]]:
    """Predictions of everyone that can be fitted under all protocols, and why a strategy cannot."""
    count = StepCounter(progress, sum(len(each) for each in folds.values()) * len(contestants))
    predictions: dict[tuple[str, str], OutOfFold] = {}
    failed: dict[str, StrategyError] = {}
    for one in contestants:
        own = {}
        try:
            for protocol, splits in folds.items():
                step = f"{protocol}  {one.name}"
                own[one.name, str(protocol)] = one.validate(protocol, splits, partial(count.step, step))
        except StrategyError as error:
            error.add_note(f"It was {one.name} under {protocol} that could not be fitted.")
            if one.baseline:
                raise
            failed[one.name] = error
        else:
            predictions |= own
    return predictions, failed


def _check_asked(
    bags: Bags, manifest: Manifest, strategies: Sequence[Strategy], score: str, repeats: int, seed: int
) -> None:
    check_name("score", score, ("auto", "originals", "all"))
    if len(bags) != len(manifest):
        raise StrategyError(
            f"There are {len(bags)} bags and {len(manifest)} rows in the manifest; expected one for each."
        )
    whole = isinstance(repeats, Integral) and isinstance(seed, Integral)
    if not strategies or not whole or repeats < 1 or seed < 0:
        raise StrategyError(
            f"{len(strategies)} strategies and {repeats} repeats to compare, with the seed {seed}; expected one or "
            "more of both and a whole number from 0 on as the seed."
        )


def _check_weight_free(weight_free: Bags | None, rows: NDArray[np.int64], n: int) -> tuple[Bags | None, list[str]]:
    """The weight-free features, or a sentence on why they are no baseline."""
    if weight_free is None:
        return None, []
    if len(weight_free) != n:
        raise StrategyError(f"There are {n} bags and {len(weight_free)} weight-free ones; expected as many.")
    fusions = available_fusions(weight_free)
    lacking = np.count_nonzero(~usable(weight_free, fusions[0])[rows]) if fusions else len(rows)
    if lacking:
        return None, [f"{lacking} of {len(rows)} recordings have no weight-free features, which are thus no baseline."]
    return weight_free, []


def _telling_columns(manifest: Manifest, protocols: Sequence[Protocol], cluster: str) -> list[str]:
    """Columns whose value alone may tell the label; without speakers or copies every source is its own group."""
    columns = [cluster] if cluster == "speaker" or manifest.is_copy.any() else []
    columns += [one.column for one in protocols if one.column not in ("", "source", "speaker")]
    return list(dict.fromkeys(columns))


def _on_centering(strategies: Sequence[Strategy]) -> list[str]:
    centered = [str(one) for one in strategies if one.settings["center"] != "none"]
    if not centered:
        return []
    return [
        f"{', '.join(centered)}: every recording is compared with the others of its group, those that are predicted "
        "included. The figures hold where several recordings of a new group come together, not for a single one."
    ]


def _usable_rows(bags: Bags, manifest: Manifest, strategies: Sequence[Strategy]) -> tuple[NDArray[np.int64], list[str]]:
    """Rows that have what every strategy needs, and a warning if some have not."""
    fusions = sorted({strategy.fusion for strategy in strategies})
    have = np.logical_and.reduce([usable(bags, fusion) for fusion in fusions])
    rows = np.flatnonzero(have)
    if len(rows) == len(bags):
        return rows, []
    names = sorted({name for fusion in fusions for name in modalities_of(fusion, bags)})
    if not len(rows):
        lacking = [f"{np.count_nonzero(~bags.modalities[name].present)} lack {name}" for name in names]
        raise StrategyError(
            f"No recording has everything that the strategies need: of {len(bags)} recordings {', '.join(lacking)}. "
            "Extract the modality, or use --fusion video or --fusion audio."
        )
    return rows, [tell_left_out(bags, manifest, rows, names)]


def _rank(
    strategies: Sequence[Strategy], baseline: Strategy, board: Sequence[LeaderboardRow], protocol: str
) -> list[Strategy]:
    """The strategies as they stand under a protocol, best first; the baseline last."""
    named = {str(strategy): strategy for strategy in strategies}
    ranked = [named[row.strategy] for row in board if row.protocol == protocol and row.strategy in named]
    return sorted(ranked, key=lambda strategy: strategy == baseline)


def _look_deeper(
    contest: Contest,
    ranked: Sequence[Strategy],
    protocol: Protocol,
    folds: Sequence[Fold],
    keep: NDArray[np.int64],
    cluster: str,
    progress: Progress | None,
) -> dict[str, Any]:
    """Learning curves of the best strategy, and the attention of the best that has one."""
    looking = [strategy for strategy in ranked if learns_attention(strategy)][:1]
    count = StepCounter(progress, count_fits(contest, folds, cluster) + len(folds) * len(looking))
    step = partial(count.step, f"learning curve  {ranked[0]}")
    curves = draw_curves(contest, ranked[0], protocol, folds, keep=keep, cluster=cluster, on_fit=step)
    glances = [
        glance
        for one in looking
        for glance in look_back(contest, one, protocol, folds, on_fit=partial(count.step, f"attention  {one}"))
    ]
    count.finish(f"learning curve  {ranked[0]}")  # parts of one level take no fit
    return {"curves": curves, "glances": glances}


def _place(row: LeaderboardRow) -> tuple[bool, float]:
    qwk = row.metrics.values["qwk"]
    # sorting keeps the order of the baselines
    return (not row.baseline, 0.0 if row.baseline else -(qwk if qwk is not None else -np.inf))
