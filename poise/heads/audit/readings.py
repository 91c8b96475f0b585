"""From a ladder to what the verdict reads: drops between rungs, and what there is too little of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poise.heads.audit.chance import Chance, count_deals
from poise.heads.audit.ladder import Climb, Subject
from poise.heads.audit.rungs import Ends, Rung
from poise.heads.audit.verdict import (
    FEWEST_GROUPS,
    FEWEST_OF_LEVEL,
    FEWEST_RECORDINGS,
    Case,
    Reading,
)
from poise.heads.statistics.bootstrap import N_DRAWS, draw_metrics, percentiles
from poise.heads.statistics.deal import FEWEST_WAYS
from poise.heads.statistics.tally import tally_groups
from poise.heads.validate import OutOfFold


def read_case(subject: Subject, climbs: Sequence[Climb], rungs: Sequence[Rung], chance: Chance | None) -> Case:
    """Everything that the verdict rests on.

    Parameters
    ----------
    subject : Subject
    climbs : sequence of Climb
        The easiest first.
    rungs : sequence of Rung
        Of each climb, those on originals among them.
    chance : Chance or None
        None where no rung could be made.

    Returns
    -------
    Case
    """
    on_originals = {rung.protocol: rung for rung in rungs if rung.scored == rungs[0].scored and rung.made}
    on_all = {rung.protocol: rung for rung in rungs if rung.scored != rungs[0].scored}
    made = [one for one in climbs if one.strategy is not None and str(one.protocol) in on_originals]
    scarce = _count_recordings(subject) or ([] if made else [_clause(climbs[0].reason)])
    few = [] if scarce else _count_groups(subject, made[-1], on_originals[str(made[-1].protocol)])
    if few:
        made = [one for one in made if one.role != "speaker"]
    tested = chance is not None and chance.test is not None
    return Case(
        readings=[] if scarce else _read(subject, made, on_originals, on_all),
        shortages=[*scarce, *few],
        hindrance=_find_hindrance(subject, climbs),
        speakers_known=subject.cluster == "speaker",
        p=(1.0 if chance.p is None else chance.p) if chance is not None and tested else None,
        n_tried=chance.n_tried if chance else 1,
        stand_in=str(chance.strategy) if chance is not None and chance.strategy != subject.strategy else "",
    )


def hardest_of(climbs: Sequence[Climb]) -> Climb | None:
    """The last rung that could be made."""
    return next((one for one in reversed(climbs) if one.strategy is not None), None)


def _read(
    subject: Subject, made: Sequence[Climb], rungs: Mapping[str, Rung], whole: Mapping[str, Rung]
) -> list[Reading]:
    """The rungs that could be made, and by how much each differs from the hardest and from the group alone."""
    drawn = [_draw(subject, one.strategy) for one in made]
    alone = [_draw(subject, one.group_only) for one in made]
    readings = []
    for place, one in enumerate(made):
        rung = rungs[str(one.protocol)]
        dumb = rung.group_only or {"qwk": None, "interval": None}
        reading = Reading(
            role=one.role,
            protocol=rung.protocol,
            qwk=rung.qwk,
            interval=rung.interval,
            with_copies=whole[rung.protocol].qwk if whole else None,
            group_only=dumb["qwk"],
            group_only_interval=dumb["interval"],
            lead=_difference(drawn[place], alone[place]),
        )
        readings.append(reading if one is made[-1] else replace(reading, drop=_difference(drawn[place], drawn[-1])))
    return readings


def _draw(subject: Subject, found: OutOfFold | None) -> NDArray[np.float64] | None:
    """Quadratic kappa on originals when sources are drawn again; the same draws for all.

    Of these very speakers, as what an easier rung promises is about new recordings of them.
    """
    keep = subject.originals
    if found is None or not len(keep):
        return None
    place, manifest = np.searchsorted(found.rows, keep), subject.manifest
    groups = manifest.groups("source")[keep]
    tally = tally_groups(groups, manifest.labels[keep], found.predicted[:, place], found.proba[:, place])
    return draw_metrics(tally.counts, rps=None, n_draws=N_DRAWS, seed=subject.contest.seed)["qwk"]


def _difference(first: NDArray[np.float64] | None, second: NDArray[np.float64] | None) -> Ends | None:
    if first is None or second is None:
        return None
    drawn = first - second
    defined = drawn[np.isfinite(drawn)]
    return percentiles(defined) if 2 * len(defined) >= len(drawn) else None


def _count_recordings(subject: Subject) -> list[str]:
    """Of what there is too little for any verdict."""
    keep = subject.originals
    n_levels = int(np.count_nonzero(np.bincount(subject.manifest.labels[keep]) >= FEWEST_OF_LEVEL))
    found = []
    if len(keep) < FEWEST_RECORDINGS:
        found.append(f"{_count(len(keep), 'original recording')}, where {FEWEST_RECORDINGS} or more are needed")
    if n_levels < 2:
        found.append(f"{_count(n_levels, 'level')} with {FEWEST_OF_LEVEL} recordings or more, where 2 are needed")
    return found


def _count_groups(subject: Subject, hardest: Climb, rung: Rung) -> list[str]:
    """Of what there is too little for a verdict on the hardest rung."""
    column = subject.cluster
    n_named = len(np.unique(subject.manifest.groups(column)[subject.originals]))
    n_groups = len(np.unique(subject.bound(column)[subject.originals]))
    if n_groups < FEWEST_GROUPS:
        bound = f" that copies bind into {_count(n_groups, 'group')}" if n_groups < n_named else ""
        return [f"{_count(n_named, column)}{bound}, where {FEWEST_GROUPS} or more are needed"]
    ways = count_deals(subject, hardest.role)
    if ways < FEWEST_WAYS:
        return [
            f"the labels of {_count(n_groups, column)} can be dealt out in {_count(ways, 'way')} only, where "
            f"{FEWEST_WAYS} or more are needed to tell anything from chance"
        ]
    return [] if rung.interval else [f"{rung.protocol} has no interval, as {rung.reasons['interval']}"]


def _find_hindrance(subject: Subject, climbs: Sequence[Climb]) -> str:
    """Why people are not kept apart, as the end of a sentence."""
    if subject.manifest.speakers is None:
        others = ", ".join(subject.manifest.extra)
        return f"the manifest has no column 'speaker'{f' (it has: {others})' if others else ''} that says who speaks"
    return next((_clause(one.reason) for one in climbs if one.role == "speaker"), "")


def _clause(text: str) -> str:
    """The first sentence, without its full stop."""
    return text.split(". ", maxsplit=1)[0].rstrip(".")


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
