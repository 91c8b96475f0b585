"""Fitting any head on any problem, and reading it back: the one place that knows every family.

Late fusion, levels that no counted recording has, and temperatures are dealt with here, whatever the head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, StrategyError
from poise.heads.boosting import fit_boosted, read_boosted
from poise.heads.exact.head import fit_exact, read_exact
from poise.heads.inner import inner_folds
from poise.heads.inputs import Shapes
from poise.heads.ordinal import decode_median
from poise.heads.parameters import EXACT_HEADS, NOMINAL_HEADS, HeadSettings
from poise.heads.problem import Fit, FittedHead, Problem
from poise.heads.state import get_array, part_of
from poise.heads.statistics.calibration import fit_temperature
from poise.store.bags import Bags


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelHead:
    """A head that was fitted on some of the levels; the others get the probability 0.

    Attributes
    ----------
    head : FittedHead
    levels : ndarray of shape (n_levels,), int64
        Those that the head knows, rising.
    n_classes : int
    """

    head: FittedHead
    levels: NDArray[np.int64]
    n_classes: int

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes)."""
        return spread_levels(self.head.predict_proba(inputs), self.levels, self.n_classes)

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """See `FittedHead`."""
        return self.head.attention(inputs)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {"known_levels": self.levels, **self.head.arrays()}


