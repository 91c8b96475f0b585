"""Strategies: which pooling, fusion, head and settings, as one checked value that parses and prints.

Nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from poise.errors import StrategyError
from poise.heads.parameters import (
    FUSIONS,
    HEADS,
    LEARNT_POOLINGS,
    NEURAL_HEADS,
    PARAMETERS,
    POOLINGS,
    HeadSettings,
    ParamValue,
    nearest,
)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How bags become labels: pooling, fusion, head and their settings.

    Parameters
    ----------
    pooling : {"mean", "mean-std", "max", "attention", "gated-attention"}
        How the clips of a recording become one vector. The last two are learnt together with a neural head.
    fusion : {"video", "audio", "early", "mid", "gated", "late"}
        One modality; or both concatenated clip by clip, concatenated after pooling, joined by a learnt gate (neural
        heads), or each with a head of its own whose probabilities are averaged.
    head : {"cumulative", "all-threshold", "frank-hall", "logistic", "ridge", "softmax", "coral", "corn", \
"regression", "lightgbm"}
        What turns the vector into probabilities of the levels: five exact linear heads, four neural ones, trees.
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
        check_fit(self.pooling, self.fusion, self.head)
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
                "for example mean/early/cumulative or attention/early/corn:hidden=128,dropout=0.3."
            )
        pooling, fusion, head = (part.strip() for part in parts)
        return cls(pooling=pooling, fusion=fusion, head=head, params=_parse_params(text, settings))

    def __str__(self) -> str:
        names = f"{self.pooling}/{self.fusion}/{self.head}"
        settings = ",".join(f"{name}={_text(value)}" for name, value in self.params.items())
        return f"{names}:{settings}" if settings else names

    @property
    def settings(self) -> HeadSettings:
        """Names and settings, those not given at their defaults."""
        values = {name: self.params.get(name, known.default) for name, known in PARAMETERS.items()}
        return HeadSettings(pooling=self.pooling, fusion=self.fusion, head=self.head, values=values)

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
        for fusion in fusions:
            check_name("fusion", fusion, FUSIONS)
            try:
                check_fit(pooling, fusion, head)
            except StrategyError as error:
                skipped.append(str(error))
                continue
            strategies[Strategy(pooling=pooling, fusion=fusion, head=head, params=params)] = None
    if not strategies:
        raise StrategyError(" ".join(skipped) or "No strategy is left: give a pooling, a fusion and a head at least.")
    return list(strategies), list(dict.fromkeys(skipped))


def check_name(what: str, name: object, known: Sequence[str]) -> None:
    """Refuse a name that is not known, answering with the nearest that is."""
    if name in known:
        return
    raise StrategyError(f"There is no {what} {name!r}.{nearest(str(name), known)} Known: {', '.join(known)}.")


def check_fit(pooling: str, fusion: str, head: str) -> None:
    """Refuse a pooling or a fusion that is learnt together with a neural head, where the head is none."""
    if head in NEURAL_HEADS:
        return
    neural = f"{', '.join(NEURAL_HEADS[:-1])} or {NEURAL_HEADS[-1]}"
    if pooling in LEARNT_POOLINGS:
        raise StrategyError(
            f"{pooling.capitalize()} pooling does not go with the head {head}: its weights are learnt together with a "
            f"neural head. Use the head {neural}, or another pooling."
        )
    if fusion == "gated":
        raise StrategyError(
            f"Gated fusion does not go with the head {head}: its gate is learnt together with a neural head. Use the "
            f"head {neural}, or the fusion mid."
        )


def check_params(params: Mapping[str, object], *, pooling: str, head: str) -> dict[str, ParamValue]:
    """Settings in their own types, all of which the pooling and the head have."""
    own = [name for name, known in PARAMETERS.items() if head in known.heads and pooling in known.poolings]
    for name in params:
        if name not in PARAMETERS:
            raise StrategyError(f"There is no setting {name!r}.{nearest(name, own)} {head} has: {', '.join(own)}.")
        if name not in own:
            raise StrategyError(f"{name} is no setting of {pooling} with {head}. It has: {', '.join(own)}.")
    checked = {name: PARAMETERS[name].check(name, value) for name, value in params.items()}
    check_layer(checked.get("layer"), head)
    return checked


def check_layer(layer: object, head: str) -> None:
    """Refuse weights of layers that are learnt together with a neural head, where the head is none."""
    if layer == "learnt" and head not in NEURAL_HEADS:
        raise StrategyError(
            f"The weights of layers are learnt together with a neural head, which {head} is not. Use layer=mean or the "
            f"number of a layer, or the head {', '.join(NEURAL_HEADS[:-1])} or {NEURAL_HEADS[-1]}."
        )


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


def _text(value: ParamValue) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
