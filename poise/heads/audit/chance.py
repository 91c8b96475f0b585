"""Whether labels dealt out again would do as well: the permutation test of the hardest rung."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from poise.heads.audit.ladder import Role, Subject
from poise.heads.contestants import columns_of
from poise.heads.inputs import as_table, center_groups, prepare
from poise.heads.parameters import LEARNT_POOLINGS
from poise.heads.scaling import Projection, Standardiser
from poise.heads.statistics.deal import count_ways
from poise.heads.statistics.permutation import Family, PermutationTest, permutation_test
from poise.heads.strategy import Strategy

MANY_ROWS = 300
"""With more recordings the test sees leading principal axes alone: a thousand full fits would take minutes."""

N_AXES = 64

PENALTY = 0.1
"""Of the test, where the strategy names none. With a stronger one the median level is all that a head ever says."""

_MOST_ROWS_DEALT = 400_000
_FEWEST_DEALS = 199
_DEALS_PER_STRATEGY = 20
"""With fewer, no p times the number of strategies tried can come down to 0.05."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chance:
    """What the permutation test says of a strategy, or of the linear head that stands in for it.

    Attributes
    ----------
    strategy : Strategy
        What was tested.
    test : PermutationTest or None
        None where no permutation was asked for.
    p : float or None
        Times the number of strategies tried, at most 1.
    reason : str
        Why there was no test.
    n_tried : int
    note : str
        What the test does differently from the rung.
    """

    strategy: Strategy
    test: PermutationTest | None
    p: float | None
    n_tried: int
    note: str
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Every number by its name; the reason where p is null."""
        nothing = {"observed": None, "p": None, "n_permutations": 0, "reason": self.reason}
        return {
            "strategy": str(self.strategy),
            **(self.test.to_json() if self.test else nothing),
            "n_tried": self.n_tried,
            "p_corrected": self.p,
            "note": self.note,
        }


def permute(subject: Subject, role: Role, *, n_permutations: int, n_tried: int) -> Chance:
    """Deal labels out again, and see how often the head does as well on originals.

    Parameters
    ----------
    subject : Subject
    role : {"random", "source", "speaker"}
        What the rung keeps apart.
    n_permutations : int
        0 for none. With more than 400 recordings fewer are done, with more than 50 strategies tried more.
    n_tried : int
        Strategies that were tried, of which this one was picked.

    Returns
    -------
    Chance
    """
    strategy, (groups, sources) = stand_in(subject.strategy), dealt_by(subject, role)
    notes = [] if strategy == subject.strategy else [f"in place of {subject.strategy}"]
    if not n_permutations or len(np.unique(groups)) < 2:
        why = "all recordings are bound into one group" if n_permutations else "no permutation was asked for"
        return Chance(strategy=strategy, test=None, p=None, n_tried=n_tried, note="", reason=why)
    X = _see(subject, strategy)
    if len(X) > MANY_ROWS and X.shape[1] > N_AXES:
        X = _leading_axes(X)
        notes.append(f"on the {X.shape[1]} leading principal axes of the features")
    test = permutation_test(
        X,
        subject.manifest.labels[subject.rows],
        np.ones(len(X)),
        groups,
        sources,
        ~subject.manifest.is_copy[subject.rows],
        family=cast("Family", strategy.head),
        penalty=_penalty_of(subject.strategy, strategy),
        n_permutations=_count_deals(len(X), n_permutations, n_tried),
        seed=subject.contest.seed,
    )
    p = None if test.p is None else min(1.0, test.p * n_tried)
    notes.append("with a fixed penalty, in folds that do not look at labels")
    return Chance(strategy=strategy, test=test, p=p, n_tried=n_tried, note=", ".join(notes))


def stand_in(strategy: Strategy) -> Strategy:
    """The strategy without what it learns beside a linear head, which a thousand fits have no time for."""
    seen = {name: strategy.params[name] for name in ("clips", "layer", "center") if name in strategy.params}
    if seen.get("layer") == "learnt":
        del seen["layer"]
    return Strategy(
        pooling="mean" if strategy.pooling in LEARNT_POOLINGS else strategy.pooling,
        fusion="mid" if strategy.fusion in ("gated", "late") else strategy.fusion,
        head=strategy.head if strategy.head in get_args(Family) else "cumulative",
        params=seen,
    )


def dealt_by(subject: Subject, role: Role) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups that a rung keeps together, and what keeps its label when labels are dealt, both of shape (n_rows,)."""
    rows, labels = subject.rows, subject.manifest.labels[subject.rows]
    # the same recording that stands twice with two labels is dealt two
    sources = subject.bound("source")[rows] * subject.manifest.n_classes + labels
    return subject.bound("speaker" if role == "speaker" else "source")[rows], sources


def count_deals(subject: Subject, role: Role) -> int:
    """In how many ways the labels can be dealt out at a rung, counted to a billion."""
    groups, sources = dealt_by(subject, role)
    return count_ways(subject.manifest.labels[subject.rows], groups, sources)


def _count_deals(n_rows: int, asked: int, n_tried: int) -> int:
    affordable = max(_FEWEST_DEALS, _MOST_ROWS_DEALT // n_rows)
    return max(_DEALS_PER_STRATEGY * n_tried, min(asked, affordable))


def _penalty_of(strategy: Strategy, tested: Strategy) -> float:
    """What the strategy says, where the test fits the same head; never what its folds chose by their labels."""
    given = strategy.settings.number("alpha") if tested.head == strategy.head else None
    return PENALTY if given is None else given


def _see(subject: Subject, strategy: Strategy) -> NDArray[np.float64]:
    """What the head sees of each row, shape (n_rows, dim)."""
    bags, column = subject.contest.bags[subject.rows], strategy.settings["center"]
    if column != "none":
        bags = center_groups(bags, columns_of(subject.manifest)[column][subject.rows])
    return as_table(prepare(bags, strategy.settings))


def _leading_axes(X: NDArray[np.float64]) -> NDArray[np.float64]:
    """The axes along which the features vary most, whatever the labels are."""
    even = np.ones(len(X))
    rows = Standardiser.fit(X, even).transform(X)
    return Projection.fit(rows, even, n_components=N_AXES).transform(rows)
