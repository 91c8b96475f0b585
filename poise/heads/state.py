"""A fitted classifier as plain values: JSON, arrays and texts, without pickle. Files do not live here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError

STATE_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadState:
    """Everything that a fitted `ClipClassifier` predicts from.

    Attributes
    ----------
    config : dict
        JSON: version, settings, classes, modalities and their dimensions.
    arrays : dict of str to ndarray
        Learnt numbers by name.
    texts : dict of str to str
        Learnt models that are texts (LightGBM's own format).
    """

    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    texts: dict[str, str] = field(default_factory=dict)


class FittedHead(Protocol):
    """What turns standardised features into probabilities, and is nothing but arrays and texts."""

    def predict_proba(self, X: NDArray[np.float64], offsets: NDArray[np.int64], /) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes) from rows (one a recording, or its clips) and offsets."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        ...

    def texts(self) -> dict[str, str]:
        """Learnt models that are texts."""
        ...


def get_array(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """One array of a state, checked.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    name : str
    shape : tuple of int or None
        Expected shape; None where any length will do.

    Raises
    ------
    BundleError
        The array is missing, has another shape, or holds something that is not finite.
    """
    if name not in arrays:
        raise BundleError(
            f"The model has no array {name!r}. It has: {', '.join(sorted(arrays)) or 'none'}. Train it again."
        )
    array = np.asarray(arrays[name])
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        expected = " x ".join("any" if length is None else str(length) for length in shape)
        raise BundleError(
            f"The model's array {name!r} has the shape {array.shape}, expected {expected}. Train it again."
        )
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise BundleError(f"The model's array {name!r} ({array.dtype}) is not all finite numbers. Train it again.")
    return array


def check_config(config: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The settings of a state's config, after checking all of it.

    Parameters
    ----------
    config : dict
    known : dict
        Settings that a classifier has.

    Raises
    ------
    BundleError
        The config is of another version, or incomplete.
    """
    missing = [key for key in ("version", "settings", "classes", "modalities") if key not in config]
    if missing:
        raise BundleError(f"The model's config lacks {', '.join(missing)}. Train it again.")
    if config["version"] != STATE_VERSION:
        raise BundleError(
            f"The model's state is of version {config['version']}, expected {STATE_VERSION}. "
            "Use the poise it was made with."
        )
    settings, modalities = config["settings"], config["modalities"]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise BundleError(f"The model has settings that are not known: {', '.join(unknown)}. Use a newer poise.")
    if not modalities or not all(isinstance(dim, int) and dim > 0 for dim in modalities.values()):
        raise BundleError(f"The model's modalities are {modalities}, expected names with dimensions. Train it again.")
    if len(config["classes"]) < 2:
        raise BundleError(f"The model's classes are {config['classes']}, expected two or more. Train it again.")
    return dict(settings)
