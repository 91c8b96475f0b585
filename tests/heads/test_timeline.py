"""When a prediction came from: spans of clips and what they count, over one modality or two."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.classifier import ClipClassifier
from poise.heads.timeline import merge_shares
from poise.store.bags import Bags, ModalityBags
from tests.heads.recordings import make_recordings


def timed(*recordings: list[float]) -> ModalityBags:
    """Clips of ten seconds that begin there."""
    starts = np.array([start for each in recordings for start in each])
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in recordings])])
    return ModalityBags(
        values=np.zeros((len(starts), 1)), offsets=offsets, clip_times=np.column_stack([starts, starts + 10])
    )


def test_a_span_counts_what_it_counts_in_both_modalities():
    """Clips of the same time are one on the line, and clips that one modality lacks keep their place."""
    bags = Bags(keys=("a", "b"), modalities={"video": timed([0, 10], []), "audio": timed([10, 20], [5])})
    shares = {"video": np.array([0.1, 0.4]), "audio": np.array([0.2, 0.3, 1.0])}
    (spans, counts), (other_spans, other_counts) = merge_shares(bags, shares)
    np.testing.assert_array_equal(spans, [[0, 10], [10, 20], [20, 30]])
    np.testing.assert_allclose(counts, [0.1, 0.6, 0.3])
    assert other_spans.tolist() == [[5, 15]]
    assert other_counts.tolist() == [1.0]


@pytest.mark.parametrize("clips", ["all", "first:2", "longest"])
@pytest.mark.parametrize("fusion", ["video", "early", "mid", "late"])
def test_shares_of_a_recording_sum_to_one(fusion, clips):
    """Whatever the fusion and however few clips are seen; the spans are those that are seen."""
    bags, manifest = make_recordings(n_originals=20)
    timeline = ClipClassifier("mean", fusion, alpha=1.0, clips=clips).fit(bags, manifest.labels).timeline(bags)
    assert len(timeline) == len(bags)
    for row, (spans, shares) in enumerate(timeline):
        assert len(spans) == len(shares)
        assert shares.sum() == pytest.approx(1)
        n_clips = len(bags[row].values["video"])
        seen = {"all": n_clips, "first:2": min(2, n_clips), "longest": 1}[clips]
        # without times, clips of two modalities cannot be told to be the same
        assert len(shares) == seen * (1 if fusion in ("video", "early") else 2)