@dataclass(frozen=True, kw_only=True, eq=False)
class LateHead:
    """A head for each modality, whose probabilities are averaged over the modalities that a recording has.

    Attributes
    ----------
    heads : dict of str to FittedHead
    """

    heads: dict[str, FittedHead]

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes)."""
        said = {}
        for name, head in self.heads.items():
            own, rows = _with_modality(inputs, name)
            if len(rows):
                said[name] = _at_rows(head.predict_proba(own), rows, len(inputs))
        return _average(list(said.values()))

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """See `FittedHead`."""
        n_blocks = np.sum([inputs.modalities[name].present for name in self.heads], axis=0)
        shares = {}
        for name, head in self.heads.items():
            (share,) = head.attention(_with_modality(inputs, name)[0]).values()
            shares[name] = share / np.repeat(n_blocks, inputs.modalities[name].n_clips)
        return shares

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        return {f"{name}.{key}": array for name, head in self.heads.items() for key, array in head.arrays().items()}


def fit_heads(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    """Fit a head on each problem; networks of several problems are trained together.

    Parameters
    ----------
    problems : sequence of Problem
    settings : HeadSettings

    Returns
    -------
    list of Fit
        Each as it would be alone.

    Raises
    ------
    StrategyError
        All recordings that count in a problem, or that have a modality of late fusion, are of one level.
    """
    fits = _fit_late(problems, settings) if settings.fusion == "late" else _fit_levels(problems, settings)
    if settings["calibrate"] == "none":
        return fits
    return [_calibrate(fit, one, settings) for fit, one in zip(fits, problems, strict=True)]


def _fit_levels(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    """Fit on the levels that each problem has."""
    present = [np.unique(one.ranks[one.weights > 0]) for one in problems]
    reduced = [
        one if len(levels) == one.n_classes else _reduce(one, levels)
        for one, levels in zip(problems, present, strict=True)
    ]
    fits = _fit_family(reduced, settings)
    return [
        fit if len(levels) == one.n_classes else _embed(fit, one, levels)
        for fit, one, levels in zip(fits, problems, present, strict=True)
    ]


def decode(proba: NDArray[np.float64], head: str) -> NDArray[np.int64]:
    """Ranks that a head predicts, shape (n_recordings,): the likeliest level, or with ordered levels the median."""
    return np.asarray(proba.argmax(axis=1)) if head in NOMINAL_HEADS else decode_median(proba)


def read_head(
    arrays: Mapping[str, NDArray[Any]], settings: HeadSettings, *, shapes: Shapes, n_classes: int
) -> FittedHead:
    """Rebuild a head from what its `arrays` gave.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    settings : HeadSettings
    shapes : mapping of str to (n_layers, dim)
        Of the blocks that it sees.
    n_classes : int

    Raises
    ------
    BundleError
        An array is missing or damaged.
    """
    if settings.fusion == "late":
        single = replace(settings, fusion="auto")
        heads = {
            name: read_head(part_of(arrays, name), single, shapes={name: shape}, n_classes=n_classes)
            for name, shape in shapes.items()
        }
        return LateHead(heads=heads)
    if "known_levels" not in arrays:
        return _read_family(arrays, settings, shapes=shapes, n_classes=n_classes)
    levels = get_array(arrays, "known_levels", (None,))
    if levels.dtype != np.int64 or len(levels) < 2 or not (np.diff(levels, prepend=-1, append=n_classes) > 0).all():
        raise BundleError(f"The model knows the levels {levels.tolist()} of {n_classes}. Train it again.")
    head = _read_family(arrays, settings, shapes=shapes, n_classes=len(levels))
    return LevelHead(head=head, levels=levels, n_classes=n_classes)


def spread_levels(proba: NDArray[np.float64], levels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """Probabilities of all levels from those of some, shape (n_recordings, n_classes)."""
    wide = np.zeros((len(proba), n_classes))
    wide[:, levels] = proba
    return wide


def _fit_family(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    if settings.head in EXACT_HEADS:
        return [fit_exact(one, settings) for one in problems]
    if settings.head == "lightgbm":
        return [fit_boosted(one, settings) for one in problems]
    from poise.heads.neural.network import fit_networks

    return fit_networks(problems, settings)


def _read_family(
    arrays: Mapping[str, NDArray[Any]], settings: HeadSettings, *, shapes: Shapes, n_classes: int
) -> FittedHead:
    n_features = sum(dim for _, dim in shapes.values())
    if settings.head in EXACT_HEADS:
        return read_exact(arrays, settings.head, n_features=n_features, n_classes=n_classes)
    if settings.head == "lightgbm":
        return read_boosted(arrays, n_features=n_features, n_classes=n_classes)
    from poise.heads.neural.network import read_networks

    return read_networks(arrays, settings, shapes=shapes, n_classes=n_classes)


def _reduce(problem: Problem, levels: NDArray[np.int64]) -> Problem:
    """The recordings that count, their levels numbered anew."""
    if len(levels) < 2:
        raise StrategyError(
            "All recordings that have a weight are of one level: there is one class only. Expected two levels or more."
        )
    counted = problem.take(np.flatnonzero(problem.weights > 0))
    return replace(counted, ranks=np.searchsorted(levels, counted.ranks), n_classes=len(levels))


def _embed(fit: Fit, problem: Problem, levels: NDArray[np.int64]) -> Fit:
    held_out = None
    if fit.held_out is not None:
        spread = spread_levels(fit.held_out, levels, problem.n_classes)
        held_out = _at_rows(spread, np.flatnonzero(problem.weights > 0), len(problem.ranks))
    head = LevelHead(head=fit.head, levels=levels, n_classes=problem.n_classes)
    return replace(fit, head=head, held_out=held_out)


def _calibrate(fit: Fit, problem: Problem, settings: HeadSettings) -> Fit:
    """The temperature that held-out training recordings ask for."""
    held_out = fit.held_out if fit.held_out is not None else _hold_out(problem, settings)
    told = np.isfinite(held_out[:, 0]) & (problem.weights > 0)
    if not told.any():
        return fit
    return replace(fit, temperature=fit_temperature(held_out[told], problem.ranks[told], problem.weights[told]))


def _hold_out(problem: Problem, settings: HeadSettings) -> NDArray[np.float64]:
    """Probabilities of the training recordings by heads of inner folds, for heads that have chosen nothing."""
    plain = replace(settings, values={**settings.values, "calibrate": "none"})
    held_out = np.full((len(problem.ranks), problem.n_classes), np.nan)
    for train, test in inner_folds(problem.ranks, problem.groups, random_state=problem.seed):
        part = problem.take(train)
        if len(np.unique(part.ranks[part.weights > 0])) > 1:
            (fit,) = fit_heads([part], plain)
            held_out[test] = fit.head.predict_proba(problem.inputs[test])
    return held_out


def _fit_late(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    single = replace(settings, fusion="auto", values={**settings.values, "calibrate": "none"})
    names = list(problems[0].inputs.modalities)
    fits = {name: fit_heads([_of_modality(one, name) for one in problems], single) for name in names}
    found = []
    for place, problem in enumerate(problems):
        own = {name: fits[name][place] for name in names}
        said = [
            _at_rows(fit.held_out, _with_modality(problem.inputs, name)[1], len(problem.ranks))
            for name, fit in own.items()
            if fit.held_out is not None
        ]
        head = LateHead(heads={name: fit.head for name, fit in own.items()})
        chosen = {f"{name}.{what}": value for name, fit in own.items() for what, value in fit.chosen.items()}
        found.append(Fit(head=head, held_out=_average(said) if len(said) == len(names) else None, chosen=chosen))
    return found


def _of_modality(problem: Problem, name: str) -> Problem:
    inputs, rows = _with_modality(problem.inputs, name)
    if len(np.unique(problem.ranks[rows])) < 2:
        raise StrategyError(
            f"The recordings that have {name} are all of one level: there is one class only. Use another fusion, or "
            "fewer folds."
        )
    return replace(problem.take(rows), inputs=inputs)


def _with_modality(inputs: Bags, name: str) -> tuple[Bags, NDArray[np.int64]]:
    """The recordings that have a modality, without the others, and their rows."""
    rows = np.flatnonzero(inputs.modalities[name].present)
    alone = Bags(keys=inputs.keys, modalities={name: inputs.modalities[name]})
    return (alone if len(rows) == len(inputs) else alone[rows]), rows


def _at_rows(proba: NDArray[np.float64], rows: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Probabilities of all recordings, NaN but for those rows."""
    wide = np.full((n, proba.shape[1]), np.nan)
    wide[rows] = proba
    return wide


def _average(said: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over the modalities that say something of a recording; NaN where none does."""
    told = [~np.isnan(one[:, :1]) for one in said]
    total = np.sum([np.nan_to_num(one) for one in said], axis=0)
    count = np.sum(told, axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
