"""The exact heads as heads: a penalty that is given or chosen, one fit, and its state as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.exact.families import FAMILIES, LinearModels, Logits, Thresholds
from poise.heads.exact.penalty import choose_penalty
from poise.heads.exact.span import MOST_AXES, Span
from poise.heads.inputs import as_table
from poise.heads.parameters import HeadSettings
from poise.heads.problem import Fit, Problem
from poise.heads.scaling import Standardiser
from poise.heads.state import get_array
from poise.heads.tabular import TabularHead, read_scaling


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactModel:
    """One linear model of standardised columns.

    Attributes
    ----------
    models : LinearModels
        A stack of one.
    """

    models: LinearModels

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes)."""
        return self.models.predict_proba(X)[0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name, without the axis of the stack."""
        names = ("coef", "cuts") if isinstance(self.models, Thresholds) else ("coef", "intercept")
        return {name: getattr(self.models, name)[0] for name in names}


def fit_exact(problem: Problem, settings: HeadSettings) -> Fit:
    """Fit a linear head; without a given penalty, the one that predicts held-out groups best.

    Parameters
    ----------
    problem : Problem
    settings : HeadSettings
        ``head``, ``alpha``, ``n_components``.
    """
    X, ranks, weights = as_table(problem.inputs), problem.ranks, problem.weights
    most = int(settings.number("n_components") or MOST_AXES)
    alpha, held_out = settings.number("alpha"), None
    if alpha is None:
        choice = choose_penalty(settings.head, X, ranks, weights, problem.groups, random_state=problem.seed, most=most)
        alpha, held_out = choice.penalty, choice.held_out
    counted = weights > 0
    scaling = Standardiser.fit(X, weights)
    length = float(np.sqrt(len(scaling.kept)))
    span = Span.of(scaling.transform(X[counted]) / length, most=most)
    fitted = FAMILIES[settings.head](
        span.train, ranks[counted], weights[counted], np.array([alpha]), problem.n_classes, problem.groups[counted]
    )
    model = ExactModel(models=fitted.lift(span, length))
    chosen = {} if settings.number("alpha") is not None else {"alpha": alpha}
    return Fit(head=TabularHead(standardiser=scaling, model=model), held_out=held_out, chosen=chosen)


def read_exact(arrays: Mapping[str, NDArray[Any]], family: str, *, n_features: int, n_classes: int) -> TabularHead:
    """Rebuild a head from what its `arrays` gave.

    Raises
    ------
    BundleError
        An array is missing or damaged.
    """
    scaling, _, n_kept = read_scaling(arrays, n_features=n_features)
    models: LinearModels
    if family == "logistic":
        coef, intercept = get_array(arrays, "coef", (n_kept, n_classes)), get_array(arrays, "intercept", (n_classes,))
        models = Logits(coef=coef[None], intercept=intercept[None])
    else:
        n_scores = n_classes - 1 if family == "frank-hall" else 1
        coef, cuts = get_array(arrays, "coef", (n_scores, n_kept)), get_array(arrays, "cuts", (n_classes - 1,))
        if n_scores == 1 and (np.diff(cuts) < 0).any():
            raise BundleError(f"The model's cutpoints are {cuts.tolist()}, expected rising ones. Train it again.")
        models = Thresholds(coef=coef[None], cuts=cuts[None])
    return TabularHead(standardiser=scaling, model=ExactModel(models=models))
