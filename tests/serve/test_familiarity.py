"""Promises of the distance to the training set: what it is, that new speakers are within it, and what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.serve.familiarity import MARGIN, Familiarity, learn_ranges, read_ranges
from poise.store import Bags
from poise.store.bags import ModalityBags
from tests.heads.recordings import make_recordings


def make_side(
    *, n_speakers: int = 6, each: int = 5, dim: int = 12, seed: int = 0
) -> tuple[ModalityBags, NDArray[np.int64]]:
    """Recordings of 2 to 6 clips by speakers who differ, and whose they are."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_speakers), each)
    people = rng.standard_normal((n_speakers, dim))
    arrays = [people[who] + rng.standard_normal((rng.integers(2, 7), dim)) for who in groups]
    return Bags.from_arrays({"video": [array.astype(np.float32) for array in arrays]}).modalities["video"], groups


def distances_by_hand(clips: NDArray[Any], training: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Each training recording counts once, whatever its number of clips."""
    weights = np.concatenate([np.full(len(one), 1 / len(one)) for one in training]) / len(training)
    rows = np.concatenate(training).astype(np.float64)
    mean = weights @ rows
    spread = np.sqrt(weights @ (rows - mean) ** 2)
    return np.sqrt(np.mean(np.clip((clips - mean) / spread, -6, 6) ** 2, axis=1))


def test_the_radius_is_what_recordings_keep_from_other_speakers() -> None:
    """A quarter more than the largest distance that half of the clips of a recording keep from all other speakers'."""
    side, groups = make_side()
    clips = np.split(side.values, side.offsets[1:-1])
    kept = []
    for one, group in zip(clips, groups, strict=True):
        others = [clips[row] for row in np.flatnonzero(groups != group)]
        kept.append(np.sort(distances_by_hand(one, others))[len(one) // 2])
    found = Familiarity.learn(side, groups)
    assert found is not None
    assert found.radius == pytest.approx(MARGIN * max(kept), rel=1e-6)
    strange = np.random.default_rng(1).normal(0, 3, (20, 12)).astype(np.float32)
    np.testing.assert_array_equal(found.is_far(strange), distances_by_hand(strange, clips) > found.radius)
    assert 0 < found.is_far(strange).sum() < 20


def test_recordings_of_a_new_speaker_are_hardly_ever_far() -> None:
    """Of 60 new speakers, each beside six that were trained on, fewer than one in twenty recordings lie beyond."""
    far = []
    for seed in range(60):
        side, groups = make_side(n_speakers=7, seed=seed)
        found = Familiarity.learn(side.take(np.flatnonzero(groups < 6)), groups[groups < 6])
        assert found is not None
        new = side.take(np.flatnonzero(groups == 6))
        far += [2 * found.is_far(clips).sum() >= len(clips) for clips in np.split(new.values, new.offsets[1:-1])]
    assert np.mean(far) < 0.05


def test_layers_gaps_and_columns_that_do_not_vary_are_dealt_with() -> None:
    """Layers are averaged; recordings without the modality are passed over; a constant column says nothing."""
    side, groups = make_side()
    plain = Familiarity.learn(side, groups)
    layered = ModalityBags(
        values=np.stack([side.values - 1, side.values + 1], axis=1), offsets=side.offsets, clip_times=side.clip_times
    )
    assert plain is not None
    averaged = Familiarity.learn(layered, groups)
    assert averaged is not None
    assert averaged.radius == pytest.approx(plain.radius)
    np.testing.assert_array_equal(averaged.is_far(layered.values), plain.is_far(side.values))

    arrays = np.split(side.values, side.offsets[1:-1])
    gaps = Bags.from_arrays({"video": [*arrays, arrays[0][:0]]}).modalities["video"]
    with_gap = Familiarity.learn(gaps, np.append(groups, 99))
    assert with_gap is not None
    assert with_gap.radius == pytest.approx(plain.radius)

    constant = Bags.from_arrays({"video": [np.hstack([one, np.full((len(one), 1), 7e4)]) for one in arrays]})
    wider = Familiarity.learn(constant.modalities["video"], groups)
    assert wider is not None
    assert wider.radius == pytest.approx(plain.radius)


def test_where_nothing_can_be_learnt_nothing_is_claimed() -> None:
    """One group alone, or recordings that are all the same, give no radius."""
    side, groups = make_side()
    assert Familiarity.learn(side, np.zeros_like(groups)) is None
    same = ModalityBags(values=np.ones_like(side.values), offsets=side.offsets, clip_times=side.clip_times)
    assert Familiarity.learn(same, groups) is None
    assert learn_ranges(Bags.from_arrays({"video": [np.ones((2, 3))] * 4}), np.arange(4)) == ({}, {})


def test_what_is_written_is_what_is_read() -> None:
    """The numbers of a bundle give the same distances."""
    bags, manifest = make_recordings()
    assert manifest.speakers is not None
    ranges, arrays = learn_ranges(bags, manifest.speakers)
    assert set(ranges) == {"video", "audio"}
    assert all(name.startswith("train.") for name in arrays)
    read = read_ranges({"feature_range": ranges}, arrays, {"video": 24, "audio": 24})
    strange = np.random.default_rng(0).normal(0, 2, (50, 24)).astype(np.float32)
    for name, side in bags.modalities.items():
        learnt = Familiarity.learn(side, manifest.speakers)
        assert learnt is not None
        np.testing.assert_array_equal(read[name].is_far(strange), learnt.is_far(strange))
    assert read_ranges({}, {}, {"video": 24}) == {}


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (7, "feature_range is 7"),
        ({"smell": {"radius": 1.0}}, "expected the modalities video"),
        ({"video": 3}, "feature_range.video is 3"),
        ({"video": {}}, "expected a radius"),
        ({"video": {"radius": True}}, "expected a radius"),
        ({"video": {"radius": "far"}}, "expected a radius"),
        ({"video": {"radius": 0}}, "expected a radius"),
        ({"video": {"radius": 1e9}}, "at most 100"),
        ({"video": {"radius": 10**400}}, "at most 100"),
        ({"video": {"radius": 1.0}}, "no array 'kept'"),
    ],
)
def test_a_range_that_is_none_is_refused(ranges: Any, message: str) -> None:
    """Each is an error of the bundle."""
    with pytest.raises(BundleError, match=message):
        read_ranges({"feature_range": ranges}, {}, {"video": 24})
