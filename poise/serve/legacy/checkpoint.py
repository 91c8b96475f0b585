"""Reading the weights that ``torch.save`` wrote: plain arrays and what is said of them, without running foreign code.

Which network they are of is told in ``networks``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.serve.archive import Archive
from poise.serve.legacy.pickles import list_objects
from poise.serve.values import is_number

OLDEST_TORCH = (2, 10)
"""Before it, reading weights alone could be made to write into foreign memory: CVE-2026-24747."""

STATED = ("in_dim", "attn_dim", "hidden_dim", "num_classes", "dropout")

_MOST_NUMBERS = 1 << 24
_MOST_WEIGHTS = 100
_PREFIX = "module."


class ObjectsRefusedError(BundleError):
    """A file that holds Python objects, which are only unpickled with consent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What a file of weights holds.

    Attributes
    ----------
    style : {"state_dict", "model_state_dict", "bare", "model"}
        How it was saved.
    weights : dict of str to ndarray
        float32, finite; names without ``module.``.
    stated : mapping of str to number
        What is said of the sizes, as ``in_dim`` and ``num_classes``.
    class_names : sequence or None
        Names of the classes, as they are given.
    """

    style: str
    weights: dict[str, NDArray[np.float32]]
    stated: Mapping[str, float]
    class_names: Any = None


def read_checkpoint(content: bytes) -> Checkpoint:
    """The weights in a ``.pt`` or ``.pth`` file.

    Parameters
    ----------
    content : bytes
        What ``torch.save`` of torch 1.6 or later wrote.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ObjectsRefusedError
        It holds more than plain values and tensors.
    BundleError
        It is damaged, or holds no weights.
    """
    packed = _open(content)
    folder = next(iter(packed.files)).partition("/")[0]
    files = {name: packed.read(name) for name in packed.files}
    objects = list_objects(files[f"{folder}/data.pkl"])
    if objects:
        raise ObjectsRefusedError(f"it holds Python objects ({', '.join(objects[:3])})")
    return split(_load(_pack(files)))


def split(saved: object) -> Checkpoint:
    """Weights and what is said of them, told apart by the names under which they were saved.

    Parameters
    ----------
    saved : object
        What was unpickled.

    Raises
    ------
    BundleError
        It is none of the known styles, or its weights are no arrays of ordinary numbers.
    """
    if not isinstance(saved, dict) or not saved:
        raise BundleError(f"it holds a {type(saved).__name__}, expected weights by name")
    style = next((name for name in ("model_state_dict", "state_dict") if name in saved), "bare")
    given = saved if style == "bare" else saved[style]
    if not isinstance(given, dict):
        raise BundleError(f"its {style} is a {type(given).__name__}, expected weights by name")
    aux = saved.get("aux")
    _check_aux(aux)
    hyperparams = saved.get("hyperparams")
    stated = hyperparams if isinstance(hyperparams, dict) else {} if style == "bare" else saved
    return Checkpoint(
        style=style,
        weights=_read_weights(given),
        stated=check_stated({name: stated.get(name) for name in STATED}),
        class_names=aux.get("class_names") if isinstance(aux, dict) else None,
    )


def check_stated(stated: Mapping[str, Any]) -> dict[str, float]:
    """What is said of sizes, without what is not said.

    Raises
    ------
    BundleError
        Something else than a number is said.
    """
    found = {name: stated[name] for name in STATED if stated.get(name) is not None}
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
    for name, value in found.items():
        if not is_number(value):
            raise BundleError(f"its {name} is a {type(value).__name__}, expected a number")
    return found


def check_torch() -> None:
    """Refuse a torch whose reader of weights is not safe.

    Raises
    ------
    BundleError
        It is too old.
    """
    import torch

    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_TORCH:
        raise BundleError(
            f"reading it takes torch {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]} or later, this is {torch.__version__}: older "
            "ones can be made to write into foreign memory. Update torch"
        )


def _open(content: bytes) -> Archive:
    if not content.startswith(b"PK\x03\x04"):
        raise ObjectsRefusedError("it is a pickle of another kind, or was saved by a torch before 1.6")
    packed = Archive.of_bytes(content)
    folder = next(iter(packed.files)).partition("/")[0]
    if not all(name.startswith(f"{folder}/") for name in packed.files) or f"{folder}/data.pkl" not in packed.files:
        raise BundleError("it is a ZIP, but none that torch.save wrote: it has no data.pkl in its one folder")
    if f"{folder}/constants.pkl" in packed.files or any("/code/" in name for name in packed.files):
        raise ObjectsRefusedError("it is a TorchScript program")
    return packed


def _pack(files: Mapping[str, bytes]) -> BytesIO:
    """The same files in an archive of our own, so that torch reads what was checked and nothing else."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    buffer.seek(0)
    return buffer


def _load(file: BytesIO) -> object:
    check_torch()
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  there is no common base, and what is said advises to load without protection
        raise BundleError("its weights cannot be read: what it says of them and what it holds differ") from None


def _check_aux(aux: object) -> None:
    """A scaler would change every number, and only a pickle could hold one."""
    if isinstance(aux, dict) and aux.get("scaler") is not None:
        raise BundleError(
            f"its aux holds a scaler that is a {type(aux['scaler']).__name__}, expected none. Save it without, and "
            "scale the weights instead"
        )


def _read_weights(given: Mapping[Any, Any]) -> dict[str, NDArray[np.float32]]:
    if not given or len(given) > _MOST_WEIGHTS or not all(isinstance(name, str) for name in given):
        raise BundleError(f"it holds {len(given)} weights, expected from 1 to {_MOST_WEIGHTS} with names")
    # what torch.nn.DataParallel puts in front of every name
    shared = len(_PREFIX) if all(name.startswith(_PREFIX) for name in given) else 0
    return {name[shared:]: _read_weight(name, value) for name, value in given.items()}


def _read_weight(name: str, value: object) -> NDArray[np.float32]:
    import torch

    shown = name[:100]
    if not isinstance(value, torch.Tensor):
        raise BundleError(f"its {shown!r} is a {type(value).__name__}, expected a tensor")
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if not plain or not value.is_floating_point() or value.ndim > 2 or value.numel() > _MOST_NUMBERS:
        raise BundleError(
            f"its {shown!r} is a tensor of {value.dtype} and the shape {tuple(value.shape)[:8]}, expected one of "
            f"floats with one or two axes and at most {_MOST_NUMBERS:,} numbers"
        )
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise BundleError(f"its {shown!r} has more numbers than the file. It is damaged")
    found = value.detach().to(torch.float32).contiguous().numpy()
    if not np.isfinite(found).all():
        raise BundleError(f"its {shown!r} is not all finite numbers. It is damaged, or its training ran away")
    return found
