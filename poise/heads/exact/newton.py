"""Damped Newton steps for stacks of small convex problems, in float64. What is minimised lives with its model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError

MAX_STEPS = 100
TOLERANCE = 1e-13
"""A problem is solved when another step would lower its loss by less than this share of its scale."""

_MAX_HALVINGS = 40
_ENOUGH = 1e-4
_ROUNDING = 1e-13


class Stack(Protocol):
    """Convex problems that are solved side by side. ``problems`` chooses some of them, shape (n_problems,), int64."""

    def loss(self, problems: NDArray[np.int64], params: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each problem minimises, shape (n_problems,); infinite outside of where it is defined."""

    def derivatives(
        self, problems: NDArray[np.int64], params: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gradient (n_problems, n_params), and curvature (n_problems, n_params, n_params), positive definite."""


def minimise(stack: Stack, params: NDArray[np.float64], *, scale: NDArray[np.float64]) -> None:
    """Change parameters in place until every problem is at its optimum.

    Parameters
    ----------
    stack : Stack
        The problems.
    params : ndarray of shape (n_problems, n_params), float64
        Where each begins; the loss must be finite there.
    scale : ndarray of shape (n_problems,), float64
        Size of each loss, as the sum of its rows' weights.

    Raises
    ------
    StrategyError
        A problem is not solved after many steps.
    """
    going = np.arange(len(params))
    losses = stack.loss(going, params)
    for _ in range(MAX_STEPS):
        gradient, curvature = stack.derivatives(going, params[going])
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        promise = (gradient * step).sum(1)
        far = ~(promise <= TOLERANCE * scale[going])
        going, step, promise = going[far], step[far], promise[far]
        if not len(going):
            return
        params[going], losses[going] = _search(stack, going, params[going], losses[going], step, promise)
    raise StrategyError(
        f"{len(going)} of {len(params)} models did not arrive at their optimum in {MAX_STEPS} steps. Use a larger "
        "penalty, or weights that differ less."
    )


def _search(
    stack: Stack,
    problems: NDArray[np.int64],
    params: NDArray[np.float64],
    before: NDArray[np.float64],
    step: NDArray[np.float64],
    promise: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take each problem's step, halved until its loss falls (Armijo): new parameters and their losses."""
    length, left = np.ones(len(params)), np.arange(len(params))
    found, losses = params.copy(), before.copy()
    for _ in range(_MAX_HALVINGS):
        trial = params[left] - length[left, None] * step[left]
        now = stack.loss(problems[left], trial)
        # close to the optimum the loss no longer tells a fall from rounding
        good = now <= before[left] - _ENOUGH * length[left] * promise[left] + _ROUNDING * np.abs(before[left])
        found[left[good]], losses[left[good]] = trial[good], now[good]
        left = left[~good]
        if not len(left):
            break
        length[left] /= 2
    return found, losses
