"""Pooling ragged bags equals a loop over recordings, whatever stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from poise.errors import StrategyError
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
    np.testing.assert_allclose(pool(bags, "mean-std"), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(pool(bags, "mean"), expected[:, :6], rtol=0, atol=1e-12)


def test_deviation_of_a_single_clip_is_zero(dtype):
    """One clip has no spread, and no NaN."""
    _, bags = ragged(dtype)
    assert (pool(bags, "mean-std")[1, 6:] == 0).all()


def test_pooling_does_not_depend_on_the_other_recordings(dtype):
    """A recording pooled alone or beside others gives the same bits."""
    clips, bags = ragged(dtype)
    alone = [pool(Bags.from_arrays({"v": [clip]}).modalities["v"], "mean-std")[0] for clip in clips]
    np.testing.assert_array_equal(pool(bags, "mean-std"), np.stack(alone))


def test_recording_without_clips_is_refused(dtype):
    """No number is made up for a recording that has no clips."""
    _, bags = ragged(dtype)
    empty = Bags.from_arrays({"v": [bags.values, bags.values[:0]]}).modalities["v"]
    with pytest.raises(StrategyError, match="1 of 2 recordings have no clips"):
        pool(empty, "mean")
    with pytest.raises(StrategyError, match="Pooling 'max'"):
        pool(bags, "max")
