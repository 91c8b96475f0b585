"""Promises about time: a store that was written in format 1 is read for ever, number by number."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from poise.store import FeatureStore
from tests.store.features import make_features, make_key, manifest_of

ARCHIVE = Path(__file__).parent.parent / "data" / "format-1"


@pytest.mark.parametrize("place", ["store", "export.h5"])
def test_a_store_of_format_1_is_read_for_ever(tmp_path: Path, place: str) -> None:
    """Values, times, outcomes, flags, names, layers and runs; and its digests still fit."""
    shutil.copytree(ARCHIVE, tmp_path / "archive")
    store = FeatureStore.open(tmp_path / "archive" / place)
    assert store.verify().ok
    assert store.names() == ["layered@c792e056eea53257", "motion@569d9517451b67ca"]
    video, audio = store.find("motion", "video"), store.find("layered", "audio")
    assert video is not None
    assert audio is not None
    first = make_features("ann_1", n_clips=2, dim=3)
    np.testing.assert_array_equal(video.embeddings(make_key("ann_1")), first.embeddings.astype(np.float16))
    np.testing.assert_array_equal(video.clip_times(make_key("ann_1")), first.clip_times)
    layers = make_features("ann_1", n_clips=2, dim=8).embeddings.reshape(2, 4, 2)
    np.testing.assert_array_equal(audio.embeddings(make_key("ann_1")), layers)
    assert video[make_key("ann_1")].paths == ("ann_1.mp4", "copy/of/ann_1.mp4")
    polite = video[make_key("höflich\udcff")]
    assert (polite.paths, polite.flags) == (("höflich\udcff.mp4",), ("short", "quiet"))
    assert (video[make_key("mute")].outcome, video[make_key("mute")].reason) == ("missing", "no picture")
    failed = video[make_key("text")]
    assert (failed.outcome, failed.reason, failed.attempts) == ("failed", "no media file", 2)
    assert video.run_of_key(make_key("ann_1"))["run"] == "0123456789abcdef"
    manifest = manifest_of(tmp_path, "copy/of/ann_1.mp4")
    assert store.load(manifest, audio="none", verify=True)[0].values["video"].shape == (2, 3)
    assert store.load(video="none", verify=True).modalities["audio"].n_layers == 4
