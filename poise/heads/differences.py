"""How much better the leading strategy is than each other one, and whether that could be luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poise.heads.leaderboard import LeaderboardRow
from poise.heads.metrics import ranked_probability
from poise.heads.splits import Fold
from poise.heads.statistics.corrected import CorrectedT, corrected_t_test
from poise.heads.statistics.paired import compare_pairs
from poise.heads.validate import OutOfFold
from poise.manifest import Manifest


def find_differences(
    rows: Sequence[LeaderboardRow],
    predictions: Mapping[str, OutOfFold],
    folds: Sequence[Fold],
    manifest: Manifest,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """The leader of one protocol against everything that looks at the features, as JSON.

    Parameters
    ----------
    rows : sequence of LeaderboardRow
        Of one protocol, best first.
    predictions : mapping of str to OutOfFold
        Of every strategy of these rows.
    folds : sequence of Fold
    manifest : Manifest
    seed : int
        Of the draws of groups.

    Returns
    -------
    list of dict
        For each other strategy the difference of quadratic kappa with a 95 % interval, p-values of this pair alone
        and corrected for the number compared, and a corrected t-test of the folds' ranked probability scores.
    """
    # the first is the best strategy that is no baseline
    ordered = sorted((row for row in rows if row.strategy in predictions), key=lambda row: row.baseline)
    if len(ordered) < 2 or ordered[0].baseline:
        return []
    leader = ordered[0]
    found = compare_pairs({row.strategy: row.tally for row in ordered}, leader.strategy, seed=seed)
    return [
        {
            "protocol": leader.protocol,
            "scored": leader.scored,
            **one.to_json(),
            "corrected_t": {
                "metric": "rps",
                **_test_folds(predictions[leader.strategy], predictions[one.b], folds, manifest).to_json(),
            },
        }
        for one in found
    ]


def _test_folds(first: OutOfFold, second: OutOfFold, folds: Sequence[Fold], manifest: Manifest) -> CorrectedT:
    """The folds' mean ranked probability score of one less that of the other; below 0 the first is better."""
    differences = []
    for fold in folds:
        place = np.searchsorted(first.rows, fold.test)
        one, other = (
            ranked_probability(found.proba[fold.repeat, place], manifest.labels[fold.test]).mean()
            for found in (first, second)
        )
        differences.append(one - other)
    return corrected_t_test(differences, [len(fold.train) for fold in folds], [len(fold.test) for fold in folds])
