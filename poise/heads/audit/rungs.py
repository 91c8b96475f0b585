"""The rungs of a ladder as numbers: what the predictions of each are worth, on originals and on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.audit.ladder import Climb, Subject
from poise.heads.leaderboard import LeaderboardRow, score_predictions
from poise.heads.validate import OutOfFold

Ends = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rung:
    """One protocol, scored on originals or on all.

    Attributes
    ----------
    protocol : str
    scored : {"originals", "all"}
    n : int
        Recordings scored; 0 where the rung could not be made.
    qwk, accuracy : float or None
        Over all out-of-fold predictions.
    interval : (float, float) or None
        95 % cluster bootstrap interval of the quadratic kappa.
    interval_groups : {"source", "speaker"}
        What it draws, which is what the rung promises something about: new recordings, or new speakers.
    group_only : dict or None
        ``column``, ``qwk`` and ``interval`` of what the group alone predicts.
    majority : dict
        ``qwk`` and ``accuracy`` of always saying the commonest level.
    reasons : dict of str to str
        Why a number is None; under ``rung`` why there is no rung at all.
    """

    protocol: str
    scored: str
    n: int
    interval_groups: str
    qwk: float | None = None
    accuracy: float | None = None
    interval: Ends | None = None
    group_only: Mapping[str, Any] | None = None
    majority: Mapping[str, float | None] = field(default_factory=lambda: {"qwk": None, "accuracy": None})
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def made(self) -> bool:
        """Whether there are predictions."""
        return "rung" not in self.reasons

    def to_json(self) -> dict[str, Any]:
        """Every number by its name, and the reason of each null."""
        other = self.group_only and {**self.group_only, "interval": _listed(self.group_only["interval"])}
        return {
            "protocol": self.protocol,
            "scored": self.scored,
            "n": self.n,
            "qwk": self.qwk,
            "accuracy": self.accuracy,
            "interval": _listed(self.interval),
            "interval_groups": self.interval_groups,
            "group_only": other,
            "majority": dict(self.majority),
            "reasons": dict(self.reasons),
        }


def read_rungs(subject: Subject, climbs: Sequence[Climb]) -> list[Rung]:
    """Each rung as numbers: scored on originals and, where there are copies, on all."""
    whole = not subject.manifest.is_copy[subject.rows].any()
    scored = {"all": subject.rows} if whole else {"originals": subject.originals, "all": subject.rows}
    return [_read(subject, one, name, keep) for one in climbs for name, keep in scored.items()]


def _read(subject: Subject, one: Climb, scored: str, keep: NDArray[np.int64]) -> Rung:
    name, unit = str(one.protocol), "speaker" if one.role == "speaker" else "source"
    if one.strategy is None or one.majority is None or not len(keep):
        why = one.reason or "no original is scored"
        return Rung(protocol=name, scored=scored, n=0, interval_groups=unit, reasons={"rung": why})

    def score(found: OutOfFold) -> LeaderboardRow:
        manifest, seed = subject.manifest, subject.contest.seed
        return score_predictions(found, manifest, keep=keep, strategy="", protocol=name, cluster=unit, seed=seed)

    own, majority = score(one.strategy), score(one.majority)
    alone = score(one.group_only) if one.group_only is not None else None
    return Rung(
        protocol=name,
        scored=scored,
        n=len(keep),
        interval_groups=unit,
        qwk=own.metrics.values["qwk"],
        accuracy=own.metrics.values["accuracy"],
        interval=own.interval.values["qwk"],
        group_only={"column": subject.cluster, **_kappa_of(alone)} if alone else None,
        majority={metric: majority.metrics.values[metric] for metric in ("qwk", "accuracy")},
        reasons={
            **_reasons(own),
            **{f"majority.{key}": why for key, why in _reasons(majority).items() if key != "interval"},
            **({f"group_only.{key}": why for key, why in _reasons(alone).items()} if alone else {}),
        },
    )


def _kappa_of(row: LeaderboardRow) -> dict[str, Any]:
    return {"qwk": row.metrics.values["qwk"], "interval": row.interval.values["qwk"]}


def _reasons(row: LeaderboardRow) -> dict[str, str]:
    """Why numbers of a rung are None."""
    found = {name: why for name, why in row.metrics.reasons.items() if name in ("qwk", "accuracy")}
    return found if row.interval.values["qwk"] else {**found, "interval": row.interval.reasons["qwk"]}


def _listed(ends: Ends | None) -> list[float] | None:
    return None if ends is None else list(ends)
