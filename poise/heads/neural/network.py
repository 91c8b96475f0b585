"""Neural heads as a family: networks fitted on problems, and read back. Importing this module loads torch.

The networks of all problems and seeds are trained as stacks, and so are those of the inner folds that choose for how
long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poise.heads.inputs import Shapes
from poise.heads.neural.cutpoints import fit_cutpoints_of
from poise.heads.neural.epochs import Choice, choose_epochs
from poise.heads.neural.head import NetworkHead
from poise.heads.neural.processor import device_for, threads_for
from poise.heads.neural.sides import Prepared, plan_stacks, prepare_case, step_cells, whole_case
from poise.heads.neural.training import Stack
from poise.heads.parameters import HeadSettings
from poise.heads.problem import Fit, Problem
from poise.heads.state import check_learnt


def fit_networks(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    """Train the networks of several problems.

    Parameters
    ----------
    problems : sequence of Problem
    settings : HeadSettings

    Returns
    -------
    list of Fit
        Each as it would be alone, to the last digits of float32.

    Raises
    ------
    StrategyError
        A training diverged.
    """
    fits: dict[int, Fit] = {}
    # problems with other numbers of levels have networks of another shape
    for n_classes in sorted({problem.n_classes for problem in problems}):
        places = [place for place, problem in enumerate(problems) if problem.n_classes == n_classes]
        own = [problems[place] for place in places]
        with threads_for(step_cells(own, settings)):
            fits |= dict(zip(places, _fit_alike(own, settings), strict=True))
    return [fits[place] for place in range(len(problems))]


def read_networks(
    arrays: Mapping[str, NDArray[Any]], settings: HeadSettings, *, shapes: Shapes, n_classes: int
) -> NetworkHead:
    """Rebuild a head from what its `arrays` gave.

    Raises
    ------
    BundleError
        An array is missing or damaged.
    """
    return NetworkHead.from_arrays(arrays, settings, shapes=shapes, n_classes=n_classes)


def _fit_alike(problems: Sequence[Problem], settings: HeadSettings) -> list[Fit]:
    choices, device = choose_epochs(problems, settings), device_for(step_cells(problems, settings))
    cases = [whole_case(problem) for problem in problems]
    fits: dict[int, Fit] = {}
    for places, chunks in plan_stacks(cases, settings):
        prepared = [prepare_case(cases[place], settings) for place in places]
        epochs = [choices[place].epochs for place in places]
        parts = [_train(Stack([one.side for one in prepared], seeds, settings, device), epochs) for seeds in chunks]
        for number, place in enumerate(places):
            weights = {name: torch.cat([part[number][name] for part in parts]) for name in parts[0][number]}
            fits[place] = _finish(prepared[number], weights, choices[place], problems[place], settings)
    return [fits[place] for place in range(len(problems))]


def _train(stack: Stack, epochs: Sequence[int]) -> list[dict[str, torch.Tensor]]:
    """Weights of each side's networks after as many epochs as it is to have."""
    found: dict[int, dict[str, torch.Tensor]] = {}

    def after(epoch: int) -> None:
        found.update({place: stack.weights_of(place) for place, own in enumerate(epochs) if own == epoch})

    stack.train(max(epochs), after)
    return [found[place] for place in range(len(epochs))]


def _finish(
    prepared: Prepared, weights: dict[str, torch.Tensor], choice: Choice, problem: Problem, settings: HeadSettings
) -> Fit:
    head = NetworkHead(
        architecture=prepared.side.architecture,
        reductions=prepared.reductions,
        weights=weights,
        cutpoints=choice.cutpoints,
    )
    check_learnt(head.arrays(), settings.head)
    if settings.head == "regression" and choice.cutpoints is None:
        # nothing was held out: the networks' own fitted scores look surer than those of new recordings
        counted = problem.take(np.flatnonzero(problem.weights > 0))
        scores = head.logits(counted.inputs)[:, :, 0].mean(axis=0)
        (cutpoints,) = fit_cutpoints_of(scores[None], counted.ranks, counted.weights, problem.n_classes)
        head = replace(head, cutpoints=cutpoints)
    chosen = {} if settings.number("epochs") is not None else {"epochs": choice.epochs}
    return Fit(head=head, held_out=choice.held_out, chosen=chosen)
