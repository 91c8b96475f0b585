"""Words and numbers of a report."""

from __future__ import annotations

import pytest

from poise.heads.report import wording


def test_text_that_could_mislead_is_written_out() -> None:
    """Control and reordering characters, bytes that are no text, half characters; emoji stay whole."""
    assert wording.show("a\u202egnp.exe") == "a\\u202egnp.exe"
    assert wording.show("\x1b[31m\x00") == "\\x1b[31m\\x00"
    assert wording.show("\udcff.mp4\ud800") == "\\xff.mp4\\ud800"
    assert wording.show("👩‍🏫 שלום") == "👩‍🏫 שלום"
    assert wording.show("\u202e" * 100_000, 20).count("…") == 1
    assert len(wording.show("\u202e" * 100_000, 20)) == 20


def test_text_is_cut_to_the_columns_that_it_takes() -> None:
    """Wide characters count twice, marks on letters not at all; beginning and end stay."""
    assert wording.fit("short", 10) == "short"
    assert wording.fit("mean-std/early/corn:hidden=64", 11) == "mean-…en=64"
    assert wording.fit("高" * 20, 11) == "高高…高高"
    assert wording.measure("e\u0301") == 1
    assert all(wording.measure(wording.fit("x" * 500 + "高" * 500, columns)) <= columns for columns in range(3, 60))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.625, "0.62"), (-0.126, "−0.13"), (-0.001, "0.00"), (12345.678, "12,345.68"), (-0.0, "0.00")],
)
def test_numbers_have_two_digits_and_a_real_minus(value: float | None, text: str) -> None:
    """What rounds to nothing has no sign, what is not defined is a dash."""
    assert wording.figure(value) == text


def test_intervals_shares_and_p_values_read_as_text() -> None:
    """As they stand on the page."""
    assert wording.span([-0.1, 0.5]) == "−0.10 to 0.50"
    assert wording.span(None) == "–"
    assert wording.share(0.834) == "83\u00a0%"
    assert wording.share(None) == "–"
    assert [wording.p_value(p) for p in (None, 0.0001, 0.05)] == ["–", "< 0.001", "0.050"]
    assert [wording.count(n, "speaker") for n in (1, 5000)] == ["1 speaker", "5,000 speakers"]


def test_protocols_are_told_in_words() -> None:
    """By what they keep apart."""
    told = [wording.protocol(name) for name in ("kfold:5", "group:source:5", "logo:speaker", "group:room:3")]
    assert told == [
        "recordings dealt at random", "copies kept with their original", "people kept apart", "kept apart by room"
    ]  # fmt: skip


def test_a_command_is_told_as_it_is_typed() -> None:
    """Quoted for a shell, without the folder that the program lies in."""
    assert wording.command_line(["/usr/bin/poise", "report", "my study"]) == "poise report 'my study'"


def test_every_reason_is_told_once() -> None:
    """Of the numbers that are shown, with the metric's name."""
    rows = [
        {"reasons": {"metrics": {"qwk": "one level", "ece": "hidden"}}},
        {"reasons": {"metrics": {"qwk": "one level"}}},
        {},
    ]
    assert wording.reasons(rows, ["metrics.qwk", "interval.qwk"]) == ["quadratic kappa: one level"]
