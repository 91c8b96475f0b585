"""What a network says of recordings: layers mixed, clips pooled, blocks joined, and a hidden layer.

Everything is over stacks. Models come side after side, and those of one side see the same recordings, so that what they
do to them is one wide product. A weight has the shape (n_models, n_out, n_in), as in torch's linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from poise.heads.neural.packing import Batch, Block, Slots

Weights = Mapping[str, torch.Tensor]


def forward(weights: Weights, batch: Batch, drop: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
    """Logits of every model.

    Parameters
    ----------
    weights : mapping of str to tensor
        As `poise.heads.neural.architecture` names them, the model being the first axis.
    batch : Batch
    drop : callable, optional
        Dropout of the hidden layer, of shape (n_models, hidden, n_recordings).

    Returns
    -------
    tensor of shape (n_models, n_outputs, n_recordings)
    """
    pooled = {name: _pool(weights, name, block, batch)[0] for name, block in batch.blocks.items()}
    joined = _join(weights, pooled, batch)  # (n_models, hidden or n_scores, n_recordings)
    if "out.weight" in weights:
        joined = torch.bmm(weights["out.weight"], drop(joined) if drop else joined)
    return joined + weights["out.bias"]


def look(weights: Weights, batch: Batch) -> dict[str, torch.Tensor]:
    """How much each row counts in its recording, over all blocks, for networks that see one side.

    Parameters
    ----------
    weights : mapping of str to tensor
    batch : Batch
        Of one side.

    Returns
    -------
    dict of str to tensor of shape (n_models, n_columns)
        Columns are recordings where nothing is pooled.
    """
    pooled, within = {}, {}
    for name, block in batch.blocks.items():
        pooled[name], within[name] = _pool(weights, name, block, batch)
    shares = _trust(weights, pooled, batch)
    for name, own in within.items():
        slots = batch.blocks[name].slots
        if own is not None and slots is not None:
            widths = [width for _, n, width in slots.buckets for _ in range(n)]
            counts = torch.tensor(widths, dtype=torch.int64, device=own.device)
            of_slot = shares[name][:, slots.owners].repeat_interleave(counts, dim=1)
            of_slot = torch.cat([of_slot, of_slot.new_zeros((len(of_slot), 1))], dim=1)
            shares[name] = (own * of_slot)[:, slots.places]
    return shares


def affine(weight: torch.Tensor, columns: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``weight @ columns + bias`` for every model.

    Parameters
    ----------
    weight : tensor of shape (n_models, n_out, n_in)
    columns : tensor of shape (n_sides or n_models, n_in, n_columns)
        What models of one side share is given once.
    bias : tensor of shape (n_models, n_out, 1), optional

    Returns
    -------
    tensor of shape (n_models, n_out, n_columns)
    """
    wide = weight.reshape(len(columns), -1, weight.shape[2])  # (n_sides, n_seeds * n_out, n_in)
    found = torch.bmm(wide, columns)
    if bias is not None:
        found = found + bias.reshape(len(columns), -1, 1)
    return found.view(len(weight), weight.shape[1], -1)


