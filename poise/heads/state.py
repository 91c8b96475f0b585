"""A fitted classifier as plain values: JSON and arrays, without pickle. Files do not live here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, StrategyError
from poise.heads.fusion import LOOSE_FUSIONS

STATE_VERSION = 1

LARGEST = 1e30
"""No learnt number is larger: products of a few of them still fit in float64, so that no probability is NaN."""

MOST_DIM = 1 << 20
"""No embedding is longer."""

_KEYS = ("version", "settings", "classes", "modalities", "layers", "temperature")
_MOST_LAYERS = 1000
_LARGEST_INT = 2**63 - 1
_MOST_DEPTH = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadState:
    """Everything that a fitted `ClipClassifier` predicts from.

    Attributes
    ----------
    config : dict
        JSON: version, settings, classes, modalities and their dimensions.
    arrays : dict of str to ndarray
        Learnt numbers by name.
    """

    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def part_of(arrays: Mapping[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """The arrays of one part, whose names begin with ``name`` and a dot, without it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


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
        The array is missing, has another shape, or holds something that is not finite or far too large.
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
    if array.dtype.kind == "f" and array.size and np.abs(array).max() > LARGEST:
        raise BundleError(
            f"The model's array {name!r} holds {np.abs(array).max():.3g}, expected at most {LARGEST:g}. Train it again."
        )
    return array


def check_learnt(arrays: Mapping[str, NDArray[Any]], head: str) -> None:
    """Refuse what a training gave that ran away.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Learnt weights, or the probabilities they give.
    head : str

    Raises
    ------
    StrategyError
        A number is not finite, or far too large.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not (np.abs(array) <= LARGEST).all():
            raise StrategyError(
                f"The training of {head} diverged: its {name} are not finite or above {LARGEST:g}. Expected numbers of "
                "ordinary size; look at the features, or of a neural head use a smaller lr or weight_decay."
            )


def check_config(config: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a state's config, after checking all of it but the values of the strategy's settings.

    Parameters
    ----------
    config : mapping
    known : mapping
        Settings that a classifier has.

    Raises
    ------
    BundleError
        The config is of another version, incomplete, or its parts do not fit together.
    """
    _check_plain(dict(config), "config")
    missing = [key for key in _KEYS if key not in config]
    if missing:
        raise BundleError(f"The model's config lacks {', '.join(missing)}. Train it again.")
    if isinstance(config["version"], bool) or config["version"] != STATE_VERSION:
        raise BundleError(
            f"The model's state is of version {config['version']}, expected {STATE_VERSION}. "
            "Use the poise it was made with."
        )
    settings, modalities, classes = config["settings"], config["modalities"], config["classes"]
    if not isinstance(settings, dict):
        raise BundleError(f"The model's settings are {settings!r}, expected names with values. Train it again.")
    unknown = sorted(str(name) for name in set(settings) - set(known))
    if unknown:
        raise BundleError(f"The model has settings that are not known: {', '.join(unknown)}. Use a newer poise.")
    _check_values(settings)
    _check_modalities(modalities, settings.get("fusion", known["fusion"]))
    _check_classes(classes)
    _check_layers(config["layers"], modalities)
    temperature = config["temperature"]
    if not _is_number(temperature) or not 0 < temperature < LARGEST:
        raise BundleError(f"The model's temperature is {temperature!r}, expected a number above 0. Train it again.")
    return dict(settings)


def _check_plain(value: Any, place: str, depth: int = 0) -> None:
    """Refuse what JSON does not have, and numbers that could be neither computed with nor printed."""
    if isinstance(value, dict | list) and depth < _MOST_DEPTH:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(name, f"a name in {place}", _MOST_DEPTH)
            _check_plain(inner, f"{place}.{name}", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise BundleError(f"The model's {place} is {value}, expected an ordinary number. Train it again.")
    elif isinstance(value, int) and abs(value) > _LARGEST_INT:
        raise BundleError(f"The model's {place} has {value.bit_length()} bits, expected at most 63. Train it again.")
    elif value is not None and not isinstance(value, int | str):
        raise BundleError(f"The model's {place} is a {type(value).__name__}, expected a plain value. Train it again.")


def _check_values(settings: Mapping[str, Any]) -> None:
    """The settings that no strategy has: the weights of classes and the random state."""
    weights, state = settings.get("class_weight"), settings.get("random_state")
    if isinstance(weights, dict) and not all(_is_number(weight) and weight >= 0 for weight in weights.values()):
        raise BundleError(f"The model's class weights are {weights}, expected numbers from 0 on. Train it again.")
    if state is not None and (type(state) is not int or state < 0):
        raise BundleError(f"The model's random state is {state!r}, expected a whole number from 0 on. Train it again.")


def _check_modalities(modalities: Any, fusion: Any) -> None:
    named = isinstance(modalities, dict) and all(isinstance(name, str) for name in modalities)
    if not named or not modalities or not all(type(dim) is int and 0 < dim <= MOST_DIM for dim in modalities.values()):
        raise BundleError(
            f"The model's modalities are {modalities}, expected names with dimensions from 1 to {MOST_DIM}. Train it "
            "again."
        )
    both, known = {"video", "audio"}, set(modalities)
    needed = {"auto": both if known == both else {next(iter(known))}} | dict.fromkeys(("early", *LOOSE_FUSIONS), both)
    if not isinstance(fusion, str) or known != needed.get(fusion, {fusion}):
        raise BundleError(
            f"The model's fusion {fusion!r} does not fit its modalities ({', '.join(modalities)}). Train it again."
        )


def _check_layers(layers: Any, modalities: Mapping[str, int]) -> None:
    fits = isinstance(layers, dict) and all(type(n) is int and 0 < n <= _MOST_LAYERS for n in layers.values())
    if not fits or not set(layers) <= set(modalities):
        raise BundleError(f"The model's layers are {layers!r}, expected a number for some modalities. Train it again.")


def _check_classes(classes: Any) -> None:
    """Labels of one kind in rising order, as `numpy.unique` gives them."""
    if not isinstance(classes, list) or len(classes) < 2:
        raise BundleError(f"The model's classes are {classes!r}, expected two or more in a list. Train it again.")
    kinds = {type(label) for label in classes}
    plain = len(kinds) == 1 and kinds <= {int, str, float, bool}
    rising = plain and all(low < high for low, high in itertools.pairwise(classes))
    if not rising or (kinds == {int} and max(abs(label) for label in classes) > _LARGEST_INT):
        raise BundleError(
            f"The model's classes are {classes}, expected labels of one kind in rising order. Train it again."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
