"""Promises of the tables: what groups and copies say of the level, and when nothing can be said."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from poise.heads.audit.tables import tabulate_copies, tabulate_groups


def names(number: np.ndarray) -> np.ndarray:
    return np.array([f"s{one}" for one in number])


def test_a_group_that_gives_the_level_away_has_an_association_near_one():
    """Six speakers of one level each; all are listed."""
    people = np.arange(36) % 6
    table = tabulate_groups("speaker", names(people), people % 3, 3)
    assert 0.9 < table.cramers_v <= 1
    assert table.single_level == table.names == ("s0", "s1", "s2", "s3", "s4", "s5")
    assert table.counts[1] == (0, 6, 0)


def test_chance_has_no_association():
    """The mean over shuffled labels is near 0, where the uncorrected one is 0.4."""
    random = np.random.default_rng(0)
    people = np.arange(48) % 8
    found = [tabulate_groups("speaker", names(people), random.integers(0, 3, 48), 3).cramers_v for _ in range(50)]
    assert np.mean(found) < 0.15
    assert min(found) == 0


def test_association_is_the_corrected_one():
    """Chi-square over n, less what chance makes of it, over the corrected number of kinds less one."""
    random = np.random.default_rng(1)
    people = random.integers(0, 4, 200)
    levels = np.where(random.random(200) < 0.4, people % 3, random.integers(0, 3, 200))
    table = tabulate_groups("speaker", names(people), levels, 3)
    chi2 = chi2_contingency(np.array(table.counts), correction=False).statistic
    phi2 = max(0, chi2 / 200 - 3 * 2 / 199)
    expected = np.sqrt(phi2 / min(4 - 9 / 199 - 1, 3 - 4 / 199 - 1))
    assert table.cramers_v == pytest.approx(expected)


@pytest.mark.parametrize(
    ("people", "levels", "why"),
    [
        (np.zeros(6, dtype=int), np.arange(6) % 3, "of one group"),
        (np.arange(6), np.zeros(6, dtype=int), "of one level"),
        (np.arange(6), np.arange(6) % 3, "a group of its own"),
    ],
)
def test_an_undefined_association_says_why(people, levels, why):
    """It is None with a reason, in JSON too."""
    table = tabulate_groups("speaker", names(people), levels, 3)
    assert table.cramers_v is None
    assert why in table.reason
    assert table.to_json()["reasons"]["cramers_v"] == table.reason


def test_single_recordings_are_no_groups_of_one_level():
    """Who has one recording cannot have two levels."""
    table = tabulate_groups("speaker", names(np.array([0, 1, 1, 2, 2])), np.array([0, 1, 1, 0, 2]), 3)
    assert table.single_level == ("s1",)


def test_copies_of_one_level_alone_are_no_chance():
    """Where copies were made of the rare level, being a copy predicts it."""
    levels = np.repeat([0, 1], [40, 40])
    is_copy = np.arange(80) < 30
    found = tabulate_copies(is_copy, levels, 2, seed=0)
    assert (found.originals, found.copies) == ((10, 40), (30, 0))
    assert found.p == pytest.approx(1e-4)


def test_p_of_copies_is_that_of_chi_square_where_there_are_many():
    """Dealing copies out and the known distribution agree on large counts."""
    random = np.random.default_rng(0)
    is_copy, levels = random.random(900) < 0.4, random.integers(0, 3, 900)
    found = tabulate_copies(is_copy, levels, 3, seed=0)
    expected = chi2_contingency([found.originals, found.copies], correction=False).pvalue
    assert found.p == pytest.approx(expected, abs=0.02)


def test_equal_levels_are_as_likely_as_can_be():
    """Nothing that is dealt is closer than no difference at all."""
    assert tabulate_copies(np.arange(40) % 2 == 0, np.arange(40) // 2 % 2, 2, seed=0).p == 1


@pytest.mark.parametrize(
    ("is_copy", "levels", "why"),
    [
        (np.zeros(4, dtype=bool), np.arange(4) % 2, "no copies"),
        (np.ones(4, dtype=bool), np.arange(4) % 2, "no originals"),
        (np.arange(4) < 2, np.zeros(4, dtype=int), "one level"),
    ],
)
def test_no_p_says_why(is_copy, levels, why):
    """It is None with a reason."""
    found = tabulate_copies(is_copy, levels, 2, seed=0)
    assert found.p is None
    assert why in found.reason
