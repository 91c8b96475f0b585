"""What came out of comparing strategies: leaderboard, predictions, differences, audit; as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poise.heads.attention import Glance
from poise.heads.audit.audit import Audit
from poise.heads.curve import Curves
from poise.heads.leaderboard import LeaderboardRow
from poise.heads.splits import Fold, Protocol, hash_folds
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What came out of comparing strategies.

    Attributes
    ----------
    rows : list of LeaderboardRow
        Protocol after protocol; baselines first, then by quadratic kappa, best first.
    folds : dict of str to list of Fold
        Folds of each protocol.
    predictions : dict of (strategy, protocol) to OutOfFold
    manifest : Manifest
    scored_rows : ndarray of int64
        Rows of the manifest that are scored.
    cluster : str
        Column whose groups the intervals draw.
    warnings : list of str
        Plain sentences on what was left out.
    repeats, seed : int
    differences : list of dict
        The leader of each protocol against each other strategy, as `find_differences` gives them.
    curves : Curves or None
        Learning curves of the leader under the hardest protocol.
    glances : list of Glance
        Where the best strategy with attention looked, under the hardest protocol.
    audit : Audit or None
        Whether the leader's figures are real; None where it was not asked for.
    """

    rows: list[LeaderboardRow]
    folds: dict[str, list[Fold]]
    predictions: dict[tuple[str, str], OutOfFold]
    manifest: Manifest
    scored_rows: NDArray[np.int64]
    cluster: str
    warnings: list[str]
    repeats: int
    seed: int
    differences: list[dict[str, Any]]
    curves: Curves | None = None
    glances: list[Glance] = field(default_factory=list)
    audit: Audit | None = None

    @property
    def hardest(self) -> str:
        """The protocol that keeps most apart; of several alike the first."""
        return max(self.folds, key=lambda text: Protocol.parse(text).hardness)

    def to_frame(self) -> DataFrame:
        """The leaderboard with a row for each strategy and protocol.

        Returns
        -------
        pandas.DataFrame
            Columns ``strategy, protocol, scored, n, baseline``, the metrics, ``qwk_low`` and ``qwk_high`` (ends of the
            95 % interval); what is undefined is NaN. As ``leaderboard.csv`` of a study.
        """
        import pandas as pd

        return pd.DataFrame([row.cells() for row in self.rows])

    def to_json(self, *, study: str | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The result of ``poise compare`` as JSON.

        Parameters
        ----------
        study : str, optional
            Where the study was written.
        settings : mapping, optional
            How it came about.
        """
        return {
            "leaderboard": [row.to_json() for row in self.rows],
            "comparisons": self.differences,
            "audit": self.audit.to_json() if self.audit else None,
            **({} if self.audit else {"audit_reason": "it was not asked for"}),
            "learning_curve": self.curves.to_json() if self.curves else None,
            "study": study,
            "warnings": list(self.warnings),
            "label_names": list(self.manifest.label_names),
            "interval_groups": self.cluster,
            "splits": {protocol: hash_folds(folds, self.manifest) for protocol, folds in self.folds.items()},
            "repeats": self.repeats,
            "seed": self.seed,
            "settings": dict(settings) if settings else None,
        }
