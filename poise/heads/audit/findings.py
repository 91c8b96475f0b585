"""What was found, in short plain lines, and what a reader of any figure must know. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence

from poise.heads.audit.chance import Chance
from poise.heads.audit.copies import CopyDetection
from poise.heads.audit.duplicates import NearDuplicates
from poise.heads.audit.ladder import Subject
from poise.heads.audit.rungs import Rung
from poise.heads.audit.tables import CopyTable, GroupTable
from poise.heads.audit.verdict import say

_SURELY = 0.05
_CLEAR_AUC = 0.7
_STRONG_V = 0.5
_CLEAR_GAP = 0.1


def tell_overlap(subject: Subject, near: NearDuplicates) -> str:
    """Whether there are copies that nobody declared."""
    what = f"recordings of different {subject.cluster}s"
    limit = f"cosine above {say(near.threshold)}"
    if near.n_known:
        limit += f", as {near.n_known_found} of {near.n_known} declared copies have with their source"
        if 2 * near.n_known_found < near.n_known:
            limit += ", so that most undeclared ones would not be seen"
    if not len(near.pairs):
        return f"Overlap: no two {what} are nearly identical ({limit})."
    a, b = subject.rows[near.pairs[0]].tolist()
    paths = subject.manifest.paths
    pairs = "1 pair" if len(near.pairs) == 1 else f"{len(near.pairs)} pairs"
    return (
        f"Overlap: {pairs} of {what} are nearly identical ({limit}); the closest are {paths[a]} and {paths[b]} with "
        f"{say(float(near.cosines[0]))}. Grouped folds of this audit keep them together."
    )


def tell_groups(table: GroupTable | None, rungs: Sequence[Rung]) -> list[str]:
    """What the speaker alone says of the level."""
    if table is None:
        return []
    alone = rungs[0].group_only if rungs and rungs[0].made else None
    strength = "" if table.cramers_v is None else f" Cramér's V, corrected for chance, is {say(table.cramers_v)}."
    single = f"{len(table.single_level)} of {len(table.names)} {table.column}s have recordings of one level alone"
    gets = (
        ""
        if alone is None
        else f"; the {table.column} alone gets quadratic kappa {say(alone['qwk'])} under random folds"
    )
    return [f"Level and {table.column}: {single}{gets}.{strength}"]


def tell_copies(table: CopyTable | None, detection: CopyDetection | None) -> list[str]:
    """Whether being a copy gives the level away, and whether features give away that it is one."""
    if table is None or detection is None:
        return []
    if table.p is None:
        dealt = f"nothing can be said of their levels: {table.reason}"
    elif table.p <= _SURELY:
        dealt = f"being a copy predicts the level (p = {table.p:.2g})"
    else:
        dealt = f"being a copy says nothing certain of the level (p = {table.p:.2g})"
    if detection.auc is None:
        seen = f"whether features give them away is not known: {detection.reason.split('. ')[0].rstrip('.')}"
    else:
        how, group = "tell" if detection.auc >= _CLEAR_AUC else "hardly tell", detection.protocol.split(":")[1]
        seen = f"features {how} them from originals of a {group} not seen (AUC {say(detection.auc)})"
    return [f"Copies: {dealt}; {seen}."]


def tell_chance(chance: Chance | None) -> list[str]:
    """What the permutation test says."""
    if chance is None or chance.test is None:
        return [] if chance is None else [f"Chance: not tested, as {chance.reason}."]
    test = chance.test
    if test.p is None:
        return [f"Chance: the permutation test says nothing: {test.reason}."]
    corrected = f" ({chance.p:.2g} corrected for {chance.n_tried} strategies tried)" if chance.n_tried > 1 else ""
    return [
        f"Chance: {chance.strategy}, {chance.note}, gets quadratic kappa {say(test.observed)}, and with labels dealt "
        f"out at random {test.n_permutations:,} times as much with p = {test.p:.2g}{corrected}."
    ]


def find_warnings(
    rungs: Sequence[Rung], near: NearDuplicates, table: GroupTable | None, copies: CopyTable | None
) -> list[str]:
    """What a reader of any figure on these recordings must know."""
    found = []
    if len(near.pairs):
        found.append(
            f"{len(near.pairs)} near-identical pairs stand in different groups, as undeclared copies do. Name the one "
            "as the source of the other, or remove it: other validations do not know of them."
        )
    if table is not None and (table.cramers_v or 0) > _STRONG_V:
        found.append(
            f"Who speaks says much about the level (Cramér's V {say(table.cramers_v)}): any validation that does not "
            "keep speakers apart measures that too."
        )
    if copies is not None and copies.p is not None and copies.p <= _SURELY:
        found.append(
            "Copies and originals have different levels, so that a head may learn what was done to a recording. Make "
            "as many copies of each level, or of none."
        )
    by_copies = _carried_by_copies(rungs)
    return [*found, *by_copies]


def _carried_by_copies(rungs: Sequence[Rung]) -> list[str]:
    """The hardest rung, where copies do better than originals."""
    made = [rung for rung in rungs if rung.made]
    if len(made) < 2 or made[-1].scored == made[-2].scored:
        return []
    originals, whole = made[-2], made[-1]
    if not (whole.interval and whole.interval[0] > 0) or (originals.interval and originals.interval[0] > 0):
        return []
    if (whole.qwk or 0) - (originals.qwk or 0) < _CLEAR_GAP:
        return []
    return [
        f"Under {whole.protocol} quadratic kappa is {say(whole.qwk)} with copies scored and {say(originals.qwk)} on "
        "originals: what is recognised are copies. The verdict reads originals."
    ]
