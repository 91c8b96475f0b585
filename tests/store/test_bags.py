"""Promises of bags: ragged clips behave like a table of recordings."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from poise.store import Bags, ModalityBags


def ragged(*counts: int, dim: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((count, dim)).astype(np.float32) for count in counts]


def test_taking_recordings_takes_their_clips() -> None:
    """Integers, slices, masks, lists and scikit-learn's (rows, ...) give the same recordings."""
    lists = ragged(2, 0, 3, 1)
    bags = Bags.from_lists({"video": lists})
    for index in ([3, 0, 2], np.array([3, 0, 2]), (np.array([3, 0, 2]), ...)):
        taken = bags[index]
        assert taken.keys == ("3", "0", "2")
        for i, row in enumerate([3, 0, 2]):
            np.testing.assert_array_equal(taken[i].values["video"], lists[row])
    assert bags[np.array([True, False, False, True])].keys == ("0", "3")
    assert bags[1:3].keys == ("1", "2")
    assert bags[-1].key == "3"
    assert bags.modalities["video"].present.tolist() == [True, False, True, True]
    with pytest.raises(IndexError):
        bags[4]


def test_scikit_learn_splits_bags() -> None:
    """A splitter and its folds accept bags as X."""
    bags = Bags.from_lists({"video": ragged(1, 2, 3, 4), "audio": ragged(4, 3, 2, 1)})
    for train, test in KFold(2).split(bags):
        assert len(bags[train]) == len(bags[test]) == 2


def test_an_array_is_bags_of_one_clip() -> None:
    """A plain (n, d) array stands for n recordings of one clip each."""
    bags = Bags.from_array(np.arange(6.0).reshape(3, 2))
    assert bags.shape == (3,)
    np.testing.assert_array_equal(bags[1].values["features"], [[2.0, 3.0]])
    assert [bag.key for bag in bags] == ["0", "1", "2"]


def test_arrays_that_do_not_fit_are_refused() -> None:
    """Offsets, clip times and modalities of different lengths are errors."""
    with pytest.raises(ValueError, match="offsets end at 2"):
        ModalityBags(values=np.zeros((3, 2)), offsets=np.array([0, 2]), clip_times=np.zeros((3, 2)))
    one = ModalityBags(values=np.zeros((3, 2)), offsets=np.array([0, 3]), clip_times=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="video has 1 recordings, expected 2"):
        Bags(keys=("a", "b"), modalities={"video": one})
