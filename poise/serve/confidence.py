"""Which levels a prediction leaves possible: sets that hold the true level as often as they promise.

Calibrated in training on predictions of recordings that the model had not learnt from; the sets themselves live in
:mod:`poise.heads.statistics.conformal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.compare import Comparison
from poise.heads.statistics.conformal import LEVEL, calibrate_sets, groups_needed, predict_sets
from poise.serve.values import is_number


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """How sets of levels are made of probabilities.

    Attributes
    ----------
    level : float
        Share of recordings of new groups whose set holds the true level.
    threshold : float
        Up to which a set grows.
    """

    level: float
    threshold: float

    def levels(self, proba: NDArray[np.float64], rank: int) -> range:
        """The neighbouring levels that one prediction leaves possible.

        Parameters
        ----------
        proba : ndarray of shape (n_classes,), float64
        rank : int
            The predicted level, which is always among them: the median of a distribution need not be its mode.
        """
        low, high = predict_sets(proba[None], self.threshold)
        return range(min(int(low[0]), rank), max(int(high[0]), rank) + 1)


def calibrate(found: Comparison, strategy: str) -> dict[str, Any]:
    """What a bundle keeps of how sure predictions may be; ``training.confidence`` of the bundle.

    Parameters
    ----------
    found : Comparison
        How the strategy was validated; the hardest protocol counts.
    strategy : str

    Returns
    -------
    dict
        ``level``, ``threshold``, ``protocol`` and ``n_groups``; a threshold of None where there are too few groups to
        promise anything, with the ``reason``.
    """
    protocol, rows = found.hardest, found.scored_rows
    seen = found.predictions[strategy, protocol]
    place = np.searchsorted(seen.rows, rows)
    proba, repeats = seen.proba[:, place], len(seen.proba)
    groups = found.manifest.groups(found.cluster)[rows]
    n_groups, needed = len(np.unique(groups)), groups_needed(LEVEL)
    said = {"level": LEVEL, "protocol": protocol, "n_groups": n_groups}
    if n_groups < needed:
        return {
            **said,
            "threshold": None,
            "reason": f"{n_groups} {found.cluster}s, {needed} are needed to promise {LEVEL:.0%}",
        }
    threshold = calibrate_sets(
        proba.reshape(-1, proba.shape[-1]),
        np.tile(found.manifest.labels[rows], repeats),
        LEVEL,
        groups=np.tile(groups, repeats),
    )
    return {**said, "threshold": threshold, "reason": ""}


def read_confidence(training: Mapping[str, Any]) -> Confidence | None:
    """What :func:`calibrate` gave, read from a bundle.

    Parameters
    ----------
    training : mapping
        ``training`` of the bundle.

    Returns
    -------
    Confidence or None
        None where nothing is promised.

    Raises
    ------
    BundleError
        It is something else.
    """
    said = training.get("confidence")
    if said is None:
        return None
    if not isinstance(said, Mapping) or not _is_share(said.get("level")):
        raise BundleError(
            f"The model's training.confidence is {said!r:.80}, expected a level between 0 and 1. Train it again."
        )
    if said.get("threshold") is None:
        return None
    if not _is_share(said["threshold"]):
        raise BundleError(
            f"The model's training.confidence.threshold is {said['threshold']!r:.80}, expected a number from 0 to 1. "
            "Train it again."
        )
    return Confidence(level=float(said["level"]), threshold=float(said["threshold"]))


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1
