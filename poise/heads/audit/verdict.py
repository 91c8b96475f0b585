"""The verdict: what a ladder and a permutation test amount to, and one plain sentence that says so.

Rules and words alone: every number is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from poise.heads.audit.ladder import Role
from poise.heads.audit.rungs import Ends

Verdict = Literal["supported", "leakage", "confounded", "no evidence", "too little data"]
VERDICTS: tuple[Verdict, ...] = ("supported", "leakage", "confounded", "no evidence", "too little data")

FEWEST_GROUPS = 4
FEWEST_RECORDINGS = 20
FEWEST_OF_LEVEL = 3
LARGEST_P = 0.05


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One rung on originals, as the verdict reads it.

    Attributes
    ----------
    role : {"random", "source", "speaker"}
    protocol : str
    qwk : float or None
    interval : (float, float) or None
    with_copies : float or None
        Kappa where copies are scored too, as it is often told; None without copies.
    group_only : float or None
        Quadratic kappa of what the group alone predicts.
    group_only_interval : (float, float) or None
    drop : (float, float) or None
        Interval of what the kappa here is above that of the hardest rung; None for the hardest.
    lead : (float, float) or None
        Interval of what the kappa here is above that of the group alone.
    """

    role: Role
    protocol: str
    qwk: float | None
    interval: Ends | None
    with_copies: float | None = None
    group_only: float | None = None
    group_only_interval: Ends | None = None
    drop: Ends | None = None
    lead: Ends | None = None

    @property
    def has_signal(self) -> bool:
        """Whether the interval lies above chance."""
        return _above(self.interval)

    @property
    def group_does_as_well(self) -> bool:
        """Whether the group alone is above chance, and not clearly worse than the strategy."""
        return _above(self.group_only_interval) and not _above(self.lead)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that the verdict rests on.

    Attributes
    ----------
    readings : sequence of Reading
        Rungs that could be made, the easiest first; without the one by speaker where there are too few of them.
    shortages : sequence of str
        What there is too little of, each with its number.
    hindrance : str
        Why people could not be kept apart; empty where they are.
    speakers_known : bool
        Whether every recording says who speaks.
    p : float or None
        Of the permutation test at the hardest rung, corrected; None where there is none.
    n_tried : int
        Strategies that it is corrected for.
    stand_in : str
        What was tested in place of the strategy; empty where that is the strategy itself.
    """

    readings: Sequence[Reading]
    shortages: Sequence[str]
    hindrance: str
    speakers_known: bool
    p: float | None
    n_tried: int = 1
    stand_in: str = ""

    @property
    def hardest(self) -> Reading:
        """The last rung."""
        return self.readings[-1]

    @property
    def copies_leak(self) -> bool:
        """Whether copies alone carried the signal, which shows however few speakers there are."""
        if len(self.readings) < 2 or self.hardest.role != "source" or self.hardest.has_signal:
            return False
        easier = self.readings[-2]
        return easier.has_signal and _above(easier.drop)

    @property
    def beats_chance(self) -> bool:
        """Whether the hardest rung has signal, and labels dealt out again hardly ever do as well."""
        return self.hardest.has_signal and (self.p is None or self.p <= LARGEST_P)


def decide(case: Case) -> tuple[Verdict, str]:
    """The verdict, and a sentence with the numbers in it.

    A drop from one rung to the next is believed only where the interval of the difference lies above 0: of two
    figures that differ by chance, one may well be above chance and the other not.
    """
    if case.shortages and not case.copies_leak:
        return "too little data", f"Too little data to tell: {'; '.join(case.shortages)}."
    if not case.beats_chance:
        return _explain_loss(case)
    if case.hardest.role == "speaker":
        return "supported", _say_supported(case)
    if case.speakers_known and case.hardest.group_does_as_well:
        return "confounded", _say_group_does_as_well(case)
    return "too little data", _say_people_unknown(case)


def _explain_loss(case: Case) -> tuple[Verdict, str]:
    """Chance is all there is at the hardest rung: whether an easier one has more, and what was taken from it."""
    lost = [place for place, one in enumerate(case.readings[:-1]) if one.has_signal and _above(one.drop)]
    if not lost:
        return "no evidence", _say_no_evidence(case)
    last, taken = case.readings[lost[-1]], case.readings[lost[-1] + 1].role
    if taken == "source":
        return "leakage", _say_leakage(case, last, "it knew copies of what it had learnt from again")
    if last.group_does_as_well:
        return "confounded", _say_confounded(case, last)
    alone = "" if last.group_only is None else f", though the speaker alone gets {say(last.group_only)}"
    return "leakage", _say_leakage(case, last, f"it knew recordings of the same speaker again{alone}")


def _say_supported(case: Case) -> str:
    dealt = "; no labels were dealt out at random to test it"
    if case.p is not None:
        dealt = f"; labels dealt out at random hardly ever do as well ({_p(case)})"
    return f"Supported: {_at_hardest(case)}{dealt}.{_random_says(case)}"


def _say_no_evidence(case: Case) -> str:
    easier = [one for one in case.readings[:-1] if one.has_signal]
    told = [f" {_folds(one.role, capital=True)} say {say(one.qwk)}; the difference may be chance." for one in easier]
    return f"No evidence: {_at_hardest(case)}, {_as_chance(case)}.{told[0] if told else ''}"


def _say_leakage(case: Case, easier: Reading, cause: str) -> str:
    return (
        f"Leakage: {_folds(easier.role)} say quadratic kappa {_told(easier)}, but {_at_hardest(case, named=False)}, "
        f"{_as_chance(case)}; {cause}."
    )


def _say_confounded(case: Case, easier: Reading) -> str:
    # the figure that is mostly told, where it can be told the same way
    first = next(one for one in [*case.readings, easier] if one.has_signal and one.group_does_as_well)
    return (
        f"Confounded: {_folds(first.role)} say quadratic kappa {_told(first)}, but {_at_hardest(case, named=False)}, "
        f"{_as_chance(case)}; under {_folds(first.role)} the speaker alone, without "
        f"picture or sound, gets {say(first.group_only)}."
    )


def _say_group_does_as_well(case: Case) -> str:
    return (
        f"Confounded: {_at_hardest(case)}, but the speaker alone, without picture or sound, gets "
        f"{say(case.hardest.group_only)}, and speakers cannot be kept apart: {_clause(case.hindrance)}."
    )


def _say_people_unknown(case: Case) -> str:
    return (
        f"Too little data to tell: {_at_hardest(case)}, but it may know the people rather than the level: "
        f"{_clause(case.hindrance)}."
    )


def _at_hardest(case: Case, *, named: bool = True) -> str:
    """Where the hardest rung stands, its kappa and its interval."""
    where = {
        "speaker": "on speakers it has not heard",
        "source": "where copies stay with their source",
        "random": "under random folds",
    }[case.hardest.role]
    kappa = "quadratic kappa is" if named else "it is"
    return f"{where} {kappa} {say(case.hardest.qwk)} ({_between(case.hardest.interval)})"


def _as_chance(case: Case) -> str:
    if case.hardest.has_signal and case.p is not None:
        return f"but labels dealt out at random do as well too often ({_p(case)})"
    return "no better than chance"


def _random_says(case: Case) -> str:
    first = case.readings[0]
    return "" if first is case.hardest else f" {_folds(first.role, capital=True)} say {_told(first)}."


def _folds(role: Role, *, capital: bool = False) -> str:
    text = "random folds" if role == "random" else f"folds by {role}"
    return text.capitalize() if capital else text


def _told(one: Reading) -> str:
    """A kappa on originals, and beside it what scoring copies makes of it."""
    return say(one.qwk) if one.with_copies is None else f"{say(one.qwk)} ({say(one.with_copies)} with copies scored)"


def _between(ends: Ends | None) -> str:
    return "no interval" if ends is None else f"95 % interval {say(ends[0])} to {say(ends[1])}"


def _p(case: Case) -> str:
    corrected = f", corrected for {case.n_tried} strategies tried" if case.n_tried > 1 else ""
    tested = f", tested with {case.stand_in}" if case.stand_in else ""
    return f"p = {case.p:.2g}{corrected}{tested}"


def _clause(text: str) -> str:
    return text.rstrip(".")


def say(value: float | None) -> str:
    """A number with two digits, never ``-0.00``."""
    return "undefined" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _above(ends: Ends | None) -> bool:
    return ends is not None and ends[0] > 0
