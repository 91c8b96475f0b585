"""Promises of the search for near-identical recordings: every copy is found, nothing else is, and memory is bounded."""

import tracemalloc

import numpy as np
import pytest

from poise.heads.audit.duplicates import NEAR, find_near_duplicates, join_pairs
from poise.store.bags import Bags
from tests.heads.leakage import make_leaky


def make_vectors(values: np.ndarray, **others: np.ndarray) -> Bags:
    """One clip for each row; a row of NaN is a missing modality."""
    sides = {"video": values, **others}
    lists = {name: [row[None][~np.isnan(row[:1])] for row in side] for name, side in sides.items()}
    return Bags.from_arrays(lists)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_every_copys_source_is_found_and_no_other_pair(seed):
    """37 copies that nobody declares give 37 pairs, each of a copy and what it was made from."""
    bags, manifest = make_leaky(seed=seed, most_clips=8)
    found = find_near_duplicates(bags, np.arange(len(bags)))
    copies = np.flatnonzero(manifest.is_copy)
    assert set(map(tuple, found.pairs.tolist())) == {(int(manifest.sources[row]), int(row)) for row in copies}
    assert (np.diff(found.cosines) <= 0).all()
    assert (found.cosines > NEAR).all()
    assert found.threshold == NEAR


def test_declared_copies_are_no_pairs_and_tell_what_would_be_found():
    """Recordings of one group are not compared; the threshold is tried on the copies that are known."""
    bags, manifest = make_leaky(most_clips=8)
    found = find_near_duplicates(bags, manifest.sources, sources=manifest.sources)
    assert len(found.pairs) == 0
    assert (found.n_known, found.n_known_found) == (37, 37)
    assert found.lowest_known > NEAR


def test_declared_copies_that_are_less_alike_lower_the_threshold():
    """Copies at a cosine of 0.8 are looked for where so many dimensions make that impossible by chance."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 400))
    copies = 0.8 * rows[:20] + 0.6 * random.normal(size=(20, 400))
    bags, sources = make_vectors(np.vstack([rows, copies])), np.concatenate([np.arange(40), np.arange(20)])
    assert len(find_near_duplicates(bags, np.arange(60)).pairs) == 0
    sources[50:] = np.arange(50, 60)  # the last ten are not declared
    found = find_near_duplicates(bags, np.arange(60), sources=sources)
    assert found.threshold < NEAR
    hidden = {(row, row + 40) for row in range(10, 20)}
    assert len(hidden & set(map(tuple, found.pairs.tolist()))) >= 8
    assert {(row, row + 40) for row in range(20)} >= set(map(tuple, found.pairs.tolist()))


def test_two_rooms_are_no_copies():
    """Where one direction is nearly all there is, high cosines mean nothing and the threshold rises."""
    random = np.random.default_rng(0)
    room = np.arange(60) % 2 * 10.0
    found = find_near_duplicates(make_vectors(room[:, None] + random.normal(size=(60, 30))), np.arange(60))
    assert found.threshold > 0.999
    assert len(found.pairs) == 0


def test_only_modalities_that_both_have_are_compared():
    """A copy without its picture is known by its sound; two recordings with nothing in common are no pair."""
    random = np.random.default_rng(0)
    picture, sound = random.normal(size=(2, 30, 200))
    sound[1], picture[1] = sound[0], np.nan
    picture[2], sound[3] = np.nan, np.nan
    found = find_near_duplicates(make_vectors(picture, audio=sound), np.arange(30))
    assert found.pairs.tolist() == [[0, 1]]
    assert found.cosines[0] == pytest.approx(1, abs=1e-6)


def test_pieces_change_nothing():
    """More recordings than a piece holds give the pairs that the whole table of cosines gives."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(1100, 60))
    rows[1050] = rows[3] + 0.05 * random.normal(size=60)
    rows[600] = rows[550] + 0.05 * random.normal(size=60)
    found = find_near_duplicates(make_vectors(rows), np.arange(1100))
    scaled = (rows - rows.mean(0)) / rows.std(0)
    cosine = np.corrcoef(scaled, rowvar=True)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    cosine = np.triu(unit @ unit.T, 1)
    assert {tuple(pair) for pair in found.pairs.tolist()} == set(zip(*np.nonzero(cosine > NEAR), strict=True))
    np.testing.assert_allclose(found.cosines, np.sort(cosine[cosine > NEAR])[::-1], atol=1e-5)


def test_nothing_to_compare_is_no_pair():
    """One recording, one group, or one with no modality at all."""
    bags = make_vectors(np.random.default_rng(0).normal(size=(5, 4)))
    assert len(find_near_duplicates(bags[:1], np.arange(1)).pairs) == 0
    assert len(find_near_duplicates(bags, np.zeros(5)).pairs) == 0
    empty = make_vectors(np.full((5, 4), np.nan))
    assert len(find_near_duplicates(empty, np.arange(5)).pairs) == 0


def test_layers_are_averaged():
    """Embeddings of several layers are compared by their mean over layers."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(20, 3, 50))
    rows[7] = rows[4] + 0.01 * random.normal(size=(3, 50))
    found = find_near_duplicates(Bags.from_arrays({"audio": list(rows[:, None])}), np.arange(20))
    assert found.pairs.tolist() == [[4, 7]]


def test_joined_keys_are_equal_and_equal_keys_stay_so():
    """A pair joins everything that either side is the same as."""
    keys = join_pairs(["a", "b", "c", "b", "e"], np.array([[1, 2]]))
    assert keys[1] == keys[2] == keys[3]
    assert len({keys[0], keys[1], keys[4]}) == 3
    assert join_pairs(["a", "b"], np.zeros((0, 2), dtype=np.int64)) == ("a", "b")


@pytest.mark.slow
def test_ten_thousand_recordings_fit_into_memory():
    """The table of all cosines would take 800 MB."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(10_000, 256)).astype(np.float32)
    rows[9_999] = rows[0]
    bags = Bags.from_arrays({"video": list(rows[:, None])})
    tracemalloc.start()
    found = find_near_duplicates(bags, np.arange(10_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.pairs.tolist() == [[0, 9_999]]
    assert peak < 300e6
