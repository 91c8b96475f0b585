"""The networks of the old software as plain modules, and ZIPs that hold them as it saved them."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from poise.store import Bags

DIM = 1536


class Attention(torch.nn.Module):
    """Softmax of ``v . tanh(W x + b)`` over clips, then two layers."""

    def __init__(self, attn_dim: int = 9, hidden_dim: int = 13, num_classes: int = 3) -> None:
        super().__init__()
        self.attn_W = torch.nn.Linear(DIM, attn_dim)
        self.attn_v = torch.nn.Linear(attn_dim, 1)
        self.classifier = layers(DIM, hidden_dim, num_classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        shares = self.shares(clips)
        return self.classifier((shares * clips).sum(dim=0)).softmax(dim=0)

    def shares(self, clips: torch.Tensor) -> torch.Tensor:
        return self.attn_v(torch.tanh(self.attn_W(clips))).softmax(dim=0)


class Pooled(torch.nn.Module):
    """Two layers on the mean of clips, or on mean and deviation of video, then of audio."""

    def __init__(self, pooling: str = "mean", hidden_dim: int = 13, num_classes: int = 3) -> None:
        super().__init__()
        self.pooling = pooling
        self.net = layers(DIM if pooling == "mean" else 2 * DIM, hidden_dim, num_classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        parts = [clips] if self.pooling == "mean" else [clips[:, : DIM // 2], clips[:, DIM // 2 :]]
        pooled = [part.mean(dim=0) for part in parts]
        if self.pooling == "mean-std":
            spread = [part.std(dim=0, unbiased=False) for part in parts]
            pooled = [pooled[0], spread[0], pooled[1], spread[1]]
        return self.net(torch.cat(pooled)).softmax(dim=0)


def layers(in_dim: int, hidden_dim: int, num_classes: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(in_dim, hidden_dim),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(hidden_dim, num_classes),
    )


def make_network(kind: str = "attention", seed: int = 0, **sizes: int) -> Attention | Pooled:
    """A network with weights large enough that it is sure of something."""
    torch.manual_seed(seed)
    network = Attention(**sizes) if kind == "attention" else Pooled(kind, **sizes)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3)
    return network.eval()


def state_of(network: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}


def sizes_of(network: Attention | Pooled) -> dict[str, Any]:
    """What the old training wrote beside the weights."""
    last = network.classifier if isinstance(network, Attention) else network.net
    sizes = {"in_dim": last[0].in_features, "hidden_dim": last[0].out_features, "num_classes": last[3].out_features}
    attends = isinstance(network, Attention)
    return sizes | ({"attn_dim": network.attn_W.out_features} if attends else {}) | {"dropout": 0.3}


def saved(value: object, **options: Any) -> bytes:
    """What ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def pack(path: Path, files: dict[str, bytes | str | dict[str, Any]]) -> Path:
    """A ZIP of these files; what is no text and no bytes as JSON."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes | str) else json.dumps(content))
    return path


def old_bundle(path: Path, network: torch.nn.Module | None = None, **more: Any) -> Path:
    """An older bundle as the old training packed it."""
    network = network or make_network()
    content = saved({"state_dict": network.state_dict(), **sizes_of(network)})  # type: ignore[arg-type]
    names = {"0": "low", "1": "moderate", "2": "high"}
    return pack(path, {"final_mlp.pt": content, "class_map.json": names, "final_config.json": {"SEED": 42}, **more})


def make_clips(n_recordings: int = 6, seed: int = 0) -> list[NDArray[np.float32]]:
    """Clips of recordings, of different number."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((1 + row % 5, DIM)).astype(np.float32) for row in range(n_recordings)]


def as_bags(recordings: list[NDArray[np.float32]]) -> Bags:
    """The same, video and audio apart."""
    return Bags.from_arrays(
        {
            "video": [clips[:, : DIM // 2] for clips in recordings],
            "audio": [clips[:, DIM // 2 :] for clips in recordings],
        }
    )
