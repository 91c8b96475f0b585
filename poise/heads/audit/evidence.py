"""What each question of an audit brought, and the numbers of it all as JSON. Nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from poise.heads.audit.chance import Chance
from poise.heads.audit.copies import CopyDetection
from poise.heads.audit.duplicates import NearDuplicates
from poise.heads.audit.ladder import Climb, Subject
from poise.heads.audit.rungs import Rung
from poise.heads.audit.tables import CopyTable, GroupTable
from poise.heads.audit.verdict import Case

_SHOWN_PAIRS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What each question brought.

    Attributes
    ----------
    near : NearDuplicates
    groups : GroupTable or None
        None where not every recording says who speaks.
    copies : CopyTable or None
        None without copies, as ``detection``.
    detection : CopyDetection or None
    climbs : list of Climb
    rungs : list of Rung
    chance : Chance or None
        None where no rung could be made.
    """

    near: NearDuplicates
    groups: GroupTable | None
    copies: CopyTable | None
    detection: CopyDetection | None
    climbs: list[Climb]
    rungs: list[Rung]
    chance: Chance | None


def list_evidence(subject: Subject, found: Answers, case: Case) -> dict[str, Any]:
    """Every number by its name; what is undefined is None, and ``reasons`` say why."""
    manifest = subject.manifest
    speakers = manifest.speakers
    return {
        "strategy": str(subject.strategy),
        "seed": subject.contest.seed,
        "groups_column": subject.cluster,
        "n_recordings": len(subject.rows),
        "n_left_out": len(manifest) - len(subject.rows),
        "n_copies": int(manifest.is_copy[subject.rows].sum()),
        "n_speakers": None if speakers is None else len(np.unique(speakers[subject.rows])),
        "overlap": _describe_overlap(subject, found.near),
        "groups": found.groups.to_json() if found.groups else None,
        "copies": _describe_copies(subject, found.copies, found.detection),
        "permutation": found.chance.to_json() if found.chance else None,
        "drops": [{"protocol": one.protocol, "interval": list(one.drop)} for one in case.readings if one.drop],
        "reasons": _reasons(subject, found),
    }


def _reasons(subject: Subject, found: Answers) -> dict[str, str]:
    reasons = {
        "n_speakers": "the manifest has no column 'speaker'" if subject.manifest.speakers is None else "",
        "groups": "" if found.groups else "not every recording says who speaks",
        "copies": "" if found.copies else "there are no copies",
        "permutation": "" if found.chance else "no rung could be made",
    }
    return {name: why for name, why in reasons.items() if why}


def _describe_overlap(subject: Subject, near: NearDuplicates) -> dict[str, Any]:
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


def _describe_copies(
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
