"""Warnings that come from the rungs: said where the figures show it, and not otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.audit.duplicates import NearDuplicates
from poise.heads.audit.findings import find_warnings
from poise.heads.audit.rungs import Rung

NOTHING = NearDuplicates(
    pairs=np.zeros((0, 2), np.int64), cosines=np.zeros(0), threshold=0.9, n_known=0, n_known_found=0
)


def rung(scored: str, qwk: float, low: float) -> Rung:
    """A rung by speaker with its kappa and the low end of its interval."""
    return Rung(
        protocol="logo:speaker", scored=scored, n=40, interval_groups="speaker", qwk=qwk, interval=(low, qwk + 0.2)
    )


@pytest.mark.parametrize(
    ("originals", "whole", "is_said"),
    [
        ((0.05, -0.2), (0.4, 0.2), True),
        ((0.35, -0.01), (0.4, 0.01), False),  # hardly a difference
        ((0.3, 0.1), (0.4, 0.2), False),  # originals are recognised too
        ((0.05, -0.2), (0.2, -0.1), False),  # copies are not
    ],
)
def test_copies_that_alone_are_recognised_are_warned_of(originals, whole, is_said):
    """Only where copies are clearly above chance, originals are not, and the gap is more than chance makes."""
    found = find_warnings([rung("originals", *originals), rung("all", *whole)], NOTHING, None, None)
    assert [text.split(": ")[1].split(".")[0] for text in found] == (
        ["what is recognised are copies"] if is_said else []
    )
