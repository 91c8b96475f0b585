"""From the tokens of a transformer to the embedding of a clip: which layers are read, and how their tokens are pooled.

Torch is imported only where tensors are read: knowing the shape of an embedding must not take its seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from poise.errors import ExtractSettingsError

if TYPE_CHECKING:
    import torch

Layers = Literal["last", "all"] | Sequence[int]
"""``last`` (what the model calls its last hidden state), ``all``, or numbers of hidden states."""

Pooling = Literal["mean", "cls", "mean-std"]
"""How the tokens of one layer become one vector."""

WITH_CLS = ("timesformer", "vivit")
"""Model types whose first token stands for the whole clip."""

_SUMMARIES = {"mean": "mean over {}", "cls": "CLS token", "mean-std": "mean and standard deviation over {}"}


def parse_layers(text: str) -> Layers:
    """What ``last``, ``all`` or numbers separated by commas mean, as a command line gives them.

    Raises
    ------
    ExtractSettingsError
        It is none of these.

    Examples
    --------
    >>> parse_layers("0,6,-1")
    [0, 6, -1]
    """
    if text in ("last", "all"):
        return "last" if text == "last" else "all"
    if not re.fullmatch(r"\s*-?\d{1,4}\s*(,\s*-?\d{1,4}\s*)*", text):
        raise ExtractSettingsError(
            f"Layers cannot be {text!r}. Expected last, all, or numbers separated by commas, as 0,6,12 or -1."
        )
    return [int(number) for number in text.split(",")]


@dataclass(frozen=True, kw_only=True)
class Readout:
    """Which hidden states of a model are read, and how.

    Hidden states are numbered as transformers numbers them: 0 goes into the first block, k comes out of block k.

    Attributes
    ----------
    layers : tuple of int or None
        Numbers of hidden states, each at least 0; None for the last hidden state, with no axis for layers.
    pooling : {"mean", "cls", "mean-std"}
        How tokens are pooled.
    width : int
        Length of one token.
    has_cls : bool
        Whether the first token stands for the whole clip; it is pooled with no others.
    tokens : str
        What the other tokens are called.
    """

    layers: tuple[int, ...] | None
    pooling: Pooling
    width: int
    has_cls: bool
    tokens: str

    @classmethod
    def choose(
        cls, layers: Layers, pooling: str, *, source: str, n_blocks: int, width: int, has_cls: bool, tokens: str
    ) -> Readout:
        """The readout that was asked for, of a model with that many blocks.

        Raises
        ------
        ExtractSettingsError
            The model has no such layer, or no such token, or there is no such pooling.
        """
        if pooling not in get_args(Pooling):
            raise ExtractSettingsError(f"There is no pooling {pooling!r}. Expected {', '.join(get_args(Pooling))}.")
        if pooling == "cls" and not has_cls:
            raise ExtractSettingsError(
                f"{source} has no CLS token, got pooling='cls'. Models with one are {' and '.join(WITH_CLS)}; expected "
                "mean or mean-std."
            )
        chosen = None if isinstance(layers, str) and layers == "last" else _numbers(layers, source, n_blocks)
        return cls(layers=chosen, pooling=pooling, width=width, has_cls=has_cls, tokens=tokens)  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        """Length of the vector of one layer."""
        return 2 * self.width if self.pooling == "mean-std" else self.width

    @property
    def n_layers(self) -> int | None:
        """Number of layers, None where there is no axis for them."""
        return None if self.layers is None else len(self.layers)

    @property
    def request(self) -> dict[str, bool]:
        """What a model of transformers must be asked for in every call, so that :meth:`read` finds it."""
        return {} if self.layers is None else {"output_hidden_states": True}

    def settings(self) -> dict[str, Any]:
        """What changes the numbers, as JSON values."""
        pooling = _SUMMARIES[self.pooling].format(self.tokens)
        if self.layers is None:
            return {"layer": "last", "pooling": pooling}
        return {"layers": list(self.layers), "n_layers": len(self.layers), "pooling": pooling}

    @staticmethod
    def options(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments ``layers`` and ``pooling`` that gave these :meth:`settings`; the defaults where it has none."""
        text = str(settings.get("pooling", "mean"))
        found = (name for name, summary in _SUMMARIES.items() if text.startswith(summary.removesuffix("{}")))
        return {"layers": settings.get("layers", "last"), "pooling": next(found, "mean")}

    def read(self, output: Any, n_tokens: Sequence[int] | None = None) -> torch.Tensor:
        """Embeddings from what a model of transformers returned.

        Parameters
        ----------
        output : ModelOutput
            ``last_hidden_state`` of shape (n_clips, n_tokens, width), or ``hidden_states``, a sequence of such.
        n_tokens : sequence of int, optional
            How many tokens of each clip count. Default: all.

        Returns
        -------
        Tensor of shape (n_clips, dim) or (n_clips, n_layers, dim), float32
        """
        import torch

        if self.layers is None:
            return self._pool(output.last_hidden_state.float(), n_tokens)  # (n_clips, dim)
        states = [self._pool(output.hidden_states[number].float(), n_tokens) for number in self.layers]
        return torch.stack(states, dim=1)  # (n_clips, n_layers, dim)

    def _pool(self, states: torch.Tensor, n_tokens: Sequence[int] | None) -> torch.Tensor:
        import torch

        if self.pooling == "cls":
            return states[:, 0]  # (n_clips, width)
        states = states[:, 1:] if self.has_cls else states
        if n_tokens is None:
            return self._summarise(states)
        return torch.cat([self._summarise(states[i : i + 1, :n]) for i, n in enumerate(n_tokens)])

    def _summarise(self, states: torch.Tensor) -> torch.Tensor:
        return states.mean(dim=1) if self.pooling == "mean" else mean_and_std(states)


def mean_and_std(states: torch.Tensor) -> torch.Tensor:
    """Mean over time, then the population's standard deviation.

    Parameters
    ----------
    states : Tensor of shape (n_clips, n_steps, width), float32

    Returns
    -------
    Tensor of shape (n_clips, 2 * width), float32
    """
    import torch

    variance, mean = torch.var_mean(states, dim=1, correction=0)
    return torch.cat([mean, variance.sqrt()], dim=1)  # (n_clips, 2 * width)


def _numbers(layers: Layers, source: str, n_blocks: int) -> tuple[int, ...]:
    """Numbers of hidden states, counted from 0."""
    n_states = n_blocks + 1
    if isinstance(layers, str) and layers == "all":
        return tuple(range(n_states))
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise ExtractSettingsError(f"Layers cannot be {layers!r}. Expected last, all, or a list of numbers.")
    wrong = [number for number in layers if type(number) is not int or not -n_states <= number < n_states]
    if wrong:
        raise ExtractSettingsError(
            f"{source} has no layer {wrong[0]!r}. Expected numbers from 0, which goes into the first block, to "
            f"{n_blocks}, which comes out of the last, or from -{n_states} to -1, counted from the end."
        )
    numbers = tuple(int(number) % n_states for number in layers)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ExtractSettingsError(f"Got the layers {list(layers)}. Expected at least one, and none twice.")
    return numbers
