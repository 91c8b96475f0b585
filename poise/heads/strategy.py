"""Strategies: which pooling, fusion, head and settings, as one checked value that parses and prints.

Nothing is fitted here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poise.errors import StrategyError

ParamValue = int | float | str

POOLINGS = ("mean", "mean-std", "attention")
FUSIONS = ("video", "audio", "early")
NEURAL_HEADS = ("softmax", "coral", "corn")
HEADS = (*NEURAL_HEADS, "logistic", "ridge", "lightgbm")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One setting of a strategy: its default, what it may be and whom it concerns.

    Attributes
    ----------
    default : int, float or str
        Its type is the type of the setting.
    low, high : float
        Bounds of a number; ``low`` is allowed unless ``above_low``, ``high`` unless ``below_high``.
    choices : tuple of str
        What a text may be.
    heads, poolings : tuple of str
        A strategy has the setting when both its head and its pooling are listed.
    """

    default: ParamValue
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    below_high: bool = False
    choices: tuple[str, ...] = ()
    heads: tuple[str, ...] = HEADS
    poolings: tuple[str, ...] = POOLINGS

    @property
    def expected(self) -> str:
        """What the setting may be, in words."""
        if self.choices:
            return " or ".join(self.choices)
        noun = "a whole number" if isinstance(self.default, int) else "a number"
        bounds = []
        if math.isfinite(self.low):
            bounds.append(f"{'above' if self.above_low else 'from'} {self.low:g}")
        if math.isfinite(self.high):
            bounds.append(f"{'below' if self.below_high else 'to'} {self.high:g}")
        return " ".join([noun, *bounds])

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
        if self.choices:
            return value if isinstance(value, str) and value in self.choices else None
        if isinstance(value, bool):
            return None
        kind: Any = int if isinstance(self.default, int) else float
        try:
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            return None
        # int(2.5) would be 2
        if not isinstance(value, str) and number != value:
            return None
        return kind(number) if math.isfinite(number) and self._is_inside(number) else None

    def _is_inside(self, number: float) -> bool:
        above = self.low < number if self.above_low else self.low <= number
        return above and (number < self.high if self.below_high else number <= self.high)


