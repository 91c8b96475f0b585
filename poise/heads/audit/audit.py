"""The audit: everything that may make a good number untrue, looked at in one go and put into one verdict.

Each question has a module of its own; here they are asked, and the answers gathered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError, StrategyError
from poise.heads.audit.chance import permute
from poise.heads.audit.copies import detect_copies
from poise.heads.audit.duplicates import NearDuplicates, find_near_duplicates, join_pairs
from poise.heads.audit.evidence import Answers, list_evidence
from poise.heads.audit.findings import find_warnings, tell_chance, tell_copies, tell_groups, tell_overlap
from poise.heads.audit.ladder import Climb, Subject, climb, count_folds
from poise.heads.audit.readings import hardest_of, read_case
from poise.heads.audit.rungs import Rung, read_rungs
from poise.heads.audit.tables import tabulate_copies, tabulate_groups
from poise.heads.audit.verdict import Verdict, decide
from poise.heads.cautions import find_cautions, tell_left_out
from poise.heads.contestants import Contest, columns_of
from poise.heads.fusion import available_fusions, modalities_of, usable
from poise.heads.progress import Progress, StepCounter
from poise.heads.splits import bound_groups
from poise.heads.statistics.permutation import N_PERMUTATIONS
from poise.heads.strategy import Strategy
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest
from poise.store.bags import Bags

_OTHER_STEPS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """Whether a good number is real, and why.

    Attributes
    ----------
    verdict : {"supported", "leakage", "confounded", "no evidence", "too little data"}
    sentence : str
        The verdict in plain words, with its numbers.
    ladder : list of Rung
        The strategy under harder and harder folds, on originals and, where there are copies, on all.
    findings : list of str
        What was found, a plain line for each question.
    warnings : list of str
        What a reader of any figure on these recordings must know.
    evidence : dict
        The numbers behind it; what is undefined is None, with a reason beside it.
    """

    verdict: Verdict
    sentence: str
    ladder: list[Rung]
    findings: list[str]
    warnings: list[str]
    evidence: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The audit as ``poise audit --json`` prints it, and as a block of every comparison."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "ladder": [rung.to_json() for rung in self.ladder],
            "findings": list(self.findings),
            "warnings": list(self.warnings),
            "evidence": self.evidence,
        }


def audit(
    bags: Bags,
    manifest: Manifest,
    *,
    strategy: Strategy | None = None,
    rows: NDArray[np.int64] | None = None,
    known: Mapping[str, OutOfFold] | None = None,
    n_permutations: int = N_PERMUTATIONS,
    n_tried: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Audit:
    """Look at everything that may make a good number untrue.

    Parameters
    ----------
    bags : Bags
        Aligned with the manifest.
    manifest : Manifest
    strategy : Strategy, optional
        Default: the exact ordinal head on the mean of all modalities there are.
    rows : ndarray of int64, optional
        Rows of the manifest to look at. Default: those that have what the strategy needs.
    known : mapping of str to OutOfFold, optional
        Predictions of this strategy that there are already, by protocol; used where rows and folds are the same.
    n_permutations : int
        0 for no permutation test.
    n_tried : int
        Strategies that were tried, of which this one was picked: p is multiplied by it.
    seed : int
        Of folds, heads, draws and deals.
    progress : callable, optional

    Returns
    -------
    Audit

    Raises
    ------
    StrategyError
        The strategy does not fit the features, or a number is out of range.
    SplitError
        A recording has no label.
    """
    _check_asked(bags, manifest, n_permutations, n_tried, seed)
    chosen = strategy or default_strategy(bags)
    used = np.flatnonzero(usable(bags, chosen.fusion)) if rows is None else np.sort(rows)
    if not len(used):
        raise StrategyError(
            f"None of {len(bags)} recordings has what {chosen} needs. Extract the modality, or choose another fusion."
        )
    cluster = "speaker" if "speaker" in columns_of(manifest) else "source"
    groups = bound_groups(manifest, cluster, keys=bags.keys)
    near = find_near_duplicates(bags[used], groups[used], sources=_sources_among(manifest, used))
    bound = Bags(keys=join_pairs(bags.keys, used[near.pairs]), modalities=bags.modalities)
    contest = Contest(bags=bound, manifest=manifest, seed=seed)
    subject = Subject(contest=contest, strategy=chosen, rows=used, cluster=cluster)
    count = StepCounter(progress, count_folds(subject) + _OTHER_STEPS)
    count.step("near-identical recordings")
    climbs = climb(subject, known=known or {}, step=count.step)
    answers = _ask(subject, near, climbs, n_permutations, n_tried, count)
    count.finish("verdict")
    found = _conclude(subject, answers, keys=bags.keys)
    if rows is None and len(used) < len(bags):  # else whoever gave the rows tells it
        left = tell_left_out(bags, manifest, used, modalities_of(chosen.fusion, bags))
        return replace(found, warnings=[left, *found.warnings])
    return found


def default_strategy(bags: Bags) -> Strategy:
    """The exact ordinal head on the mean of all modalities that there are.

    Raises
    ------
    StrategyError
        There is neither video nor audio.
    """
    fusions = available_fusions(bags)
    if not fusions:
        raise StrategyError(
            f"The features are of {', '.join(bags.modalities) or 'nothing'}; expected video or audio. Extract one."
        )
    return Strategy(pooling="mean", fusion=fusions[0], head="cumulative")


def _check_asked(bags: Bags, manifest: Manifest, n_permutations: int, n_tried: int, seed: int) -> None:
    if len(bags) != len(manifest):
        raise StrategyError(
            f"There are {len(bags)} bags and {len(manifest)} rows in the manifest; expected one for each."
        )
    if n_permutations < 0 or n_tried < 1 or seed < 0:
        raise StrategyError(
            f"{n_permutations} permutations, {n_tried} strategies tried and the seed {seed}; expected permutations and "
            "a seed from 0 on, and one strategy or more."
        )
    unlabelled = np.flatnonzero(manifest.labels < 0)
    if len(unlabelled):
        raise SplitError(f"{len(unlabelled)} of {len(manifest)} recordings have no label. Label every row.")


def _sources_among(manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row's source among these rows; its own place where the source is not among them."""
    place = np.searchsorted(rows, manifest.sources[rows]).clip(max=len(rows) - 1)
    return np.where(rows[place] == manifest.sources[rows], place, np.arange(len(rows)))


