"""Pooling ragged bags equals a loop over recordings, whatever stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.pooling import pool
from poise.store.bags import Bags, ModalityBags

pytestmark = pytest.mark.parametrize("dtype", [np.float16, np.float32])


def ragged(dtype: type) -> tuple[list[np.ndarray], ModalityBags]:
    random = np.random.default_rng(0)
    clips = [random.normal(size=(count, 6)).astype(dtype) for count in (3, 1, 7, 2)]
    return clips, Bags.from_arrays({"video": clips}).modalities["video"]


def test_pooling_equals_a_loop_over_recordings(dtype):
    """Mean and deviation are those of each recording alone."""
    clips, bags = ragged(dtype)
    wide = [clip.astype(np.float64) for clip in clips]
    expected = np.stack([np.r_[clip.mean(0), clip.std(0)] for clip in wide])
    np.testing.assert_allclose(pool(bags, "mean-std").values, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(pool(bags, "mean").values, expected[:, :6], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(pool(bags, "max").values, np.stack([clip.max(0) for clip in wide]))


def test_deviation_of_a_single_clip_is_zero(dtype):
    """One clip has no spread, and no NaN."""
    _, bags = ragged(dtype)
    assert (pool(bags, "mean-std").values[1, 6:] == 0).all()


def test_pooling_does_not_depend_on_the_other_recordings(dtype):
    """A recording pooled alone or beside others gives the same bits."""
    clips, bags = ragged(dtype)
    alone = [pool(Bags.from_arrays({"v": [clip]}).modalities["v"], "mean-std").values[0] for clip in clips]
    np.testing.assert_array_equal(pool(bags, "mean-std").values, np.stack(alone))


@pytest.mark.parametrize("pooling", ["mean", "mean-std", "max"])
def test_recording_without_clips_stays_without(dtype, pooling):
    """No number is made up for a recording that has no clips, and the others are as they were."""
    clips, bags = ragged(dtype)
    nothing = clips[0][:0]
    gaps = Bags.from_arrays({"v": [nothing, clips[0], nothing, *clips[1:], nothing]}).modalities["v"]
    pooled = pool(gaps, pooling)
    assert pooled.n_clips.tolist() == [0, 1, 0, 1, 1, 1, 0]
    np.testing.assert_array_equal(pooled.values, pool(bags, pooling).values)


@pytest.mark.parametrize("pooling", ["mean", "mean-std", "max"])
def test_pooling_in_pieces_changes_nothing(dtype, pooling, monkeypatch):
    """However little is pooled at a time, the numbers are the same bits; layers are pooled one by one."""
    _, bags = ragged(dtype)
    whole = pool(bags, pooling).values
    monkeypatch.setattr("poise.heads.pooling._CHUNK_CELLS", 20)
    np.testing.assert_array_equal(pool(bags, pooling).values, whole)
    layered = ModalityBags(
        values=np.stack([bags.values, 2 * bags.values], axis=1), offsets=bags.offsets, clip_times=bags.clip_times
    )
    np.testing.assert_array_equal(pool(layered, pooling).values, np.stack([whole, 2 * whole], axis=1))
