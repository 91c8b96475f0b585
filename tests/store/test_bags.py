"""Promises of bags: ragged clips behave like a table of recordings."""

import pickle

import numpy as np
import pytest
from sklearn.model_selection import KFold
from torch.utils.data import DataLoader

from poise.store import BagDataset, Bags, ModalityBags


def ragged(*counts: int, dim: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((count, dim)).astype(np.float32) for count in counts]


def test_taking_recordings_takes_their_clips() -> None:
    """Integers, slices, masks, lists and scikit-learn's (rows, ...) give the same recordings."""
    lists = ragged(2, 0, 3, 1)
    bags = Bags.from_arrays({"video": lists})
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
    bags = Bags.from_arrays({"video": ragged(1, 2, 3, 4), "audio": ragged(4, 3, 2, 1)})
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
    with pytest.raises(ValueError, match="Offsets end at 2"):
        ModalityBags(values=np.zeros((3, 2)), offsets=np.array([0, 2]), clip_times=np.zeros((3, 2)))
    one = ModalityBags(values=np.zeros((3, 2)), offsets=np.array([0, 3]), clip_times=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="video has 1 recordings, expected 2"):
        Bags(keys=("a", "b"), modalities={"video": one})


@pytest.mark.parametrize(
    "values",
    [np.zeros(3), np.zeros((3, 2, 2, 2)), np.zeros((3, 0)), np.zeros((3, 2), complex), np.full((3, 2), "loud")],
    ids=["one axis", "four axes", "no columns", "complex", "text"],
)
def test_clips_are_real_numbers_of_two_or_three_axes(values: np.ndarray) -> None:
    """Anything else is named with its type and shape."""
    with pytest.raises(ValueError, match=r"Clips are .* expected real numbers of shape \(n_clips, dim\)"):
        Bags.from_array(values)


@pytest.mark.parametrize("arrays", [[np.zeros((1, 2)), np.zeros((1, 3))], [np.zeros((1, 2)), 4.0]])
def test_arrays_of_one_modality_have_one_shape(arrays: list[np.ndarray]) -> None:
    """What the shapes are is told, and what was expected."""
    with pytest.raises(ValueError, match=r"Arrays of video have the shapes .*expected \(n_clips, dim\)"):
        Bags.from_arrays({"video": arrays})


def test_a_piece_of_consecutive_recordings_is_a_view() -> None:
    """Slices copy nothing; any other selection does."""
    bags = Bags.from_arrays({"video": ragged(2, 0, 3, 1)})
    whole = bags.modalities["video"].values
    assert np.shares_memory(bags[1:3].modalities["video"].values, whole)
    assert np.shares_memory(bags[[2, 3]].modalities["video"].values, whole)
    assert not np.shares_memory(bags[[3, 0]].modalities["video"].values, whole)
    assert bags[[]].modalities["video"].values.shape == (0, 2)
    assert bags[[1]].modalities["video"].present.tolist() == [False]


def test_bags_become_a_list_and_come_back() -> None:
    """Every recording with its clips, times and missing modalities."""
    bags = Bags.from_arrays({"video": ragged(2, 0, 3), "audio": ragged(1, 2, 0)}, keys=["x", "y", "z"])
    again = Bags.from_list(bags.to_list())
    assert again.keys == bags.keys
    for name, side in bags.modalities.items():
        np.testing.assert_array_equal(again.modalities[name].values, side.values)
        np.testing.assert_array_equal(again.modalities[name].offsets, side.offsets)
        np.testing.assert_array_equal(again.modalities[name].clip_times, side.clip_times)
    with pytest.raises(ValueError, match="no clips in these bags"):
        Bags.from_list([])
    with pytest.raises(ValueError, match="embeddings of several shapes"):
        Bags.from_list([bags[0], Bags.from_arrays({"video": ragged(1, dim=3)})[0]])


def test_bags_can_be_pickled() -> None:
    """Also when they are mapped from a file: what arrives is whole."""
    bags = Bags.from_arrays({"video": ragged(2, 0, 3)})
    again = pickle.loads(pickle.dumps(bags))
    np.testing.assert_array_equal(again.modalities["video"].values, bags.modalities["video"].values)
    assert again.keys == bags.keys


def test_several_layers_are_kept_and_one_is_chosen() -> None:
    """(n_clips, n_layers, dim) is indexed like any other; a layer or the mean of all makes (n_clips, dim)."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 3, 2)).astype(np.float16) for n in (2, 0, 4)]
    bags = Bags.from_arrays({"video": arrays})
    side = bags.modalities["video"]
    assert (side.n_layers, side.dim) == (3, 2)
    np.testing.assert_array_equal(bags[[2]].modalities["video"].values, arrays[2])
    np.testing.assert_array_equal(bags.layer(-1)[2].values["video"], arrays[2][:, -1])
    mean = bags.layer("mean")[2].values["video"]
    np.testing.assert_allclose(mean, arrays[2].astype(np.float64).mean(axis=1), rtol=1e-6)
    assert bags.layer(0).layer(0).modalities["video"].n_layers is None
    with pytest.raises(IndexError):
        bags.layer(3)


def test_the_table_of_clips_has_a_row_for_each() -> None:
    """Recording, key, modality, number and times; as a DataFrame."""
    side = ModalityBags(
        values=np.zeros((3, 2)), offsets=np.array([0, 1, 1, 3]), clip_times=np.array([[0, 5], [0, 4], [4, 9]], float)
    )
    table = Bags(keys=("a", "b", "c"), modalities={"video": side}).clip_table()
    assert table.to_dict("list") == {
        "recording": [0, 2, 2],
        "key": ["a", "c", "c"],
        "modality": ["video"] * 3,
        "clip": [0, 0, 1],
        "start_s": [0.0, 0.0, 4.0],
        "end_s": [5.0, 4.0, 9.0],
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_loads_bags_without_padding(workers: int) -> None:
    """A DataLoader gives packed clips, offsets and labels, also from worker processes."""
    lists = ragged(2, 0, 3, 1)
    data = BagDataset(Bags.from_arrays({"video": lists}), labels=[0, 1, 2, 1])
    loader = DataLoader(
        data,
        batch_size=3,
        collate_fn=BagDataset.collate,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    first, second = list(loader)
    np.testing.assert_array_equal(first["video"].values, np.concatenate(lists[:3]))
    assert first["video"].offsets.tolist() == [0, 2, 2, 5]
    assert (first["label"].tolist(), second["label"].tolist()) == ([0, 1, 2], [1])
    assert len(data) == 4
    with pytest.raises(ValueError, match=r"Labels of shape \(1,\) for 4 recordings"):
        BagDataset(data.bags, labels=[1])
    with pytest.raises(IndexError):
        data[4]


def test_labels_of_a_dataset_are_ranks() -> None:
    """Probabilities and texts are no class numbers; cut off they would be other labels."""
    bags = Bags.from_arrays({"video": ragged(1, 2)})
    assert [item["label"] for item in BagDataset(bags, np.array([1, 0], np.uint8))] == [1, 0]
    for labels in ([0.5, 1.9], ["0", "1"], [True, False], [None, 1]):
        with pytest.raises(ValueError, match="Expected ranks, 0 to K - 1"):
            BagDataset(bags, labels)


def test_bags_have_a_modality() -> None:
    """Of nothing there is no number of recordings."""
    with pytest.raises(ValueError, match="no modality"):
        Bags.from_arrays({})
    with pytest.raises(ValueError, match="one without recordings"):
        Bags.from_arrays({"video": []})