PARAMETERS: dict[str, Parameter] = {
    "class_weight": Parameter(default="none", choices=("none", "balanced")),
    "hidden": Parameter(default=128, low=0, high=4096, heads=NEURAL_HEADS),
    "dropout": Parameter(default=0.3, low=0, high=1, below_high=True, heads=NEURAL_HEADS),
    "epochs": Parameter(default=40, low=1, high=100_000, heads=NEURAL_HEADS),
    "lr": Parameter(default=0.003, low=0, high=1, above_low=True, heads=NEURAL_HEADS),
    "weight_decay": Parameter(default=0.01, low=0, high=1000, heads=NEURAL_HEADS),
    "n_components": Parameter(default=64, low=1, high=4096, heads=NEURAL_HEADS),
    "n_seeds": Parameter(default=5, low=1, high=100, heads=NEURAL_HEADS),
    "attention_dim": Parameter(default=64, low=1, high=4096, heads=NEURAL_HEADS, poolings=("attention",)),
    "C": Parameter(default=10.0, low=1e-6, high=1e6, heads=("logistic",)),
    "alpha": Parameter(default=3.0, low=1e-6, high=1e6, heads=("ridge",)),
    "n_trees": Parameter(default=100, low=1, high=10_000, heads=("lightgbm",)),
    "n_leaves": Parameter(default=7, low=2, high=1024, heads=("lightgbm",)),
    "shrinkage": Parameter(default=0.1, low=0, high=1, above_low=True, heads=("lightgbm",)),
}
"""Every setting of a strategy by name."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How bags become labels: pooling, fusion, head and their settings.

    Parameters
    ----------
    pooling : {"mean", "mean-std", "attention"}
        How the clips of a recording become one vector. ``attention`` is learnt together with a
        neural head (softmax, coral, corn).
    fusion : {"video", "audio", "early"}
        One modality, or both concatenated clip by clip.
    head : {"softmax", "coral", "corn", "logistic", "ridge", "lightgbm"}
        What turns the vector into probabilities of the levels.
    params : mapping of str to int, float or str
        Settings that differ from the defaults in ``PARAMETERS``.

    Raises
    ------
    StrategyError
        A name or setting does not exist, is of the wrong type, or does not fit the others.

    Examples
    --------
    >>> strategy = Strategy.parse("attention/early/corn:hidden=64,dropout=0.2")
    >>> strategy.head, strategy.params["hidden"], str(strategy)
    ('corn', 64, 'attention/early/corn:hidden=64,dropout=0.2')
    """

    pooling: str
    fusion: str
    head: str
    params: Mapping[str, ParamValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("pooling", self.pooling, POOLINGS)
        check_name("fusion", self.fusion, FUSIONS)
        check_name("head", self.head, HEADS)
        check_pair(self.pooling, self.head)
        object.__setattr__(self, "params", check_params(self.params, pooling=self.pooling, head=self.head))

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """Read ``pooling/fusion/head[:name=value,...]``.

        Raises
        ------
        StrategyError
            The text is not written so, or names something that does not exist.
        """
        names, colon, settings = text.strip().partition(":")
        parts = names.split("/")
        if len(parts) != 3 or (colon and not settings):
            raise StrategyError(
                f"{text!r} is not a strategy. Expected pooling/fusion/head[:name=value,...], "
                "for example mean/early/logistic or attention/early/corn:hidden=128,dropout=0.3."
            )
        pooling, fusion, head = (part.strip() for part in parts)
        return cls(pooling=pooling, fusion=fusion, head=head, params=_parse_params(text, settings))

    def __str__(self) -> str:
        names = f"{self.pooling}/{self.fusion}/{self.head}"
        settings = ",".join(f"{name}={_text(value)}" for name, value in self.params.items())
        return f"{names}:{settings}" if settings else names

    def __hash__(self) -> int:
        return hash((self.pooling, self.fusion, self.head, frozenset(self.params.items())))


def make_grid(
    poolings: Sequence[str], fusions: Sequence[str], heads: Sequence[str]
) -> tuple[list[Strategy], list[str]]:
    """Every combination that exists, and a sentence for each that does not.

    Parameters
    ----------
    poolings, fusions, heads : sequence of str
        Names; a head may carry settings, as ``corn:hidden=64``.

    Returns
    -------
    strategies : list of Strategy
    skipped : list of str
        What was left out and why.

    Raises
    ------
    StrategyError
        A name does not exist, or no combination fits.
    """
    wanted = [(pooling, *_head_and_params(head)) for pooling in poolings for head in heads]
    strategies: dict[Strategy, None] = {}
    skipped = []
    for pooling, head, params in wanted:
        check_name("pooling", pooling, POOLINGS)
        check_name("head", head, HEADS)
        try:
            check_pair(pooling, head)
        except StrategyError as error:
            skipped.append(str(error))
            continue
        for fusion in fusions:
            strategies[Strategy(pooling=pooling, fusion=fusion, head=head, params=params)] = None
    if not strategies:
        raise StrategyError(" ".join(skipped) or "No strategy is left: give a pooling, a fusion and a head at least.")
    return list(strategies), list(dict.fromkeys(skipped))


def check_name(what: str, name: object, known: Sequence[str]) -> None:
    """Refuse a name that is not known, answering with the nearest that is."""
    if name in known:
        return
    raise StrategyError(f"There is no {what} {name!r}.{_nearest(str(name), known)} Known: {', '.join(known)}.")


def check_pair(pooling: str, head: str) -> None:
    """Refuse a pooling and a head that cannot be trained together."""
    if pooling == "attention" and head not in NEURAL_HEADS:
        raise StrategyError(
            f"Attention pooling does not go with the head {head}: its weights are learnt together with a neural "
            f"head. Use the head {', '.join(NEURAL_HEADS[:-1])} or {NEURAL_HEADS[-1]}, or another pooling."
        )


def check_params(params: Mapping[str, object], *, pooling: str, head: str) -> dict[str, ParamValue]:
    """Settings in their own types, all of which the pooling and the head have."""
    own = [name for name, known in PARAMETERS.items() if head in known.heads and pooling in known.poolings]
    for name in params:
        if name not in PARAMETERS:
            raise StrategyError(f"There is no setting {name!r}.{_nearest(name, own)} {head} has: {', '.join(own)}.")
        if name not in own:
            raise StrategyError(f"{name} is no setting of {pooling} with {head}. It has: {', '.join(own)}.")
    return {name: PARAMETERS[name].check(name, value) for name, value in params.items()}


def _parse_params(text: str, settings: str) -> dict[str, ParamValue]:
    params: dict[str, ParamValue] = {}
    for setting in settings.split(",") if settings else ():
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise StrategyError(f"{text!r}: {setting!r} is not a setting. Expected name=value, as hidden=128.")
        if name in params:
            raise StrategyError(f"{text!r}: the setting {name} is given twice. Give it once.")
        params[name] = value
    return params


def _head_and_params(text: str) -> tuple[str, dict[str, ParamValue]]:
    head, _, settings = text.partition(":")
    return head, _parse_params(text, settings)


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""


def _text(value: ParamValue) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
