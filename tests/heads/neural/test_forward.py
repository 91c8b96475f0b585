"""The packed, stacked network is, model by model and recording by recording, the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from poise.heads.neural.architecture import Architecture
from poise.heads.neural.forward import forward, look
from poise.heads.neural.packing import Rows, pack
from tests.heads.neural.problems import make_settings

N_SEEDS, N, DIM = 3, 7, 5
POOLINGS = ("mean", "attention", "gated-attention")


def draw_side(random: np.random.Generator, *, n_layers: int, lacking: bool, pools: bool) -> dict[str, Rows]:
    """Blocks of one side; the first two recordings lack one block each."""
    side = {}
    for number, name in enumerate(("video", "audio")):
        counts = random.integers(1, 9, N) if pools else np.ones(N, dtype=int)
        if lacking:
            counts[number] = 0
        values = random.normal(size=(counts.sum(), n_layers, DIM))
        side[name] = Rows(values=values, offsets=np.concatenate([[0], np.cumsum(counts)]))
    return side


def draw_weights(architecture: Architecture, n_models: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn((n_models, *shape), generator=generator, dtype=torch.float64)
        for name, shape in architecture.shapes().items()
    }


def predict_plainly(own: dict[str, torch.Tensor], bags: dict[str, torch.Tensor]) -> torch.Tensor:
    """One model on one recording, whose blocks are tensors of shape (n_rows, n_layers, dim): no tricks."""
    entered, pooled = {}, {}
    for name, layers in bags.items():
        mix = own[f"{name}.layers"].softmax(0) if f"{name}.layers" in own else torch.ones(1, dtype=torch.float64)
        clips = (mix[:, None] * layers).sum(1)
        if f"{name}.query" in own:
            keys = torch.tanh(clips @ own[f"{name}.keys"].T)
            if f"{name}.key_gate" in own:
                keys = keys * torch.sigmoid(clips @ own[f"{name}.key_gate"].T)
            share = torch.softmax(keys @ own[f"{name}.query"][0], dim=0)
            pooled[name] = (share[:, None] * clips).sum(0)
        else:
            pooled[name] = clips[0]
        entered[name] = own[f"{name}.weight"] @ pooled[name] + own[f"{name}.bias"][:, 0]
    deep = "out.weight" in own
    if "gate.bias" not in own:
        joined = sum(entered.values())
        joined = torch.relu(joined) if deep else joined
    elif len(entered) == 1:
        (only,) = entered.values()
        joined = torch.tanh(only) if deep else only
    else:
        share = torch.sigmoid(sum(own[f"{name}.gate"] @ pooled[name] for name in pooled) + own["gate.bias"][:, 0])
        video, audio = (torch.tanh(one) if deep else one for one in entered.values())
        joined = share * video + (1 - share) * audio
    return (own["out.weight"] @ joined if deep else joined) + own["out.bias"][:, 0]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("fusion", ["mid", "gated"])
@pytest.mark.parametrize(("hidden", "n_layers", "lacking"), [(4, None, False), (4, 3, True), (0, None, True)])
def test_a_stack_equals_a_loop_over_models_and_recordings(pooling, fusion, hidden, n_layers, lacking):
    """Ragged clips, layers, gates and missing blocks, of two sides with three models each: to 1e-12 in float64."""
    random = np.random.default_rng(0)
    settings = make_settings("softmax", pooling, fusion, hidden=hidden, attention_dim=3)
    seen = dict.fromkeys(("video", "audio"), (n_layers, DIM))
    architecture = Architecture.of(settings, n_classes=3, seen=seen)
    pools = architecture.attention_dim > 0
    sides = [draw_side(random, n_layers=n_layers or 1, lacking=lacking, pools=pools) for _ in range(2)]
    weights = draw_weights(architecture, 2 * N_SEEDS)
    logits = forward(weights, pack(sides, pools=pools))
    for model in range(2 * N_SEEDS):
        own = {name: weight[model] for name, weight in weights.items()}
        for row in range(N):
            blocks = {name: rows.take(np.array([row])).values for name, rows in sides[model // N_SEEDS].items()}
            bags = {name: torch.from_numpy(values) for name, values in blocks.items() if len(values)}
            torch.testing.assert_close(logits[model, :, row], predict_plainly(own, bags), rtol=0, atol=1e-12)


@pytest.mark.parametrize("fusion", ["mid", "gated"])
def test_shares_sum_to_one_over_the_blocks_of_a_recording(fusion):
    """Within a block the softmax, between blocks the gate or equal parts; nothing of one that is missing."""
    random = np.random.default_rng(0)
    settings = make_settings("softmax", "attention", fusion)
    architecture = Architecture.of(settings, n_classes=3, seen=dict.fromkeys(("video", "audio"), (None, DIM)))
    side = draw_side(random, n_layers=1, lacking=True, pools=True)
    weights = draw_weights(architecture, N_SEEDS)
    shares = look(weights, pack([side], pools=True))
    total = torch.zeros((N_SEEDS, N), dtype=torch.float64)
    for name, rows in side.items():
        owners = torch.from_numpy(np.repeat(np.arange(N), rows.counts))
        total.index_add_(1, owners, shares[name][:, : len(owners)])
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    telling = shares["video"][:, : side["video"].counts[1]]
    assert torch.allclose(telling.sum(1), torch.ones(N_SEEDS, dtype=torch.float64))  # it has no audio
    assert (telling.std(1) > 0.01).all()


def test_clips_of_very_different_bags_are_packed_with_little_padding():
    """One long recording among short ones does not make the others as long."""
    counts = np.array([500, *[3] * 200, *[1] * 50])
    rows = Rows(values=np.ones((counts.sum(), 1, 2)), offsets=np.concatenate([[0], np.cumsum(counts)]))
    slots = pack([{"video": rows}], pools=True).blocks["video"].slots
    assert counts.sum() <= len(slots.values) < 1.1 * counts.sum()
    assert [n for _, n, _ in slots.buckets] == [1, 200, 50]
    assert slots.values.sum() == 2 * counts.sum()
