"""How long to train: the epoch at which networks of inner folds predict the groups that they have not seen best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from poise.heads.metrics import ranked_probability
from poise.heads.neural.cutpoints import Cutpoints, fit_cutpoints_of
from poise.heads.neural.packing import Rows, pack
from poise.heads.neural.processor import device_for, threads_for
from poise.heads.neural.sides import Case, inner_cases, plan_stacks, prepare_case, step_cells
from poise.heads.neural.training import Stack
from poise.heads.ordinal import decode_logits, n_outputs
from poise.heads.parameters import HeadSettings
from poise.heads.problem import Problem

MOST_EPOCHS = 100
FALLBACK = 30
"""Where nothing can be held out: one group alone, or none whose absence leaves two levels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What inner folds said of one problem.

    Attributes
    ----------
    epochs : int
    losses : ndarray of shape (n_epochs,), float64
        Weighted mean ranked probability score of held-out rows after each epoch that was tried.
    held_out : ndarray of shape (n_recordings, n_classes), float64, or None
        Probabilities of held-out rows at the chosen epoch, the mean over seeds; NaN in rows that were not. None where
        nothing was.
    cutpoints : Cutpoints or None
        Of a regression, from what it says of held-out rows.
    """

    epochs: int
    losses: NDArray[np.float64]
    held_out: NDArray[np.float64] | None = None
    cutpoints: Cutpoints | None = None


def choose_epochs(problems: Sequence[Problem], settings: HeadSettings) -> list[Choice]:
    """For each problem the epoch with the least loss on groups that were held out, or the number that is given.

    Parameters
    ----------
    problems : sequence of Problem
    settings : HeadSettings
        With ``epochs=auto`` all numbers up to `MOST_EPOCHS` are tried.

    Returns
    -------
    list of Choice
    """
    given = settings.number("epochs")
    fixed = int(given or FALLBACK)
    if given is not None and settings.head != "regression":
        return [Choice(epochs=fixed, losses=np.zeros(0)) for _ in problems]
    tried = np.arange(1, MOST_EPOCHS + 1) if given is None else np.array([fixed])
    cases = [inner_cases(problem) for problem in problems]
    cells = step_cells(problems, settings)
    with threads_for(cells):
        logits = iter(_hold_out([case for own in cases for case in own], settings, tried, device_for(cells)))
    choices = []
    for problem, own in zip(problems, cases, strict=True):
        shape = (len(tried), settings["n_seeds"], len(problem.ranks), n_outputs(settings.head, problem.n_classes))
        outputs = np.full(shape, np.nan, dtype=np.float32)
        for case in own:
            outputs[:, :, case.test] = next(logits)
        choices.append(_choose(problem, outputs, settings.head, tried) or Choice(epochs=fixed, losses=np.zeros(0)))
    return choices


def _hold_out(
    cases: Sequence[Case], settings: HeadSettings, tried: NDArray[np.int64], device: torch.device
) -> list[NDArray[np.float32]]:
    """Logits of each case's test rows after each of some epochs, shape (n_epochs, n_seeds, n_test, n_outputs)."""
    found: list[NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(cases)
    for places, chunks in plan_stacks(cases, settings):
        prepared = [prepare_case(cases[place], settings) for place in places]
        parts = []
        for seeds in chunks:
            stack = Stack([one.side for one in prepared], seeds, settings, device)
            parts.append(_watch(stack, [one.test for one in prepared], tried))
        logits = np.concatenate(parts, axis=2)  # (n_epochs, n_sides, n_seeds, n_test, n_outputs)
        for number, place in enumerate(places):
            found[place] = logits[:, number, :, : len(cases[place].test)]
    return found


def _watch(stack: Stack, tests: Sequence[Mapping[str, Rows]], tried: NDArray[np.int64]) -> NDArray[np.float32]:
    """Train, and keep what is said of the test rows after each epoch that is tried."""
    batch = pack(tests, pools=stack.pools, device=stack.device)
    kept: list[NDArray[np.float32]] = []

    def after(epoch: int) -> None:
        if epoch in wanted:
            kept.append(stack.predict(batch).cpu().numpy())

    wanted = set(tried.tolist())
    stack.train(int(tried.max()), after)
    return np.stack(kept)


def _choose(problem: Problem, outputs: NDArray[np.float32], head: str, tried: NDArray[np.int64]) -> Choice | None:
    """The best epoch for outputs of shape (n_epochs, n_seeds, n_recordings, n_outputs); None where none can be told."""
    seen = np.asarray(np.isfinite(outputs).all(axis=(1, 3)))  # (n_epochs, n_recordings)
    told = np.flatnonzero(seen.any(axis=0) & (problem.weights > 0))
    # an epoch in which a training had run away is none to choose
    sane = np.flatnonzero(seen[:, told].all(axis=1))
    if not len(told) or not len(sane):
        return None
    ranks, weights = problem.ranks[told], problem.weights[told]
    if head == "regression":
        if len(np.unique(ranks)) < problem.n_classes:
            return None
        scores = outputs[:, :, :, 0].mean(axis=1, dtype=np.float64)  # (n_epochs, n_recordings)
        cutpoints = fit_cutpoints_of(scores[np.ix_(sane, told)], ranks, weights, problem.n_classes)
        by_epoch = [own.decode(scores[epoch]) for own, epoch in zip(cutpoints, sane, strict=True)]
    else:
        cutpoints = []
        by_epoch = [decode_logits(head, outputs[epoch]).mean(axis=0) for epoch in sane]
    losses = np.full(len(tried), np.inf)
    losses[sane] = [ranked_probability(proba[told], ranks) @ weights / weights.sum() for proba in by_epoch]
    best = int(losses[sane].argmin())
    return Choice(
        epochs=int(tried[sane[best]]),
        losses=losses,
        held_out=by_epoch[best],
        cutpoints=cutpoints[best] if cutpoints else None,
    )
