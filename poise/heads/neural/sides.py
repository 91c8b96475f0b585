"""Training sides: what the networks of a problem, or of one of its inner folds, learn from; and stacks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.heads.inner import inner_folds
from poise.heads.neural.architecture import Architecture
from poise.heads.neural.packing import Rows
from poise.heads.neural.reduction import Reduction
from poise.heads.neural.training import BATCH, FULL_BATCH, Side
from poise.heads.parameters import LEARNT_POOLINGS, HeadSettings
from poise.heads.problem import Problem
from poise.store.bags import Bags

COMPONENTS = 64
_STACK_CELLS = 1 << 23
"""Weights and activations of a stack that still lie near the processor; more of them are trained stack after stack."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One training side of a problem, not yet prepared.

    Attributes
    ----------
    problem : Problem
    train, test : ndarray of int64
        Rows of the problem; those in ``train`` have a weight.
    number : int
        0 for the whole problem, from 1 on for its inner folds.
    """

    problem: Problem
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    number: int

    def cells(self, settings: HeadSettings) -> int:
        """About how many numbers one of its networks holds in a step."""
        n_seen = sum(int(block.n_clips[self.train].sum()) for block in self.problem.inputs.modalities.values())
        n_components, hidden = int(settings.number("n_components") or COMPONENTS), settings["hidden"]
        attention = settings["attention_dim"] if settings.pooling in LEARNT_POOLINGS else 0
        n_weights = 4 * n_components * (hidden + attention) * len(self.problem.inputs.modalities)
        n_clips = n_seen * (6 * attention + 8) if attention else 0
        return n_weights + n_clips + 4 * len(self.train) * max(hidden, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A training side, how its blocks were reduced, and the blocks of the rows that it predicts."""

    side: Side
    reductions: dict[str, Reduction]
    test: dict[str, Rows]


def whole_case(problem: Problem) -> Case:
    """All recordings that count."""
    return Case(problem=problem, train=np.flatnonzero(problem.weights > 0), test=np.zeros(0, dtype=np.int64), number=0)


def step_cells(problems: Sequence[Problem], settings: HeadSettings) -> int:
    """About how many numbers the networks of the largest problem hold in a step of training."""
    largest = max(map(whole_case, problems), key=lambda case: case.cells(settings))
    n = len(largest.train)
    return largest.cells(settings) * settings["n_seeds"] // (1 if n <= FULL_BATCH else n // BATCH)


def inner_cases(problem: Problem) -> list[Case]:
    """The inner folds of a problem whose training side has two levels at least."""
    folds = inner_folds(problem.ranks, problem.groups, random_state=problem.seed)
    found = []
    for number, (train, test) in enumerate(folds, start=1):
        counted = train[problem.weights[train] > 0]
        if len(np.unique(problem.ranks[counted])) > 1:
            found.append(Case(problem=problem, train=counted, test=test, number=number))
    return found


def prepare_case(case: Case, settings: HeadSettings) -> Prepared:
    """Learn standardisation and components from the training side, and apply them to both."""
    part = case.problem.take(case.train)
    most = int(settings.number("n_components") or COMPONENTS)
    reductions = {
        name: Reduction.fit(block, part.weights, n_components=most) for name, block in part.inputs.modalities.items()
    }
    seen = {name: (one.n_layers, one.n_components) for name, one in reductions.items()}
    side = Side(
        architecture=Architecture.of(settings, n_classes=part.n_classes, seen=seen),
        rows=reduce_rows(part.inputs, reductions),
        ranks=part.ranks,
        weights=part.weights,
        seed=(part.seed, case.number),
    )
    held = reduce_rows(case.problem.inputs[case.test], reductions) if len(case.test) else {}
    return Prepared(side=side, reductions=reductions, test=held)


def reduce_rows(
    inputs: Bags, reductions: Mapping[str, Reduction], *, dtype: type[np.floating] = np.float32
) -> dict[str, Rows]:
    """Blocks after their reduction; one of which training rows had none is missing everywhere."""
    found = {}
    for name, one in reductions.items():
        block = inputs.modalities[name]
        if one.is_empty:
            nothing = one.transform(block.values[:0], dtype=dtype)
            found[name] = Rows(values=nothing, offsets=np.zeros(len(block) + 1, dtype=np.int64))
        else:
            found[name] = Rows(values=one.transform(block.values, dtype=dtype), offsets=block.offsets)
    return found


def plan_stacks(cases: Sequence[Case], settings: HeadSettings) -> Iterator[tuple[list[int], list[range]]]:
    """Which cases are trained together, and which of their seeds.

    Stacking is for small work: it saves the time between operations, not that of the arithmetic. Where one side fills
    the processor's memory, its seeds are trained in turn.
    """
    n_seeds, waiting, cells = settings["n_seeds"], list[int](), 0
    for place, case in enumerate(cases):
        own = case.cells(settings)
        alone = len(case.train) > FULL_BATCH or own * n_seeds > _STACK_CELLS
        if waiting and (alone or cells + own * n_seeds > _STACK_CELLS):
            yield waiting, [range(n_seeds)]
            waiting, cells = [], 0
        if alone:
            size = max(1, _STACK_CELLS // own)
            yield [place], [range(first, min(first + size, n_seeds)) for first in range(0, n_seeds, size)]
        else:
            waiting.append(place)
            cells += own * n_seeds
    if waiting:
        yield waiting, [range(n_seeds)]
