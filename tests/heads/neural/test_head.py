"""A fitted network depends on the recording alone, leaves out what is missing, and is nothing but arrays."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from poise.errors import BundleError
from poise.heads.inputs import prepare, shapes_of
from poise.heads.neural.network import fit_networks, read_networks
from poise.heads.parameters import LEARNT_POOLINGS
from poise.store.bags import Bags
from tests.heads.neural.problems import make_bags, make_problem, make_settings

KINDS = list(itertools.product(("mean", "attention", "gated-attention"), ("mid", "gated")))


def fit(settings, bags: Bags):
    return fit_networks([make_problem(bags, settings)], settings)[0].head


def without(bags: Bags, name: str, rows: np.ndarray) -> Bags:
    """Bags in which some recordings lack a modality."""
    sides = {side: [bag.values.get(side, np.zeros((0, 10), np.float32)) for bag in bags] for side in bags.modalities}
    for row in rows:
        sides[name][row] = sides[name][row][:0]
    return Bags.from_arrays(sides)


@pytest.mark.parametrize(("pooling", "fusion"), [*KINDS, ("attention", "early"), ("gated-attention", "early")])
def test_a_prediction_is_of_one_recording(pooling, fusion):
    """Alone or among others, in any order, with its clips turned round: the same to 1e-12."""
    settings = make_settings("corn", pooling, fusion)
    bags = make_bags(18, lacking=0 if fusion == "early" else 3)
    head = fit(settings, bags)
    together = head.predict_proba(prepare(bags, settings))
    alone = np.vstack([head.predict_proba(prepare(bags[[row]], settings)) for row in range(18)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)
    order = np.random.default_rng(0).permutation(18)
    np.testing.assert_allclose(head.predict_proba(prepare(bags[order], settings)), together[order], rtol=0, atol=1e-12)
    nothing = np.zeros((0, 10), np.float32)
    turned = {name: [bag.values.get(name, nothing)[::-1] for bag in bags] for name in ("video", "audio")}
    np.testing.assert_allclose(
        head.predict_proba(prepare(Bags.from_arrays(turned), settings)), together, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("pooling", "fusion"), KINDS)
def test_a_missing_modality_takes_no_part(pooling, fusion):
    """It is no number: without it only its own recording is predicted anew, and what there is says all."""
    settings = make_settings("softmax", pooling, fusion)
    bags = make_bags(18, lacking=3)
    head = fit(settings, bags)
    rows = np.array([8, 11])
    lacking = prepare(without(bags, "audio", rows), settings)
    before, after = (head.predict_proba(one) for one in (prepare(bags, settings), lacking))
    others = np.setdiff1d(np.arange(18), rows)
    np.testing.assert_allclose(after[others], before[others], rtol=0, atol=1e-12)
    assert np.abs(after[rows] - before[rows]).max(axis=1).min() > 1e-3
    shares = head.attention(lacking)
    video = np.add.reduceat(shares["video"], np.unique(lacking.modalities["video"].offsets[:-1]))
    present = lacking.modalities["video"].present
    assert set(np.flatnonzero(present)[np.isclose(video, 1)]) == {0, 1, 2, 8, 11}


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("fusion", ["mid", "gated"])
def test_a_modality_that_no_training_recording_had_is_passed_over(pooling, fusion):
    """Nothing was learnt of it, so it says nothing, and gets no share where there is another."""
    settings = make_settings("coral", pooling, fusion)
    bags = make_bags(15)
    silent = without(bags, "audio", np.arange(15))
    head = fit(settings, silent)
    heard, unheard = prepare(bags, settings), prepare(silent, settings)
    np.testing.assert_allclose(head.predict_proba(heard), head.predict_proba(unheard), rtol=0, atol=1e-12)
    shares = head.attention(heard)
    assert not shares["audio"].any()
    np.testing.assert_allclose(shares["video"], head.attention(unheard)["video"], rtol=0, atol=1e-12)
    deaf = head.attention(prepare(without(bags, "video", np.arange(15)), settings))["audio"]
    assert deaf.sum() == pytest.approx(15)
    shapes = shapes_of(heard)
    restored = read_networks(head.arrays(), settings, shapes=shapes, n_classes=3)
    np.testing.assert_array_equal(restored.predict_proba(heard), head.predict_proba(heard))


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_layer_that_tells_is_found(pooling):
    """With the labels in one of four layers, its weight becomes the largest, and clearly so."""
    settings = make_settings(
        "corn", pooling, "video", layer="learnt", epochs=60, lr=0.003, hidden=128, n_seeds=3, n_components=64
    )
    bags = make_bags(60, n_layers=4, longest=4)
    problem = make_problem(bags, settings)
    block = bags.modalities["video"]
    values = block.values.copy()
    values[:, 2, 0] += 3.0 * np.repeat(problem.ranks, block.n_clips)
    bags = Bags(keys=bags.keys, modalities={"video": replace(block, values=values)})
    (found,) = fit_networks([replace(problem, inputs=prepare(bags, settings))], settings)
    shares = found.head.weights["video.layers"].softmax(1).numpy()  # (n_seeds, n_layers)
    assert (shares.argmax(1) == 2).all()
    assert shares[:, 2].min() > 0.4


@pytest.mark.parametrize("head", ["softmax", "regression"])
@pytest.mark.parametrize(
    ("pooling", "fusion", "layer"), [(*kind, layer) for kind in KINDS for layer in ("mean", "learnt")]
)
def test_arrays_are_all_that_predictions_need(head, pooling, fusion, layer):
    """Read back, a head predicts and looks the same to the bit; a damaged array is one clear error."""
    settings = make_settings(head, pooling, fusion, layer=layer)
    bags = make_bags(14, lacking=2, n_layers=3)
    inputs = prepare(bags, settings)
    fitted = fit(settings, bags)
    arrays, shapes = fitted.arrays(), shapes_of(inputs)
    restored = read_networks(arrays, settings, shapes=shapes, n_classes=3)
    np.testing.assert_array_equal(restored.predict_proba(inputs), fitted.predict_proba(inputs))
    for name, share in fitted.attention(inputs).items():
        np.testing.assert_array_equal(restored.attention(inputs)[name], share)
    for name, array in arrays.items():
        longer = np.concatenate([array, array[:1]])
        with pytest.raises(BundleError):
            read_networks({**arrays, name: longer}, settings, shapes=shapes, n_classes=3)
        left = {other: kept for other, kept in arrays.items() if other != name}
        with pytest.raises(BundleError, match=f"no array '{name.split('.')[-1]}'|no array '{name}'"):
            read_networks(left, settings, shapes=shapes, n_classes=3)


def test_cutpoints_that_fall_are_refused():
    """A regression's levels follow each other: falling cutpoints, or a score that lowers them, are damage."""
    settings = make_settings("regression")
    bags = make_bags(14)
    head, shapes = fit(settings, bags), shapes_of(prepare(bags, settings))
    for change in ({"cuts": head.arrays()["cuts"][::-1] - np.array([0, 1])}, {"slope": np.array([-1.0])}):
        with pytest.raises(BundleError, match="expected rising ones and a slope"):
            read_networks({**head.arrays(), **change}, settings, shapes=shapes, n_classes=3)


