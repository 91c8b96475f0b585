"""What a head sees is made of bags without a label: layers, fusion, selection, pooling, centring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from poise.errors import StrategyError
from poise.heads.inputs import as_table, center_groups, expected_shapes, prepare, shapes_of
from poise.heads.parameters import HeadSettings
from poise.heads.strategy import Strategy
from poise.store.bags import Bags
from tests.heads.recordings import make_recordings


def settings(text: str, **changes: str) -> HeadSettings:
    found = Strategy.parse(text).settings
    return replace(found, values={**found.values, **changes})


def layered(n_layers: int = 3) -> Bags:
    random = np.random.default_rng(0)
    video = [random.normal(size=(n, n_layers, 4)) for n in (2, 1, 3)]
    audio = [random.normal(size=(n, n_layers, 5)) for n in (2, 1, 3)]
    return Bags.from_arrays({"video": video, "audio": audio})


@pytest.mark.parametrize("fusion", ["video", "early", "mid"])
@pytest.mark.parametrize("pooling", ["mean", "mean-std", "max", "attention"])
@pytest.mark.parametrize("layer", ["mean", "learnt", "1"])
def test_shapes_are_known_without_the_features(fusion, pooling, layer):
    """A bundle that is read knows what its head will see."""
    bags = layered()
    asked = settings(f"{pooling}/{fusion}/softmax", layer=layer)
    modalities = {name: (side.n_layers, side.dim) for name, side in bags.modalities.items()}
    used = {name: modalities[name] for name in (("video",) if fusion == "video" else ("video", "audio"))}
    assert expected_shapes(used, asked) == shapes_of(prepare(bags, asked))


def test_a_layer_is_chosen_or_the_mean_of_all():
    """By number from either end, and a number that is not there is refused."""
    bags = layered()
    video = bags.modalities["video"].values
    for layer, expected in (("0", video[:, 0]), ("-1", video[:, 2]), ("mean", video.mean(axis=1))):
        found = prepare(bags, settings("mean/video/ridge", layer=layer, clips="first:1")).modalities["video"]
        np.testing.assert_allclose(found.values, expected[[0, 2, 3]], atol=1e-6)
    with pytest.raises(StrategyError, match="layer=3: the features of video keep 3 layers, 0 to 2"):
        prepare(bags, settings("mean/video/ridge", layer="3"))


@pytest.mark.parametrize("layer", ["learnt", "1"])
def test_layers_are_asked_of_features_that_keep_them(layer):
    """One modality with layers is enough; without any the setting would do nothing."""
    flat = Bags.from_arrays({"video": [np.ones((2, 4))], "audio": [np.ones((1, 5))]})
    with pytest.raises(StrategyError, match=f"layer={layer}: the features of video and audio keep no layers apart"):
        prepare(flat, settings("mean/mid/softmax", layer=layer))
    both = Bags(keys=flat.keys, modalities={**flat.modalities, "video": layered()[[0]].modalities["video"]})
    assert set(prepare(both, settings("mean/mid/softmax", layer=layer)).modalities) == {"video", "audio"}


def test_a_missing_modality_is_nan_in_the_table_and_nowhere_else():
    """Its columns say that nothing is known; what is there is not touched."""
    bags = Bags.from_arrays({"video": [np.ones((2, 3)), np.ones((0, 3))], "audio": [np.ones((1, 2)), np.ones((1, 2))]})
    table = as_table(prepare(bags, settings("mean/mid/ridge")))
    np.testing.assert_array_equal(np.isnan(table), [[False] * 5, [True] * 3 + [False] * 2])


def test_features_that_are_no_numbers_are_refused_with_their_modality():
    """NaN never means missing in what comes from outside."""
    bags = Bags.from_arrays({"video": [np.ones((1, 2))], "audio": [np.full((1, 2), np.inf)]})
    with pytest.raises(ValueError, match="features of audio hold NaN, infinity"):
        prepare(bags, settings("mean/mid/ridge"))


def test_centring_leaves_how_a_recording_differs_from_others_of_its_group():
    """Every recording counts once, a group's mean becomes 0, and what is constant within it goes away."""
    bags, manifest = make_recordings(signal=1.0)
    centered = center_groups(bags, manifest.speakers)
    means = as_table(prepare(centered, settings("mean/early/ridge")))
    for speaker in np.unique(manifest.speakers):
        np.testing.assert_allclose(means[manifest.speakers == speaker].mean(axis=0), 0, atol=1e-6)
    shift = {name: [bag.values[name] + 7.0 * int(s[1:]) for bag, s in zip(bags, manifest.speakers, strict=True)]
             for name in ("video", "audio")}  # fmt: skip
    again = as_table(prepare(center_groups(Bags.from_arrays(shift), manifest.speakers), settings("mean/early/ridge")))
    np.testing.assert_allclose(again, means, atol=1e-4)
