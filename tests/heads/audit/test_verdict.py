"""Promises of the verdict: every rule, and the sentence with its numbers, word for word."""

from dataclasses import replace

import pytest

from poise.heads.audit.verdict import Case, Reading, decide, say

RANDOM = Reading(role="random", protocol="stratified:5", qwk=0.79, interval=(0.6, 0.9), drop=(0.5, 1.1))
SOURCE = Reading(role="source", protocol="group:source:5", qwk=0.7, interval=(0.5, 0.8), drop=(0.4, 1.0))
SPEAKER = Reading(role="speaker", protocol="logo:speaker", qwk=-0.05, interval=(-0.11, 0.06))
ALONE = {"group_only": 0.72, "group_only_interval": (0.5, 0.8), "lead": (-0.1, 0.2)}


def judge(*readings: Reading, shortages=(), hindrance="", speakers_known=True, p=0.4, n_tried=1):
    return decide(
        Case(
            readings=readings,
            shortages=shortages,
            hindrance=hindrance,
            speakers_known=speakers_known,
            p=p,
            n_tried=n_tried,
        )
    )


def test_signal_on_people_not_heard_is_supported():
    """The interval is above chance, and labels dealt out again do not come so far."""
    assert judge(RANDOM, replace(SPEAKER, qwk=0.62, interval=(0.41, 0.78)), p=0.001) == (
        "supported",
        "Supported: on speakers it has not heard quadratic kappa is 0.62 (95 % interval 0.41 to 0.78); labels dealt "
        "out at random hardly ever do as well (p = 0.001). Random folds say 0.79.",
    )


def test_what_the_speaker_alone_gets_is_confounded():
    """Lost on people not heard, and who speaks says as much as picture and sound."""
    assert judge(replace(RANDOM, **ALONE), SPEAKER) == (
        "confounded",
        "Confounded: random folds say quadratic kappa 0.79, but on speakers it has not heard it is -0.05 (95 % "
        "interval -0.11 to 0.06), no better than chance; under random folds the speaker alone, without picture or "
        "sound, gets 0.72.",
    )


def test_the_figure_with_copies_stands_beside():
    """It is the one that is mostly told."""
    told = judge(replace(RANDOM, with_copies=0.84, **ALONE), replace(SOURCE, **ALONE), SPEAKER)[1]
    assert told.startswith("Confounded: random folds say quadratic kappa 0.79 (0.84 with copies scored), but")


def test_confounding_is_told_of_the_rung_where_the_speaker_does_as_well():
    """Where random folds beat the speaker alone, their figure is not the one to compare it with."""
    easier = replace(RANDOM, **{**ALONE, "lead": (0.02, 0.2)})
    told = judge(easier, replace(SOURCE, **{**ALONE, "group_only": 0.66}), SPEAKER)[1]
    assert told.startswith("Confounded: folds by source say quadratic kappa 0.70, but on speakers")
    assert told.endswith("gets 0.66.")


def test_lost_where_copies_stay_with_their_source_is_leakage():
    """Copies carried it, whatever the speakers say."""
    lost = replace(SOURCE, qwk=0.02, interval=(-0.2, 0.2), drop=(-0.1, 0.3), **ALONE)
    assert judge(RANDOM, lost, SPEAKER) == (
        "leakage",
        "Leakage: random folds say quadratic kappa 0.79, but on speakers it has not heard it is -0.05 (95 % "
        "interval -0.11 to 0.06), no better than chance; it knew copies of what it had learnt from again.",
    )
    last = replace(lost, drop=None)
    verdict, sentence = judge(RANDOM, last, speakers_known=False)
    assert verdict == "leakage"
    assert "where copies stay with their source it is 0.02 (95 % interval -0.20 to 0.20)" in sentence


