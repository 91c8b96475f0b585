"""What the process does that unpickles: everything that a pickle asks for; then arrays and texts are written out.

Never imported by what serves. Started by :mod:`poise.serve.legacy.unpickling`, once somebody has said yes.
"""

from __future__ import annotations

import json
import pickle
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.orphans import die_with_parent
from poise.serve.legacy.checkpoint import Checkpoint, split
from poise.serve.legacy.unpickling import ARRAYS, RESULT, SCALER, WEIGHTS
from poise.serve.tensors import write_tensors
from poise.text import describe_error


def start(folder: str, most_s: int) -> None:
    """Do so as a process of its own, which ends with whoever started it, and after so many seconds (not on Windows)."""
    die_with_parent()
    if sys.platform != "win32":
        signal.alarm(most_s)
    main(folder)


def main(folder: str) -> None:
    """Unpickle what lies in a folder, and write into it what it holds."""
    place = Path(folder)
    try:
        said, arrays = _unpickle(place)
        content = json.dumps(said)
    except Exception as error:  # noqa: BLE001  foreign code may raise anything, and its owner is to know
        reason = str(error) if isinstance(error, BundleError) else describe_error(error)
        said, arrays, content = {}, {}, json.dumps({"error": reason})
    (place / ARRAYS).write_bytes(write_tensors(arrays))
    (place / RESULT).write_text(content, encoding="utf-8")


def _unpickle(place: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    said: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    scaler: object = None
    if (place / WEIGHTS).exists():
        found, scaler = _read_weights(place / WEIGHTS)
        names = found.class_names
        said = {"style": found.style, "stated": dict(found.stated), "class_names": names}
        arrays = {f"weights.{name}": array for name, array in found.weights.items()}
    if (place / SCALER).exists():
        import joblib

        scaler = joblib.load(place / SCALER)
    return said, arrays | _read_scaler(scaler)


def _read_weights(path: Path) -> tuple[Checkpoint, object]:
    """The weights, and the scaler that lay beside them."""
    import torch

    module: Any = ModuleType("pickle")
    module.Unpickler, module.load = _Unpickler, lambda file, **options: _Unpickler(file, **options).load()
    saved = torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    aux = saved.get("aux") if isinstance(saved, dict) else None
    scaler = aux.pop("scaler", None) if isinstance(aux, dict) else None
    whole = saved.get("model") if isinstance(saved, dict) else saved
    if isinstance(whole, torch.nn.Module):
        weights = {name: tensor.detach().cpu() for name, tensor in whole.state_dict().items()}
        rest = {name: saved.get(name) for name in ("aux", "hyperparams")} if isinstance(saved, dict) else {}
        return _as_model(split({"model_state_dict": weights, **rest})), scaler
    return split(saved), scaler


def _as_model(found: Checkpoint) -> Checkpoint:
    return Checkpoint(style="model", weights=found.weights, stated=found.stated, class_names=found.class_names)


def _read_scaler(scaler: Any) -> dict[str, NDArray[Any]]:
    """Centre and spread of a standard scaler, where it uses them."""
    if scaler is None:
        return {}
    center = getattr(scaler, "mean_", None) if getattr(scaler, "with_mean", True) else None
    spread = getattr(scaler, "scale_", None) if getattr(scaler, "with_std", True) else None
    known = center if spread is None else spread
    if type(scaler).__name__ != "StandardScaler" or known is None:
        raise BundleError(f"its scaler is a {type(scaler).__name__}, expected a StandardScaler that was fitted")
    return {
        "scaler.center": np.zeros(len(known)) if center is None else np.asarray(center, dtype=np.float64),
        "scaler.spread": np.ones(len(known)) if spread is None else np.asarray(spread, dtype=np.float64),
    }


class _Unpickler(pickle.Unpickler):
    """Takes a class that is nowhere, as one of a notebook, for a module without code: its weights are all we want."""

    def find_class(self, module: str, name: str) -> Any:
        import torch

        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (torch.nn.Module,), {"__module__": module})
