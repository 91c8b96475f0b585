"""Unpickling what its owner trusts, in a process of its own, from which only arrays and texts come back.

The process protects from accidents, as a crash or a module that is changed when it is imported, not from malice: code
in a pickle may do all that you may. What comes back is checked like any file.
"""

from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.serve.archive import read_bytes
from poise.serve.legacy.checkpoint import Checkpoint, check_stated
from poise.serve.tensors import read_tensors
from poise.serve.values import parse_json, text
from poise.text import readable

WEIGHTS, SCALER, RESULT, ARRAYS = "weights.pt", "scaler.pkl", "result.json", "result.safetensors"

_PREFIX = "poise-unpickle-"
_PATIENCE_S = 300.0
_GRACE_S = 10.0
_ABANDONED_S = 3600.0
_LONGEST_REASON = 300

Scaler = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Centre and spread of each column of a clip."""


def unpickle(contents: Mapping[str, bytes]) -> tuple[Checkpoint | None, Scaler | None]:
    """Run what is in pickles, and keep the numbers.

    Parameters
    ----------
    contents : mapping of str to bytes
        :data:`WEIGHTS`, a file of ``torch.save`` with a module or with weights; :data:`SCALER`, a pickle or joblib file
        with a standard scaler of scikit-learn; either may be left out.

    Returns
    -------
    checkpoint : Checkpoint or None
        None where no weights were given.
    scaler : (ndarray, ndarray) or None
        Of that pickle, or else of one beside the weights; None where there is none.

    Raises
    ------
    BundleError
        They cannot be unpickled, or what they hold is no network and no scaler.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        for file, content in contents.items():
            (folder / file).write_bytes(content)
        ended = _run(folder)
        return _read(folder, ended)


def _remove_abandoned(parent: Path) -> None:
    """Remove this user's folders that are older than any process may become: whoever made them was killed."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or removed just now
            status = folder.lstat()
            mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if mine and stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > _ABANDONED_S:
                rmtree(folder, ignore_errors=True)


def _run(folder: Path) -> str:
    """Unpickle in a process of its own; say how that ended."""
    path = [os.path.abspath(place) for place in sys.path]
    most_s = math.ceil(_PATIENCE_S + _GRACE_S)  # it is told too, for where nobody is left to end it
    code = (
        f"import sys; sys.path[:] = {path!r}; "
        f"from poise.serve.legacy.child import start; start({os.fspath(folder)!r}, {most_s})"
    )
    nowhere = subprocess.DEVNULL
    try:
        done = subprocess.run(  # noqa: S603  our own program
            [sys.executable, "-c", code],
            cwd=folder,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"took more than {_PATIENCE_S:.0f} seconds"
    return f"ended with code {done.returncode}"


def _read(folder: Path, ended: str) -> tuple[Checkpoint | None, Scaler | None]:
    try:
        said = parse_json(read_bytes(folder / RESULT))
        problem = text(said, "", "error") if isinstance(said, dict) and "error" in said else ""
    except ValueError as error:  # no result is a BundleError, which is one too
        raise BundleError(f"the process that unpickled it {ended}, and left no result") from error
    if problem:
        raise BundleError(f"it cannot be unpickled: {readable(problem, _LONGEST_REASON)}")
    arrays = read_tensors(read_bytes(folder / ARRAYS))
    return _read_checkpoint(said, arrays), _read_scaler(arrays)


def _read_checkpoint(said: Any, arrays: Mapping[str, NDArray[Any]]) -> Checkpoint | None:
    prefix = "weights."
    weights = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if not weights:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("stated"), dict):
        raise BundleError("the process that unpickled it says nothing of its sizes")
    return Checkpoint(
        style=text(said, "", "style"),
        weights={name: array.astype(np.float32) for name, array in weights.items()},
        stated=check_stated(said["stated"]),
        class_names=said.get("class_names"),
    )


def _read_scaler(arrays: Mapping[str, NDArray[Any]]) -> Scaler | None:
    if "scaler.center" not in arrays:
        return None
    center, spread = (arrays[f"scaler.{name}"].astype(np.float64).ravel() for name in ("center", "spread"))
    return center, spread
