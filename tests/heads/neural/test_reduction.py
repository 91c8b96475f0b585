"""What networks see of a block: the same standardisation and components as elsewhere, in pieces and layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from poise.heads.neural import reduction
from poise.heads.neural.reduction import Reduction, leading_axes
from poise.heads.scaling import Projection, Standardiser
from poise.store.bags import Bags, ModalityBags


def draw(n: int = 40, dim: int = 12, n_layers: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    shape = (n, dim) if n_layers is None else (n, n_layers, dim)
    return random.normal(size=shape) * np.linspace(3, 0.5, dim) + 5, random.uniform(0.5, 2, n)


def block_of(values: np.ndarray) -> ModalityBags:
    return Bags.from_array(values).modalities["features"]


@pytest.mark.parametrize("piece", [7, 1 << 21])
def test_without_layers_it_is_a_standardiser_and_a_projection(piece, monkeypatch):
    """Learnt in pieces or at once; a column that does not vary is left out, and large components are stretched."""
    monkeypatch.setattr(reduction, "_PIECE_CELLS", 12 * piece)
    values, weights = draw()
    values[:, 3] = 7.0
    found = Reduction.fit(block_of(values), weights, n_components=5)
    standardiser = Standardiser.fit(values, weights)
    X = standardiser.transform(values)
    expected = Projection.fit(X, weights, n_components=5).transform(X)
    coordinates = found.transform(values, dtype=np.float64)
    assert coordinates.shape == (40, 1, 5)
    share = weights / weights.sum()
    variances, stretched = share @ expected**2, share @ coordinates[:, 0] ** 2
    assert stretched.mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(stretched / stretched[0], (variances / variances[0]) ** 1.5, rtol=1e-4)
    turned = np.sign(coordinates[:1, 0] * expected[:1]) * np.sqrt(variances / stretched)
    np.testing.assert_allclose(coordinates[:, 0] * turned, expected, atol=1e-5)
    assert found.transform(values).dtype == np.float32


def test_layers_are_standardised_apart_and_share_components():
    """A layer on another scale counts like the others, and each layer alone gives its own coordinates."""
    values, weights = draw(n_layers=3)
    values[:, 1] *= 1000
    found = Reduction.fit(block_of(values), weights, n_components=5)
    coordinates = found.transform(values)
    assert coordinates.shape == (40, 3, 5)
    for layer in range(3):
        X = Standardiser.fit(values[:, layer], weights).transform(values[:, layer])
        np.testing.assert_allclose(coordinates[:, layer], found.projection.transform(X), atol=1e-4)


def test_clips_are_projected_where_recordings_differ():
    """Standardised as clips are, but onto components of recordings' means, however much clips differ within them."""
    random = np.random.default_rng(0)
    between, within = np.zeros((30, 8)), np.zeros((30, 20, 8))
    between[:, :2], within[:, :, 4:] = random.normal(size=(30, 2)), 3 * random.normal(size=(30, 20, 4))
    clips = between[:, None] + within - within.mean(1, keepdims=True) + 0.01 * random.normal(size=(30, 20, 8))
    block = Bags.from_arrays({"video": list(clips)}).modalities["video"]
    weights = random.uniform(0.5, 2, 30)
    found = Reduction.fit(block, weights, n_components=2)
    np.testing.assert_array_equal(found.standardiser.scale, Standardiser.fit(block.values, weights.repeat(20)).scale)
    used = np.abs(found.projection.components).max(axis=1)
    assert used[:2].min() > 100 * used[4:].max()
    means = found.transform(block.values, dtype=np.float64).reshape(30, 20, 2).mean(1)
    np.testing.assert_allclose(found.transform(clips.mean(1), dtype=np.float64)[:, 0], means, atol=1e-5)


def test_leading_axes_are_those_of_a_singular_value_decomposition():
    """A few passes over many rows find the directions of the largest variances, and their signs are fixed."""
    random = np.random.default_rng(0)
    rows = (random.normal(size=(600, 400)) * np.arange(1, 401) ** -0.7).astype(np.float32)
    variances, directions = leading_axes(rows, 20)
    _, lengths, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(variances, lengths[:20] ** 2, rtol=2e-3)
    np.testing.assert_allclose(np.abs((right[:8] * directions[:, :8].T).sum(1)), 1, atol=1e-3)
    np.testing.assert_allclose(directions.T @ directions, np.eye(20), atol=1e-5)
    assert (directions[np.abs(directions).argmax(0), np.arange(20)] > 0).all()


def test_wide_blocks_lose_next_to_nothing_by_it():
    """The components of many wide rows hold as much of the variance as the exact ones."""
    random = np.random.default_rng(0)
    values = random.normal(size=(500, 30)) @ random.normal(size=(30, 400)) + 0.3 * random.normal(size=(500, 400))
    found = Reduction.fit(block_of(values), np.ones(500), n_components=30)
    X = Standardiser.fit(values, np.ones(500)).transform(values)
    exact = Projection.fit(X, np.ones(500), n_components=30)
    assert (found.transform(values)[:, 0] ** 2).mean() == pytest.approx(1, abs=1e-3)
    ours, best = (one.components / np.linalg.norm(one.components, axis=0) for one in (found.projection, exact))
    assert ((X @ ours) ** 2).sum() > 0.999 * ((X @ best) ** 2).sum()


def test_more_rows_than_are_needed_are_thinned_out(monkeypatch):
    """Components of very many recordings are learnt from evenly spaced ones; standardisation from all."""
    values, weights = draw(n=400)
    everything = Reduction.fit(block_of(values), weights, n_components=5)
    monkeypatch.setattr(reduction, "_MOST_ROWS", 100)
    thinned = Reduction.fit(block_of(values), weights, n_components=5)
    np.testing.assert_array_equal(thinned.standardiser.scale, everything.standardiser.scale)
    assert np.abs(thinned.projection.components - everything.projection.components).max() > 1e-3