def mix_layers(logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Weighted mean of layers, the weights a softmax of their own for each model.

    Peters et al. (2018), Deep contextualized word representations, arXiv:1802.05365; as in SUPERB, arXiv:2105.01051.

    Parameters
    ----------
    logits : tensor of shape (n_models, n_layers)
    columns : tensor of shape (n_sides or n_models, n_layers * dim, n_columns)

    Returns
    -------
    tensor of shape (n_models, dim, n_columns)
    """
    n_models, n_layers = logits.shape
    groups, length, n_columns = columns.shape
    shares = logits.softmax(dim=1).view(groups, -1, n_layers)
    mixed = torch.bmm(shares, columns.reshape(groups, n_layers, -1))  # (groups, n_models / groups, dim * n_columns)
    return mixed.view(n_models, length // n_layers, n_columns)


def _pool(weights: Weights, name: str, block: Block, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One vector for each recording, shape (n_sides or n_models, dim, n_recordings), and the shares of slots."""
    layers = weights.get(f"{name}.layers")
    mixed = block.columns if layers is None else mix_layers(layers, block.columns)
    if block.slots is None:
        return mixed, None
    pooled, within = _attend(_score(weights, name, mixed), block.slots, batch)
    return (pooled if layers is None else mix_layers(layers, pooled)), within


def _score(weights: Weights, name: str, clips: torch.Tensor) -> torch.Tensor:
    """Score of each clip, shape (n_models, 1, n_clips): ``u . tanh(V x + b)``, a gate times ``sigmoid(U x)`` inside.

    Ilse, Tomczak, Welling (2018), Attention-based deep multiple instance learning, arXiv:1802.04712.
    """
    # (n_models, attention_dim, n_clips)
    keys = torch.tanh(affine(weights[f"{name}.keys"], clips, weights.get(f"{name}.key_bias")))
    if f"{name}.key_gate" in weights:
        keys = keys * torch.sigmoid(affine(weights[f"{name}.key_gate"], clips))
    return torch.bmm(weights[f"{name}.query"], keys)


def _attend(scores: torch.Tensor, slots: Slots, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips averaged by the softmax of their scores within each recording; zeros where a recording has none.

    Returns
    -------
    pooled : tensor of shape (n_models, n_layers * dim, n_recordings)
    within : tensor of shape (n_models / n_sides, n_slots + 1)
        Share of each slot in its recording; 0 in the last, which stands for no clip.
    """
    n_sides, length = batch.n_sides, slots.values.shape[1]
    own = scores.view(n_sides, -1, scores.shape[2]).transpose(0, 1)  # (n_seeds, n_sides, n_clips)
    n_seeds, n_slots = len(own), len(slots.values)
    empty = scores.new_full((n_seeds, n_slots + 1), -torch.inf)
    laid = empty.index_copy(1, slots.places, own.reshape(n_seeds, -1))
    pooled, within = [], []
    for first, n, width in slots.buckets:
        share = laid[:, first : first + n * width].view(n_seeds, n, width).softmax(dim=-1)
        clips = slots.values[first : first + n * width].view(n, width, length)
        pooled.append(torch.bmm(share.transpose(0, 1), clips))  # (n, n_seeds, length)
        within.append(share.reshape(n_seeds, -1))
    rows = scores.new_zeros((n_sides * batch.n_recordings, n_seeds, length))
    if pooled:
        rows = rows.index_copy(0, slots.owners, torch.cat(pooled))
    by_model = rows.view(n_sides, batch.n_recordings, n_seeds, length).permute(0, 2, 3, 1)
    return by_model.reshape(-1, length, batch.n_recordings), torch.cat([*within, scores.new_zeros((n_seeds, 1))], dim=1)


def _join(weights: Weights, pooled: Mapping[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """Blocks added up, or weighed against each other by a gate; one that is missing takes no part.

    The gate is that of Arevalo, Solorio, Montes-y-Gomez, Gonzalez (2017), Gated multimodal units for information
    fusion, arXiv:1702.01992.
    """
    entered = {
        name: _mask(affine(weights[f"{name}.weight"], columns, weights[f"{name}.bias"]), batch.blocks[name])
        for name, columns in pooled.items()
    }
    deep = "out.weight" in weights
    if "gate.bias" not in weights:
        total = torch.stack(list(entered.values())).sum(dim=0) if len(entered) > 1 else next(iter(entered.values()))
        return torch.relu(total) if deep else total
    gates = _gates(weights, pooled, batch)
    return torch.stack([gates[name] * (torch.tanh(one) if deep else one) for name, one in entered.items()]).sum(dim=0)


def _gates(weights: Weights, pooled: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Share of each of two blocks in each hidden unit, shape (n_models, width, n_recordings); 1 where it is alone."""
    (first, second), bias = pooled, weights["gate.bias"]
    sides = [_mask(affine(weights[f"{name}.gate"], pooled[name]), batch.blocks[name]) for name in (first, second)]
    share = torch.sigmoid(sides[0] + sides[1] + bias)
    lacks = [_lacks(batch.blocks[name], like=bias) for name in (first, second)]
    if lacks[1] is not None:
        share = share + (1 - share) * lacks[1]
    if lacks[0] is not None:
        share = share * (1 - lacks[0])
    return {first: share, second: 1 - share}


def _trust(weights: Weights, pooled: Mapping[str, torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
    """Share of each block in each recording, shape (n_models, n_recordings): that of its gates, or equal shares."""
    n_models = len(weights["out.bias"])
    if "gate.bias" in weights:
        return {name: gate.mean(dim=1) for name, gate in _gates(weights, pooled, batch).items()}
    like = weights["out.bias"].new_ones((batch.n_sides, 1, batch.n_recordings))
    there = {name: like if block.present is None else block.present for name, block in batch.blocks.items()}
    n_blocks = torch.stack(list(there.values())).sum(dim=0).clamp(min=1)
    return {name: _by_model(one / n_blocks, n_models)[:, 0] for name, one in there.items()}


def _mask(found: torch.Tensor, block: Block) -> torch.Tensor:
    return found if block.present is None else found * _by_model(block.present, len(found))


def _lacks(block: Block, *, like: torch.Tensor) -> torch.Tensor | None:
    """1 where a recording does not have a block, shape (n_models, 1, n_recordings); None where all do."""
    return None if block.present is None else _by_model(1 - block.present, len(like))


def _by_model(of_side: torch.Tensor, n_models: int) -> torch.Tensor:
    return of_side.repeat_interleave(n_models // len(of_side), dim=0)
