"""Which of the two old networks some weights are of, and the same network as the state of a classifier.

Both saw the clips of VideoMAE and WavLM side by side, gave the softmax of two layers with ReLU between them, and told
the likeliest class. Attention: ``softmax(v . tanh(W x))`` over clips. Pooled: mean, or mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.fusion import TOGETHER
from poise.heads.parameters import PARAMETERS, ParamValue
from poise.heads.state import STATE_VERSION, HeadState
from poise.heads.strategy import Strategy
from poise.serve.legacy.checkpoint import Checkpoint
from poise.serve.legacy.recipe import CLIPS, DIMS

_ATTENTION = {"attn_W.weight", "attn_W.bias", "attn_v.weight", "attn_v.bias"}
_WIDTH = sum(DIMS.values())
_MOST_UNITS = int(PARAMETERS["hidden"].high)
_MOST_CLASSES = 100

_Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """An old network as poise runs it.

    Attributes
    ----------
    architecture : str
        What it is, in words.
    strategy : Strategy
    head : HeadState
    n_classes : int
    """

    architecture: str
    strategy: Strategy
    head: HeadState
    n_classes: int


def recognise(found: Checkpoint) -> Network:
    """The network that weights are of.

    Parameters
    ----------
    found : Checkpoint

    Raises
    ------
    BundleError
        Names or shapes are of another network, or differ from what is said of them.
    """
    attends = bool(found.weights.keys() & _ATTENTION)
    layers = "classifier" if attends else "net"
    expected = (_ATTENTION if attends else set()) | {
        f"{layers}.{number}.{part}" for number in (0, 3) for part in ("weight", "bias")
    }
    _check_names(found.weights, expected)
    sizes = _read_sizes(found.weights, layers, attends=attends)
    _check_stated(found.stated, sizes)
    pooling = "attention" if attends else "mean" if sizes["in_dim"] == _WIDTH else "mean-std"
    settings: dict[str, ParamValue] = {"clips": CLIPS, "hidden": sizes["hidden_dim"], "n_seeds": 1}
    settings |= {"dropout": _dropout(found.stated)}
    settings |= {"attention_dim": sizes["attn_dim"]} if attends else {}
    strategy = Strategy(pooling=pooling, fusion="early", head="softmax", params=settings)
    config: dict[str, Any] = {
        "version": STATE_VERSION,
        "settings": {"pooling": pooling, "fusion": "early", "head": "softmax", **settings},
        "classes": list(range(sizes["num_classes"])),
        "modalities": dict(DIMS),
        "layers": {},
        "temperature": 1.0,
    }
    return Network(
        architecture=_describe(pooling, sizes),
        strategy=strategy,
        head=HeadState(config=config, arrays=_arrays(found.weights, layers, pooling)),
        n_classes=sizes["num_classes"],
    )


def scale(
    weights: _Weights, center: NDArray[np.float64], spread: NDArray[np.float64]
) -> dict[str, NDArray[np.float32]]:
    """Weights that see clips as they are, from those that saw ``(x - center) / spread``.

    Parameters
    ----------
    weights : mapping of str to ndarray
    center, spread : ndarray of shape (1536,), float64
        Of the columns of a clip.

    Raises
    ------
    BundleError
        There is one number for each column of something else, or a spread is not above 0.
    """
    if center.shape != (_WIDTH,) or spread.shape != (_WIDTH,) or not (spread > 0).all():
        raise BundleError(f"its scaler is of {len(center)} columns, expected {_WIDTH} with a spread above 0 each")
    found = dict(weights)
    for name in ("attn_W", "classifier.0", "net.0"):
        if f"{name}.weight" not in found:
            continue
        wide = found[f"{name}.weight"].astype(np.float64)
        shift, shrink = center, spread
        if wide.shape[1] == 2 * _WIDTH:  # standard deviations are scaled, and not shifted
            shift, shrink = _by_modality(center, 0 * center), _by_modality(spread, spread)
        scaled = wide / shrink
        found[f"{name}.weight"] = scaled.astype(np.float32)
        found[f"{name}.bias"] = (found[f"{name}.bias"] - scaled @ shift).astype(np.float32)
    return found


def _check_names(weights: _Weights, expected: set[str]) -> None:
    missing, strange = sorted(expected - weights.keys()), sorted(weights.keys() - expected)
    if missing or strange:
        lacks = f"it lacks {', '.join(missing[:4])}" if missing else ""
        has = f"it has {', '.join(name[:100] for name in strange[:4])}" if strange else ""
        raise BundleError(
            f"its weights are of no network that is known: {' and '.join(part for part in (lacks, has) if part)}. "
            "Expected attn_W, attn_v, classifier.0 and classifier.3, or net.0 and net.3, each with weight and bias"
        )


def _read_sizes(weights: _Weights, layers: str, *, attends: bool) -> dict[str, int]:
    """Sizes of the layers; every shape must fit the others."""
    first, last = weights[f"{layers}.0.weight"], weights[f"{layers}.3.weight"]
    sizes = {"in_dim": first.shape[-1] if first.ndim else 0, "hidden_dim": len(np.atleast_1d(first))}
    sizes["num_classes"] = len(np.atleast_1d(last))
    shapes: dict[str, tuple[int, ...]] = {
        f"{layers}.0.weight": (sizes["hidden_dim"], sizes["in_dim"]),
        f"{layers}.0.bias": (sizes["hidden_dim"],),
        f"{layers}.3.weight": (sizes["num_classes"], sizes["hidden_dim"]),
        f"{layers}.3.bias": (sizes["num_classes"],),
    }
    if attends:
        sizes["attn_dim"] = len(np.atleast_1d(weights["attn_W.weight"]))
        shapes |= {"attn_W.weight": (sizes["attn_dim"], sizes["in_dim"]), "attn_W.bias": (sizes["attn_dim"],)}
        shapes |= {"attn_v.weight": (1, sizes["attn_dim"]), "attn_v.bias": (1,)}
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise BundleError(f"its {name} has the shape {weights[name].shape}, expected {shape} as the others say")
    widths = (_WIDTH,) if attends else (_WIDTH, 2 * _WIDTH)
    units = [sizes["hidden_dim"], *([sizes["attn_dim"]] if attends else [])]
    if sizes["in_dim"] not in widths or not 1 <= min(units) <= max(units) <= _MOST_UNITS:
        raise BundleError(
            f"its network sees {sizes['in_dim']} numbers with {' and '.join(map(str, units))} units, expected "
            f"{' or '.join(map(str, widths))} of {' and '.join(f'{dim} of {name}' for name, dim in DIMS.items())}, "
            f"and from 1 to {_MOST_UNITS} units"
        )
    if not 2 <= sizes["num_classes"] <= _MOST_CLASSES:
        raise BundleError(f"its network tells {sizes['num_classes']} classes apart, expected 2 to {_MOST_CLASSES}")
    return sizes


def _check_stated(stated: Mapping[str, float], sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        if stated.get(name, size) != size:
            raise BundleError(f"it says that {name} is {stated[name]!r:.40}, but its weights have {size}")


def _dropout(stated: Mapping[str, float]) -> float:
    """What it was trained with; of no consequence here, and kept because it is known."""
    share = stated.get("dropout", PARAMETERS["dropout"].default)
    if not 0 <= float(share) < 1:
        raise BundleError(f"it says that dropout is {share!r:.40}, expected a share below 1")
    return float(share)


def _arrays(weights: _Weights, layers: str, pooling: str) -> dict[str, NDArray[Any]]:
    """The arrays of a network of one seed; the bias of ``attn_v`` moves all scores alike, and none of their shares."""
    first = weights[f"{layers}.0.weight"]
    if pooling == "mean-std":
        # video's mean and deviation, then audio's; here both means stand before both deviations
        first = np.concatenate([first[:, part] for part in _parts_of_pooled()], axis=1)
    arrays = {"weight": first, "bias": weights[f"{layers}.0.bias"][:, None]}
    if pooling == "attention":
        arrays |= {"keys": weights["attn_W.weight"], "key_bias": weights["attn_W.bias"][:, None]}
        arrays["query"] = weights["attn_v.weight"]
    found = {f"head.{TOGETHER}.{name}": array for name, array in arrays.items()}
    found["head.out.weight"] = weights[f"{layers}.3.weight"]
    found["head.out.bias"] = weights[f"{layers}.3.bias"][:, None]
    return {name: np.ascontiguousarray(array)[None] for name, array in found.items()}  # (1, n_out, n_in)


def _parts_of_pooled() -> list[slice]:
    """Where in the old vector lie video's mean, audio's mean, video's deviation and audio's deviation."""
    video, audio = DIMS["video"], DIMS["audio"]
    return [
        slice(0, video),
        slice(2 * video, 2 * video + audio),
        slice(video, 2 * video),
        slice(2 * video + audio, 2 * (video + audio)),
    ]


def _by_modality(means: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers of the old pooled vector from those of means and of deviations."""
    video = DIMS["video"]
    return np.concatenate([means[:video], deviations[:video], means[video:], deviations[video:]])


def _describe(pooling: str, sizes: Mapping[str, int]) -> str:
    hidden = f"{sizes['in_dim']} numbers, {sizes['hidden_dim']} hidden units, {sizes['num_classes']} classes"
    if pooling == "attention":
        return f"attention over clips with {sizes['attn_dim']} units, then an MLP: {hidden}"
    pooled = "the mean" if pooling == "mean" else "mean and standard deviation"
    return f"an MLP over {pooled} of the clips: {hidden}"
