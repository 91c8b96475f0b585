"""Labels are dealt in every way that chance allows, and in no other."""

from collections import Counter
from itertools import permutations, product

import numpy as np
import pytest

from poise.errors import SplitError
from poise.heads.statistics.deal import FEWEST_WAYS, count_ways, deal_labels


def ways_by_hand(ranks, groups, sources):
    """Every labelling, by going through permutations of groups and of the sources within them."""
    names = np.unique(groups)
    rows = {name: [row for row in np.unique(sources) if groups[row] == name] for name in names}
    uniform = all(len({ranks[row] for row in some}) == 1 for some in rows.values())
    found = set()
    for order in permutations(range(len(names))):
        if uniform:
            label = {name: ranks[rows[names[order[place]]][0]] for place, name in enumerate(names)}
            found.add(tuple(label[groups[row]] for row in range(len(ranks))))
            continue
        hands = [[ranks[row] for row in rows[names[place]]] for place in order]
        if any(len(hand) != len(rows[name]) for hand, name in zip(hands, names, strict=True)):
            continue
        for shuffled in product(*(permutations(hand) for hand in hands)):
            label = {}
            for name, hand in zip(names, shuffled, strict=True):
                label |= dict(zip(rows[name], hand, strict=True))
            found.add(tuple(label[source] for source in sources))
    return found


CASES = {
    "sources alone": ([0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
    "sources and copies": ([0, 1, 1, 0, 1, 1], [0, 1, 2, 0, 1, 1], [0, 1, 2, 0, 1, 1]),
    "speakers of one label": ([0, 0, 1, 1, 1, 2], [0, 0, 1, 1, 1, 2], [0, 1, 2, 3, 4, 5]),
    "speakers of several labels": ([0, 1, 1, 1, 0, 2, 2], [0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 3, 4, 5, 6]),
    "with copies": ([0, 1, 1, 2, 0, 1, 1], [5, 5, 3, 3, 5, 3, 3], [0, 1, 2, 3, 0, 2, 2]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_way_is_dealt_as_often_and_no_other(case):
    """Against all ways by hand; the count is theirs."""
    ranks, groups, sources = (np.array(one) for one in CASES[case])
    expected = ways_by_hand(ranks, groups, sources)
    assert count_ways(ranks, groups, sources) == len(expected)
    n = 400 * len(expected)
    times = Counter(map(tuple, deal_labels(ranks, groups, sources, n=n, seed=1).tolist()))
    assert set(times) == expected
    # a chi-square of as many degrees of freedom stays below its mean and six standard deviations
    surprise = sum((count - 400) ** 2 / 400 for count in times.values())
    assert surprise < len(expected) - 1 + 6 * np.sqrt(2 * max(len(expected) - 1, 1))


def test_copies_follow_their_source_and_nothing_is_lost():
    """Under names of groups and numbers of sources in any order."""
    random = np.random.default_rng(0)
    sources = np.concatenate([np.arange(30), random.integers(0, 30, 25)])
    groups = np.array([f"s{number}" for number in random.integers(0, 6, 30)])[sources]
    ranks = random.integers(0, 4, 30)[sources]
    dealt = deal_labels(ranks, groups, sources, n=50)
    assert (dealt == dealt[:, sources]).all()
    assert (np.sort(dealt[:, :30]) == np.sort(ranks[:30])).all()
    assert (dealt != ranks).any(1).all()


def test_counting_stops_and_tells_what_is_too_little():
    """A billion is many; three speakers of one label each are too few."""
    many = np.arange(200) % 3
    assert count_ways(many, np.arange(200), np.arange(200)) == 10**9
    assert count_ways(many, np.arange(200), np.arange(200), most=50) == 50
    few = np.repeat([0, 1, 1], 5)
    assert count_ways(few, np.repeat([0, 1, 2], 5), np.arange(15)) == 3 < FEWEST_WAYS


@pytest.mark.parametrize("what", ["label", "group"])
def test_a_copy_unlike_its_source_is_refused(what):
    """In its label, or its group."""
    ranks, groups = np.array([0, 1, 0]), np.array([0, 1, 0])
    (ranks if what == "label" else groups)[2] = 1
    with pytest.raises(SplitError, match=f"Recording 2 has another {what} than recording 0"):
        deal_labels(ranks, groups, np.array([0, 1, 0]), n=1)