def _ask(
    subject: Subject,
    near: NearDuplicates,
    climbs: list[Climb],
    n_permutations: int,
    n_tried: int,
    count: StepCounter,
) -> Answers:
    manifest, rows, originals = subject.manifest, subject.rows, subject.originals
    groups = copies = detection = chance = None
    if subject.cluster == "speaker" and len(originals):
        people = manifest.groups("speaker")[originals]
        groups = tabulate_groups("speaker", people, manifest.labels[originals], manifest.n_classes)
    count.step("copies")
    if manifest.is_copy[rows].any():
        seed = subject.contest.seed
        copies = tabulate_copies(manifest.is_copy[rows], manifest.labels[rows], manifest.n_classes, seed=seed)
        detection = detect_copies(subject)
    count.step("permutations")
    hardest = hardest_of(climbs)
    if hardest is not None and len(originals):
        chance = permute(subject, hardest.role, n_permutations=n_permutations, n_tried=n_tried)
    rungs = read_rungs(subject, climbs)
    return Answers(
        near=near, groups=groups, copies=copies, detection=detection, climbs=climbs, rungs=rungs, chance=chance
    )


def _conclude(subject: Subject, found: Answers, *, keys: tuple[str, ...]) -> Audit:
    case = read_case(subject, found.climbs, found.rungs, found.chance)
    verdict, sentence = decide(case)
    protocols = [one.protocol for one in found.climbs if one.strategy is not None]
    return Audit(
        verdict=verdict,
        sentence=sentence,
        ladder=found.rungs,
        findings=[
            tell_overlap(subject, found.near),
            *tell_groups(found.groups, found.rungs),
            *tell_copies(found.copies, found.detection),
            *tell_chance(found.chance),
        ],
        warnings=[
            *find_cautions(subject.manifest, keys, protocols),
            *find_warnings(found.rungs, found.near, found.groups, found.copies),
        ],
        evidence=list_evidence(subject, found, case),
    )
