"""The ladder: one strategy under harder and harder folds, beside what the group alone and the commonest level say.

Fitting and folds live elsewhere; what the predictions are worth, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError
from poise.heads.baselines import make_baselines
from poise.heads.contestants import Contest, columns_of
from poise.heads.defaults import MANY_FOLDS, MOST_LEFT_OUT, choose_defaults
from poise.heads.splits import DEFAULT_FOLDS, Fold, Protocol, bound_groups, make_folds
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold, PredictFold
from poise.manifest import Manifest

Role = Literal["random", "source", "speaker"]
"""What a rung keeps apart: nothing, copies from their sources, or people as well."""

Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is audited.

    Attributes
    ----------
    contest : Contest
        Features, manifest and seed. Grouped folds do not part recordings of equal keys.
    strategy : Strategy
    rows : ndarray of int64
        Rows of the manifest that are split, rising.
    cluster : str
        Column of the groups that must not be known again: the speaker where every row has one, else the source.
    """

    contest: Contest
    strategy: Strategy
    rows: NDArray[np.int64]
    cluster: str

    @property
    def manifest(self) -> Manifest:
        """All recordings."""
        return self.contest.manifest

    @property
    def originals(self) -> NDArray[np.int64]:
        """Rows that are no copies."""
        return self.rows[~self.manifest.is_copy[self.rows]]

    def bound(self, column: str) -> NDArray[np.int64]:
        """Number of the group of each row of the manifest, see `bound_groups`."""
        return bound_groups(self.manifest, column, keys=self.contest.bags.keys)


@dataclass(frozen=True, kw_only=True, eq=False)
class Climb:
    """What came of one protocol.

    Attributes
    ----------
    role : {"random", "source", "speaker"}
    protocol : Protocol
    folds : sequence of Fold
    strategy, majority : OutOfFold or None
        None where the rung could not be made.
    group_only : OutOfFold or None
        None also where there is no group that says anything.
    reason : str
        Why the rung could not be made.
    """

    role: Role
    protocol: Protocol
    folds: Sequence[Fold] = ()
    strategy: OutOfFold | None = None
    majority: OutOfFold | None = None
    group_only: OutOfFold | None = None
    reason: str = ""


def climb(subject: Subject, *, known: Mapping[str, OutOfFold], step: Step) -> list[Climb]:
    """Validate the strategy on each rung, the easiest first.

    Parameters
    ----------
    subject : Subject
    known : mapping of str to OutOfFold
        Predictions of this strategy that there are already, by protocol; used where their folds are the same.
    step : callable
        Called before each fold with what is being fitted.

    Returns
    -------
    list of Climb
        Rungs that the manifest asks for and that could not be made say why.
    """
    return [_climb_one(subject, role, protocol, known, step) for role, protocol in plan_rungs(subject)]


def plan_rungs(subject: Subject) -> list[tuple[Role, Protocol]]:
    """The rungs that a manifest asks for, possible or not, the easiest first."""
    manifest, rows = subject.manifest, subject.rows
    rungs: list[tuple[Role, Protocol]] = [("random", _random_protocol(subject))]
    sources = subject.bound("source")[rows]
    n_sources = len(np.unique(sources))
    if n_sources < len(rows):
        rungs.append(("source", Protocol(kind="group", column="source", n_folds=max(2, min(DEFAULT_FOLDS, n_sources)))))
    if manifest.speakers is not None:
        n_speakers = len(np.unique(manifest.speakers[rows]))
        by_ten = Protocol(kind="group", column="speaker", n_folds=MANY_FOLDS)
        rungs.append(("speaker", by_ten if n_speakers > MOST_LEFT_OUT else Protocol(kind="logo", column="speaker")))
    return rungs


def count_folds(subject: Subject) -> int:
    """Folds of all rungs, about: one that cannot be made has none."""
    known = columns_of(subject.manifest)
    count = 0
    for _, protocol in plan_rungs(subject):
        if protocol.n_folds or protocol.column in known:
            count += protocol.n_folds or len(np.unique(subject.bound(protocol.column)[subject.rows]))
    return count


def _random_protocol(subject: Subject) -> Protocol:
    """Stratified folds, or what these few recordings allow in their place."""
    nobody = replace(subject.manifest, speakers=None)
    bags, seed = subject.contest.bags, subject.contest.seed
    try:
        return choose_defaults(nobody, rows=subject.rows, keys=bags.keys, seed=seed).protocols[0]
    except SplitError:
        return Protocol(kind="stratified", n_folds=DEFAULT_FOLDS)


def _climb_one(subject: Subject, role: Role, protocol: Protocol, known: Mapping[str, OutOfFold], step: Step) -> Climb:
    manifest, bags, name = subject.manifest, subject.contest.bags, str(protocol)
    try:
        folds = make_folds(protocol, manifest, rows=subject.rows, keys=bags.keys, seed=subject.contest.seed)
    except SplitError as error:
        return Climb(role=role, protocol=protocol, reason=str(error))
    found = known.get(name)
    if found is None or not _same_folds(found, folds):
        found = subject.contest.validate(subject.strategy, protocol, folds, lambda: step(f"{name}  {subject.strategy}"))
    dumb = {
        baseline: subject.contest.validate_baseline(predict, folds) for baseline, predict in _baselines(subject).items()
    }
    return Climb(
        role=role,
        protocol=protocol,
        folds=folds,
        strategy=found,
        majority=dumb["majority"],
        group_only=next((one for name, one in dumb.items() if name.startswith("group-only")), None),
    )


def _baselines(subject: Subject) -> dict[str, PredictFold]:
    """The commonest level, and the level of the same group where a group says anything."""
    manifest = subject.manifest
    # without speakers or copies every source is its own group
    tells = subject.cluster == "speaker" or manifest.is_copy[subject.rows].any()
    groups = {subject.cluster: manifest.groups(subject.cluster)} if tells else {}
    found = make_baselines(manifest.n_classes, groups, counted=~manifest.is_copy)
    return {name: predict for name, predict in found.items() if name != "prior"}


def _same_folds(found: OutOfFold, folds: Sequence[Fold]) -> bool:
    """Whether the first repeat of predictions is of these folds."""
    tested = np.sort(np.concatenate([fold.test for fold in folds]))
    if not np.array_equal(found.rows, tested):
        return False
    return all((found.fold[0, np.searchsorted(found.rows, fold.test)] == fold.fold).all() for fold in folds)
