"""Where a strategy with learnt attention looked, in recordings that it had not learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from poise.heads.classifier import ClipClassifier
from poise.heads.contestants import Contest
from poise.heads.inputs import center_groups
from poise.heads.parameters import LEARNT_POOLINGS
from poise.heads.splits import Fold, Protocol, bound_groups
from poise.heads.strategy import Strategy
from poise.heads.validate import derive_state

MOST_RECORDINGS = 200
"""More are not written: a reader looks at a few."""


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One clip of a recording, and what it counted.

    Attributes
    ----------
    strategy, protocol : str
    row : int
        Of the manifest.
    clip : int
        Its number in the recording.
    start_s, end_s : float
        NaN where unknown.
    weight : float
        The weights of a recording sum to 1.
    """

    strategy: str
    protocol: str
    row: int
    clip: int
    start_s: float
    end_s: float
    weight: float


def learns_attention(strategy: Strategy) -> bool:
    """Whether a strategy weighs clips, and can be fitted alone."""
    return strategy.pooling in LEARNT_POOLINGS


def look_back(
    contest: Contest,
    strategy: Strategy,
    protocol: Protocol,
    folds: Sequence[Fold],
    *,
    on_fit: Callable[[], None] | None = None,
) -> Iterator[Glance]:
    """Attention of the models of the first repeat over the clips of their test side, fold after fold.

    Parameters
    ----------
    contest : Contest
    strategy : Strategy
        With a learnt pooling.
    protocol : Protocol
    folds : sequence of Fold
    on_fit : callable, optional
        Called after each fit.
    """
    manifest, bags = contest.manifest, contest.bags
    groups = bound_groups(manifest, protocol.column, keys=bags.keys) if protocol.column else None
    column = strategy.settings["center"]
    if column != "none":
        bags = center_groups(bags, manifest.groups(column))
    plain = {name: value for name, value in strategy.params.items() if name != "center"}
    alone = Strategy(pooling=strategy.pooling, fusion=strategy.fusion, head=strategy.head, params=plain)
    left = MOST_RECORDINGS
    for fold in folds:
        if fold.repeat or left <= 0:
            return
        model = ClipClassifier.from_strategy(alone, random_state=derive_state(contest.seed, 0, fold.fold))
        own = None if groups is None else groups[fold.train]
        model.fit(bags[fold.train], manifest.labels[fold.train], groups=own)
        shown = fold.test[:left]
        left -= len(shown)
        for row, (spans, shares) in zip(shown.tolist(), model.timeline(bags[shown]), strict=True):
            for clip, ((start, end), weight) in enumerate(zip(spans.tolist(), shares.tolist(), strict=True)):
                yield Glance(
                    strategy=str(strategy), protocol=str(protocol), row=row, clip=clip, start_s=start, end_s=end,
                    weight=weight,
                )  # fmt: skip
        if on_fit:
            on_fit()
