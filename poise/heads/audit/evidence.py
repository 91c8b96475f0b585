"""What was looked at, as numbers for programs and as short plain lines for people. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.audit.chance import Chance
from poise.heads.audit.copies import CopyDetection
from poise.heads.audit.duplicates import NearDuplicates
from poise.heads.audit.ladder import Rung, Subject
from poise.heads.audit.tables import CopyTable, GroupTable
from poise.heads.audit.verdict import say

_SHOWN_PAIRS = 20
_SURELY = 0.05
_CLEAR_AUC = 0.7
_STRONG_V = 0.5


def describe_overlap(subject: Subject, near: NearDuplicates) -> dict[str, Any]:
    """Pairs of near-identical recordings of different groups, by their paths."""
    manifest = subject.manifest
    shown = [
        {
            "a": manifest.paths[a],
            "b": manifest.paths[b],
            "cosine": float(cosine),
            "same_label": bool(manifest.labels[a] == manifest.labels[b]),
        }
        for (a, b), cosine in zip(subject.rows[near.pairs[:_SHOWN_PAIRS]].tolist(), near.cosines, strict=False)
    ]
    return {
        "column": subject.cluster,
        "threshold": near.threshold,
        "n_pairs": len(near.pairs),
        "pairs": shown,
        "declared_copies": near.n_known,
        "declared_copies_as_close": near.n_known_found,
        "lowest_declared_cosine": near.lowest_known,
    }


def describe_copies(
    subject: Subject, table: CopyTable | None, detection: CopyDetection | None
) -> dict[str, Any] | None:
    """Levels of originals and copies, and how well features tell them apart; None without copies."""
    if table is None or detection is None:
        return None
    names = subject.manifest.label_names
    reasons = {name: why for name, why in (("p", table.reason), ("auc", detection.reason)) if why}
    return {
        "originals": dict(zip(names, table.originals, strict=True)),
        "copies": dict(zip(names, table.copies, strict=True)),
        "p": table.p,
        "auc": detection.auc,
        "protocol": detection.protocol,
        **({"reasons": reasons} if reasons else {}),
    }


def tell_overlap(subject: Subject, near: NearDuplicates) -> str:
    """Whether there are copies that nobody declared."""
    what = f"recordings of different {subject.cluster}s"
    limit = f"cosine above {say(near.threshold)}"
    if near.n_known:
        limit += f", as {near.n_known_found} of {near.n_known} declared copies have with their source"
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
        how = "tell" if detection.auc >= _CLEAR_AUC else "hardly tell"
        seen = f"features {how} them from originals of a {detection.protocol.split(':')[1]} not seen (AUC {say(detection.auc)})"
    return [f"Copies: {dealt}; {seen}."]


def tell_chance(chance: Chance | None) -> list[str]:
    """What the permutation test says."""
    if chance is None or chance.test is None:
        return []
    test = chance.test
    if test.p is None:
        return [f"Chance: the permutation test says nothing: {test.reason}."]
    told = f"labels dealt out at random do at least as well as {say(test.observed)} with p = {test.p:.2g}"
    corrected = f" ({chance.p:.2g} for {chance.n_tried} strategies tried)" if chance.n_tried > 1 else ""
    return [f"Chance: {told}{corrected}, in {test.n_permutations:,} deals; {chance.note}."]


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
    return [
        f"Under {whole.protocol} quadratic kappa is {say(whole.qwk)} with copies scored and {say(originals.qwk)} on "
        "originals: what is recognised are copies. The verdict reads originals."
    ]


def join_near(keys: Sequence[str], rows: NDArray[np.int64], near: NearDuplicates) -> tuple[str, ...]:
    """Keys in which near-identical recordings are equal, as recordings of equal keys are."""
    if not len(near.pairs):
        return tuple(keys)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.unique(np.asarray(keys), return_index=True, return_inverse=True)
    a = np.concatenate([rows[near.pairs[:, 0]], np.arange(len(keys))])
    b = np.concatenate([rows[near.pairs[:, 1]], first[1][first[2]]])
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(keys), len(keys)))
    parts = connected_components(graph, directed=False)[1]
    return tuple(keys[root] for root in np.unique(parts, return_index=True)[1][parts].tolist())
