"""Promises of older bundles: the old networks' predictions, clip for clip, and no network that is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from poise.errors import BundleError
from poise.heads import ClipClassifier
from poise.serve import Bundle, convert_bundle, read_bundle
from poise.store import Bags
from poise.store.bags import ModalityBags
from tests.serve.legacy.old_networks import (
    DIM,
    Attention,
    Pooled,
    as_bags,
    make_clips,
    make_network,
    old_bundle,
    pack,
    saved,
    sizes_of,
    state_of,
)

KINDS = ("attention", "mean", "mean-std")


def predict(bundle: Bundle, bags: Bags) -> np.ndarray:
    return ClipClassifier.from_state(bundle.head).predict_proba(bags)


def expect(network: Attention | Pooled, recordings: list[np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return np.stack([network(torch.from_numpy(clips)).numpy() for clips in recordings])


@pytest.mark.parametrize("sizes", [{}, {"hidden_dim": 512}, {"num_classes": 2}, {"num_classes": 7}, {"hidden_dim": 1}])
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_old_network(tmp_path: Path, kind: str, sizes: dict[str, int]) -> None:
    """Read as it is, and made new: the same probabilities to 1e-5, the same level, whatever the sizes."""
    network, recordings = make_network(kind, **sizes), make_clips(12)
    names = {str(n): f"level {n}" for n in range(sizes.get("num_classes", 3))}
    old = old_bundle(tmp_path / "old.zip", network, **{"class_map.json": names})
    expected = expect(network, recordings)
    assert expected.max() > 0.5
    for bundle in (read_bundle(old), convert_bundle(old, tmp_path / "new.zip"), read_bundle(tmp_path / "new.zip")):
        np.testing.assert_allclose(predict(bundle, as_bags(recordings)), expected, rtol=0, atol=1e-5)
        ranks = ClipClassifier.from_state(bundle.head).predict(as_bags(recordings))
        np.testing.assert_array_equal(ranks, expected.argmax(axis=1))


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_large_and_small_embeddings_are_seen_as_they_are(tmp_path: Path, scale: float) -> None:
    """Nothing is standardised or clipped on the way: the old networks saw raw embeddings."""
    network, recordings = make_network(), [scale * clips for clips in make_clips(8)]
    found = predict(read_bundle(old_bundle(tmp_path / "old.zip", network)), as_bags(recordings))
    np.testing.assert_allclose(found, expect(network, recordings), rtol=0, atol=1e-5)


def test_attention_of_a_clip_is_that_of_the_old_network(tmp_path: Path) -> None:
    """The shares of clips, which a timeline shows, are the softmax of the old scores."""
    network, recordings = make_network(), make_clips(6)
    model = ClipClassifier.from_state(read_bundle(old_bundle(tmp_path / "old.zip", network)).head)
    assert isinstance(network, Attention)
    for found, clips in zip(model.attention(as_bags(recordings)), recordings, strict=True):
        with torch.no_grad():
            expected = network.shares(torch.from_numpy(clips))[:, 0].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n_windows", "tail_s", "kept"),
    [
        (0, 4.0, [0]),
        (1, None, [0]),
        (4, 5.0, [0, 1, 2, 3, 4]),
        (5, None, [0, 1, 2, 3, 4]),
        (5, 9.0, [0, 1, 2, 3, 4]),
        (6, None, [0, 1, 2, 4, 5]),
        (9, 3.0, [0, 2, 4, 6, 8]),
    ],
)
def test_at_most_five_clips_are_seen(
    tmp_path: Path, kind: str, n_windows: int, tail_s: float | None, kept: list[int]
) -> None:
    """Full windows spread evenly; a tail only where there are five windows or fewer with it."""
    network = make_network(kind)
    times = [(10.0 * k, 10.0 * k + 10) for k in range(n_windows)]
    times += [] if tail_s is None else [(10.0 * n_windows, 10.0 * n_windows + tail_s)]
    clips = np.random.default_rng(0).standard_normal((len(times), DIM)).astype(np.float32)
    timed = {
        name: ModalityBags(values=side.values, offsets=side.offsets, clip_times=np.array(times))
        for name, side in as_bags([clips]).modalities.items()
    }
    bags = Bags(keys=("a",), modalities=timed)
    model = ClipClassifier.from_state(read_bundle(old_bundle(tmp_path / "old.zip", network)).head)
    np.testing.assert_allclose(model.predict_proba(bags), expect(network, [clips[kept]]), rtol=0, atol=1e-5)
    ((spans, _),) = model.timeline(bags)
    assert spans.tolist() == [list(times[place]) for place in kept]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_taken_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    """As the old loader copied them into a network of float32."""
    network = make_network()
    rounded = {name: tensor.to(dtype) for name, tensor in network.state_dict().items()}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(rounded)})
    network.load_state_dict(rounded)
    found = predict(read_bundle(old), as_bags(make_clips()))
    np.testing.assert_allclose(found, expect(network, make_clips()), rtol=0, atol=1e-5)


def changed(name: str, tensor: Any) -> dict[str, Any]:
    return {**state_of(make_network()), name: tensor}


def without(name: str) -> dict[str, Any]:
    return {key: tensor for key, tensor in state_of(make_network()).items() if key != name}


NAN = torch.full((3,), float("nan"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (changed("head.weight", torch.ones(3)), "of no network that is known: it has head.weight"),
        (without("attn_v.bias"), "it lacks attn_v.bias"),
        (without("classifier.3.weight"), "it lacks classifier.3.weight"),
        ({"layer.weight": torch.ones(3, 3)}, "it lacks net.0.bias, net.0.weight, .* and it has layer.weight"),
        (changed("classifier.3.bias", torch.ones(4)), r"classifier.3.bias has the shape \(4,\), expected \(3,\)"),
        (changed("classifier.3.bias", torch.ones(())), r"classifier.3.bias has the shape \(\), expected \(3,\)"),
        (changed("classifier.0.weight", torch.ones(13)), "has the shape"),
        (changed("classifier.3.weight", torch.ones(3, 12)), r"has the shape \(3, 12\), expected \(3, 13\)"),
        (changed("attn_W.weight", torch.ones(9, 12)), r"has the shape \(9, 12\), expected \(9, 1536\)"),
        (changed("attn_v.weight", torch.ones(2, 9)), r"has the shape \(2, 9\), expected \(1, 9\)"),
        (changed("attn_v.weight", torch.ones(1, 1, 9)), r"of torch.float32 and the shape \(1, 1, 9\)"),
        (changed("classifier.3.bias", NAN), "'classifier.3.bias' is not all finite numbers"),
        (changed("classifier.3.bias", torch.full((3,), 1e300, dtype=torch.float64)), "not all finite numbers"),
        (changed("classifier.3.bias", torch.ones(3, dtype=torch.int64)), "is a tensor of torch.int64"),
        (changed("classifier.3.bias", torch.ones(3, dtype=torch.complex64)), "is a tensor of torch.complex64"),
        (changed("classifier.3.bias", [1.0, 2.0, 3.0]), "'classifier.3.bias' is a list, expected a tensor"),
        (changed("classifier.3.bias", None), "is a NoneType, expected a tensor"),
        (state_of(make_network(num_classes=1)), "tells 1 classes apart, expected 2 to 100"),
        (state_of(make_network(num_classes=101)), "tells 101 classes apart"),
        (state_of(make_network("mean", hidden_dim=4097)), "4097 units, expected 1536 or 3072"),
        ({f"net.{key}": tensor for key, tensor in torch.nn.Linear(5, 3).state_dict().items()}, "it lacks net.0.bias"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, weights: dict[str, Any], message: str) -> None:
    """Names, shapes, kinds and numbers are those of a network that is known, or there is one clear error."""
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(weights)}))
    assert str(caught.value).startswith(f"{tmp_path / 'old.zip'}: model.pt: ")
    assert "weights_only" not in str(caught.value)


def narrow(in_dim: int) -> dict[str, torch.Tensor]:
    net = torch.nn.Sequential(torch.nn.Linear(in_dim, 4), torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    return {f"net.{name}": tensor for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("in_dim", [1, 768, 1537, 6144])
def test_a_network_of_other_embeddings_is_refused(tmp_path: Path, in_dim: int) -> None:
    """It saw something else than VideoMAE and WavLM in their base sizes, and nobody knows what."""
    with pytest.raises(BundleError, match=f"its network sees {in_dim} numbers .* 768 of video and 768 of audio"):
        read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(narrow(in_dim))}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_dim": 1535}, "it says that in_dim is 1535, but its weights have 1536"),
        ({"attn_dim": 10}, "it says that attn_dim is 10"),
        ({"hidden_dim": 512}, "it says that hidden_dim is 512"),
        ({"num_classes": 4}, "it says that num_classes is 4"),
        ({"num_classes": 10**400}, "it says that num_classes is 1000"),
        ({"num_classes": "3"}, "its num_classes is a str, expected a number"),
        ({"num_classes": True}, "its num_classes is a bool"),
        ({"in_dim": torch.ones(1)}, "its in_dim is a Tensor"),
        ({"dropout": 1.0}, "it says that dropout is 1.0, expected a share below 1"),
        ({"dropout": float("nan")}, "it says that dropout is nan"),
    ],
)
def test_what_is_said_of_sizes_must_be_so(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """A file that contradicts itself is not the one that was trained."""
    network = make_network()
    flat = {"state_dict": network.state_dict(), **sizes_of(network), **change}
    nested = {"model_state_dict": network.state_dict(), "hyperparams": {**sizes_of(network), **change}}
    for content in (flat, nested):
        with pytest.raises(BundleError, match=message):
            read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(content)}))


def test_sizes_need_not_be_said(tmp_path: Path) -> None:
    """They are those of the weights; a None says nothing."""
    network = make_network()
    content = {"state_dict": network.state_dict(), "in_dim": None, "hidden_dim": 13.0}
    bundle = read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(content)}))
    assert bundle.head.config["settings"]["hidden"] == 13