def test_even_attention_is_mean_pooling():
    """Clips are standardised and projected as the means of their recordings are: weighed evenly they give the same."""
    attentive, plain = make_settings("corn", "attention", "mid"), make_settings("corn", "mean", "mid")
    bags = make_bags(18, lacking=3)
    arrays = {**fit(attentive, bags).arrays()}
    for name in ("video.query", "audio.query"):
        arrays[name] = 0 * arrays[name]
    inputs, pooled = prepare(bags, attentive), prepare(bags, plain)
    found, expected = (
        read_networks(arrays, settings, shapes=shapes_of(one), n_classes=3).predict_proba(one)
        for settings, one in ((attentive, inputs), (plain, pooled))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", LEARNT_POOLINGS)
def test_many_clips_are_predicted_piece_by_piece(pooling, monkeypatch):
    """Memory does not grow with the number of recordings, and no number depends on where the pieces end."""
    settings = make_settings("softmax", pooling, "mid")
    bags = make_bags(20, lacking=2)
    head, inputs = fit(settings, bags), prepare(bags, settings)
    proba, shares = head.predict_proba(inputs), head.attention(inputs)
    monkeypatch.setattr("poise.heads.neural.head._BATCH_CELLS", 3000)
    monkeypatch.setattr("poise.heads.neural.reduction._PIECE_CELLS", 25)
    assert len(list(head._batches(inputs))) > 5
    np.testing.assert_allclose(head.predict_proba(inputs), proba, rtol=0, atol=1e-12)
    for name, share in head.attention(inputs).items():
        np.testing.assert_allclose(share, shares[name], rtol=0, atol=1e-12)


def test_a_foreign_network_sees_clips_as_they_are_and_its_keys_have_a_bias():
    """Arrays without a reduction, and with a bias of keys, give what the same layers of torch give."""
    settings = make_settings("softmax", "attention", "early", hidden=7, attention_dim=3, n_seeds=1)
    bags, random = make_bags(18), np.random.default_rng(1)
    inputs = prepare(bags, settings)
    (block,) = shapes_of(inputs)
    dim = inputs.modalities[block].dim
    shapes = {"keys": (3, dim), "key_bias": (3, 1), "query": (1, 3), "weight": (7, dim), "bias": (7, 1)}
    weights = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    last = {"weight": random.standard_normal((3, 7)).astype(np.float32), "bias": np.ones((3, 1), np.float32)}
    arrays = {f"{block}.{name}": weight[None] for name, weight in weights.items()}
    arrays |= {f"out.{name}": weight[None] for name, weight in last.items()}
    head = read_networks(arrays, settings, shapes=shapes_of(inputs), n_classes=3)
    assert head.arrays().keys() == arrays.keys()
    for row, (proba, share) in enumerate(zip(head.predict_proba(inputs), _split(head, inputs), strict=True)):
        clips = torch.from_numpy(np.asarray(inputs[row].values[block], dtype=np.float32))
        keys = torch.tanh(clips @ torch.from_numpy(weights["keys"].T) + torch.from_numpy(weights["key_bias"].T))
        attention = (keys @ torch.from_numpy(weights["query"].T)).softmax(dim=0)
        pooled = (attention * clips).sum(dim=0)
        hidden = torch.relu(torch.from_numpy(weights["weight"]) @ pooled + torch.from_numpy(weights["bias"][:, 0]))
        logits = torch.from_numpy(last["weight"]) @ hidden + torch.from_numpy(last["bias"][:, 0])
        np.testing.assert_allclose(proba, logits.softmax(dim=0).numpy(), atol=1e-5)
        np.testing.assert_allclose(share, attention[:, 0].numpy(), atol=1e-5)


def _split(head, inputs: Bags) -> list[np.ndarray]:
    ((name, shares),) = head.attention(inputs).items()
    return np.split(shares, inputs.modalities[name].offsets[1:-1])
