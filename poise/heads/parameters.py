"""The names and settings that a strategy is made of: what each may be, its default, and whom it concerns."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from poise.errors import StrategyError

ParamValue = int | float | str

POOLINGS = ("mean", "mean-std", "max", "attention", "gated-attention")
LEARNT_POOLINGS = ("attention", "gated-attention")
FUSIONS = ("video", "audio", "early", "mid", "gated", "late")
NEURAL_HEADS = ("softmax", "coral", "corn", "regression")
EXACT_HEADS = ("cumulative", "all-threshold", "frank-hall", "logistic", "ridge")
HEADS = (*EXACT_HEADS, *NEURAL_HEADS, "lightgbm")
NOMINAL_HEADS = ("softmax", "logistic")
"""Heads that know no order of the levels: they predict the likeliest, all others the median level."""

AUTO = "auto"
_COUNT = r"[1-9]\d{0,5}"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of a strategy: its default, what it may be and whom it concerns.

    Attributes
    ----------
    default : int, float or str
    kind : {int, float, str}
        Type of the setting; a number may also be one of the ``words``.
    low, high : float
        Bounds of a number; ``low`` is allowed unless ``above_low``, ``high`` unless ``below_high``.
    words : tuple of str
        Words that it may be.
    pattern : str
        Regular expression of other texts that it may be, and in ``form`` what that looks like.
    heads, poolings : tuple of str
        A strategy has the setting when both its head and its pooling are listed.
    """

    default: ParamValue
    kind: type
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    below_high: bool = False
    words: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    heads: tuple[str, ...] = HEADS
    poolings: tuple[str, ...] = POOLINGS

    @property
    def expected(self) -> str:
        """What the setting may be, in words."""
        parts = [*self.words, *([self.form] if self.form else [])]
        if self.kind is not str:
            noun = "a whole number" if self.kind is int else "a number"
            low = f" {'above' if self.above_low else 'from'} {self.low:g}" if math.isfinite(self.low) else ""
            high = f" {'below' if self.below_high else 'to'} {self.high:g}" if math.isfinite(self.high) else ""
            parts.append(f"{noun}{low}{high}")
        return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)

    def check(self, name: str, value: object) -> ParamValue:
        """The value in the setting's own type.

        Raises
        ------
        StrategyError
            It is of another type or out of bounds.
        """
        checked = self._convert(value)
        if checked is None:
            raise StrategyError(f"Setting {name}={value!s} of a strategy: expected {self.expected}.")
        return checked

    def _convert(self, value: object) -> ParamValue | None:
        if isinstance(value, str) and value in self.words:
            return value
        if self.kind is str:
            text = str(value) if isinstance(value, Integral) and not isinstance(value, bool) else value
            return text if isinstance(text, str) and self.pattern and re.fullmatch(self.pattern, text) else None
        if isinstance(value, bool):
            return None
        kind: Any = self.kind
        try:
            number = kind(value)
            finite = math.isfinite(number)  # of a whole number that no float can hold, an OverflowError
        except (TypeError, ValueError, OverflowError):
            return None
        # int(2.5) would be 2
        if not isinstance(value, str) and number != value:
            return None
        return kind(number) if finite and self._is_inside(number) else None

    def _is_inside(self, number: float) -> bool:
        above = self.low < number if self.above_low else self.low <= number
        return above and (number < self.high if self.below_high else number <= self.high)


PARAMETERS: dict[str, Parameter] = {
    "class_weight": Parameter(default="none", kind=str, words=("none", "balanced")),
    "clips": Parameter(
        default="all",
        kind=str,
        words=("all", "longest"),
        pattern=rf"(first|spread|full|longest):{_COUNT}",
        form="first:N, spread:N, full:N, longest:N",
    ),
    "layer": Parameter(
        default="mean", kind=str, words=("mean", "learnt"), pattern=rf"-?{_COUNT}|0", form="the number of a layer"
    ),
    "center": Parameter(
        default="none", kind=str, words=("none",), pattern=r"[^,=:/\s]+", form="a column of the manifest"
    ),
    "calibrate": Parameter(default="none", kind=str, words=("none", "temperature")),
    "n_components": Parameter(default=AUTO, kind=int, low=1, high=4096, words=(AUTO,)),
    "alpha": Parameter(default=AUTO, kind=float, low=1e-6, high=1e6, words=(AUTO,), heads=EXACT_HEADS),
    "hidden": Parameter(default=128, kind=int, low=0, high=4096, heads=NEURAL_HEADS),
    "dropout": Parameter(default=0.3, kind=float, low=0, high=1, below_high=True, heads=NEURAL_HEADS),
    "epochs": Parameter(default=AUTO, kind=int, low=1, high=100_000, words=(AUTO,), heads=NEURAL_HEADS),
    "lr": Parameter(default=0.005, kind=float, low=0, high=1, above_low=True, heads=NEURAL_HEADS),
    "weight_decay": Parameter(default=0.01, kind=float, low=0, high=1000, heads=NEURAL_HEADS),
    "n_seeds": Parameter(default=5, kind=int, low=1, high=100, heads=NEURAL_HEADS),
    "attention_dim": Parameter(default=16, kind=int, low=1, high=4096, heads=NEURAL_HEADS, poolings=LEARNT_POOLINGS),
    "n_trees": Parameter(default=100, kind=int, low=1, high=10_000, heads=("lightgbm",)),
    "n_leaves": Parameter(default=7, kind=int, low=2, high=1024, heads=("lightgbm",)),
    "shrinkage": Parameter(default=0.1, kind=float, low=0, high=1, above_low=True, heads=("lightgbm",)),
}
"""Every setting of a strategy by name."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A question after the known name that is most like this one; empty where none is like it."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """What a head is fitted with: the names of a strategy and every setting, defaults filled in.

    Attributes
    ----------
    pooling, fusion, head : str
        ``fusion`` may also be ``auto`` or the name of any modality.
    values : mapping of str to int, float or str
    """

    pooling: str
    fusion: str
    head: str
    values: Mapping[str, ParamValue]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def number(self, name: str) -> float | None:
        """A setting that may be ``auto``: its number, or None."""
        value = self.values[name]
        return None if value == AUTO else float(value)