@pytest.mark.parametrize(
    ("alone", "end"),
    [
        ({}, "it knew recordings of the same speaker again."),
        (
            {"group_only": 0.1, "group_only_interval": (-0.1, 0.3), "lead": (0.2, 0.9)},
            "it knew recordings of the same speaker again, though the speaker alone gets 0.10.",
        ),
        (
            {"group_only": 0.3, "group_only_interval": (0.1, 0.5), "lead": (0.2, 0.9)},
            "it knew recordings of the same speaker again, though the speaker alone gets 0.30.",
        ),
    ],
)
def test_lost_on_people_though_the_speaker_alone_does_worse_is_leakage(alone, end):
    """Something of the same people is known again that is not who they are."""
    verdict, sentence = judge(replace(RANDOM, **alone), SPEAKER)
    assert verdict == "leakage"
    assert sentence.endswith(end)


def test_a_drop_that_may_be_chance_is_no_evidence():
    """Of two figures that differ by chance, one is above it and the other not: that is no leak."""
    weak = replace(RANDOM, qwk=0.3, interval=(0.01, 0.5), drop=(-0.1, 0.5))
    assert judge(weak, replace(SPEAKER, qwk=0.1, interval=(-0.2, 0.3))) == (
        "no evidence",
        "No evidence: on speakers it has not heard quadratic kappa is 0.10 (95 % interval -0.20 to 0.30), no better "
        "than chance. Random folds say 0.30; the difference may be chance.",
    )


def test_nothing_anywhere_is_no_evidence():
    """No rung has more than chance."""
    nothing = replace(RANDOM, qwk=0.0, interval=(-0.1, 0.2))
    assert judge(nothing, SPEAKER)[0] == "no evidence"
    assert judge(replace(nothing, drop=None), speakers_known=False)[0] == "no evidence"


def test_what_labels_dealt_out_reach_too_is_no_evidence():
    """An interval above chance is not enough; p counts the strategies that were tried."""
    good = replace(SPEAKER, qwk=0.3, interval=(0.1, 0.5))
    verdict, sentence = judge(replace(RANDOM, drop=(-0.1, 0.5)), good, p=0.12, n_tried=12)
    assert verdict == "no evidence"
    assert (
        "but labels dealt out at random do as well too often (p = 0.12, corrected for 12 strategies tried)" in sentence
    )
    assert judge(RANDOM, good, p=None)[0] == "supported"


def test_shortages_come_first_but_for_copies():
    """Three speakers tell nothing of a fourth, and copies that leak show all the same."""
    shortages = ["3 speakers, where 4 or more are needed"]
    verdict, sentence = judge(RANDOM, shortages=shortages)
    assert (verdict, sentence) == ("too little data", f"Too little data to tell: {shortages[0]}.")
    assert judge(shortages=shortages)[0] == "too little data"
    assert judge(RANDOM, replace(SOURCE, drop=None), shortages=shortages, p=0.001)[0] == "too little data"
    lost = replace(SOURCE, qwk=0.0, interval=(-0.1, 0.1), drop=None)
    assert judge(RANDOM, lost, shortages=shortages)[0] == "leakage"


def test_nobody_named_is_never_supported():
    """Without a column that says who speaks, a good figure may be people that are known again."""
    verdict, sentence = judge(
        replace(RANDOM, drop=None), speakers_known=False, hindrance="the manifest has no column 'speaker'", p=0.001
    )
    assert verdict == "too little data"
    assert sentence == (
        "Too little data to tell: under random folds quadratic kappa is 0.79 (95 % interval 0.60 to 0.90), but it may "
        "know the people rather than the level: the manifest has no column 'speaker'."
    )


def test_people_that_cannot_be_kept_apart_confound():
    """Where the speaker alone does as well at the hardest rung there is."""
    hindrance = "logo:speaker, fold 2: all 30 training recordings have one label (low), so nothing can be learnt"
    case = {"hindrance": hindrance, "p": 0.001}
    verdict, sentence = judge(replace(RANDOM, drop=None, **ALONE), **case)
    assert verdict == "confounded"
    assert "the speaker alone, without picture or sound, gets 0.72" in sentence
    assert hindrance in sentence
    worse = {**ALONE, "lead": (0.1, 0.3)}
    assert judge(replace(RANDOM, drop=None, **worse), **case)[0] == "too little data"


def test_numbers_are_said_with_two_digits():
    """No minus before nothing."""
    assert [say(value) for value in (-0.001, 0.456, -0.05, None)] == ["0.00", "0.46", "-0.05", "undefined"]
