"""Whether features tell copies from originals: then a head may learn what was done to a recording, not its level."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from poise.errors import SplitError
from poise.heads.audit.ladder import Subject
from poise.heads.contestants import Contest
from poise.heads.splits import DEFAULT_FOLDS, Protocol, make_folds
from poise.heads.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class CopyDetection:
    """How well a head tells copies from originals in groups that it has not seen.

    Attributes
    ----------
    auc : float or None
        Area under the ROC curve over all out-of-fold predictions: 0.5 chance, 1 perfect.
    protocol : str
    reason : str
        Why there is no number.
    """

    auc: float | None
    protocol: str
    reason: str = ""


def detect_copies(subject: Subject) -> CopyDetection:
    """Fit the default head on being a copy, under folds that keep speakers apart, or sources without them.

    No label is read.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    CopyDetection
    """
    from sklearn.metrics import roc_auc_score

    manifest, rows, column = subject.manifest, subject.rows, subject.cluster
    n_groups = len(np.unique(subject.bound(column)[rows]))
    protocol = Protocol(kind="group", column=column, n_folds=max(2, min(DEFAULT_FOLDS, n_groups)))
    asked = replace(manifest, labels=manifest.is_copy.astype(np.int64), label_names=("original", "copy"))
    bags, seed = subject.contest.bags, subject.contest.seed
    try:
        folds = make_folds(protocol, asked, rows=rows, keys=bags.keys, seed=seed)
    except SplitError as error:
        return CopyDetection(auc=None, protocol=str(protocol), reason=str(error))
    strategy = Strategy(pooling="mean", fusion=_without_gate(subject.strategy.fusion), head="cumulative")
    found = Contest(bags=bags, manifest=asked, seed=seed).validate(strategy, protocol, folds)
    auc = roc_auc_score(manifest.is_copy[found.rows], found.proba[0, :, 1])
    return CopyDetection(auc=float(auc), protocol=str(protocol))


def _without_gate(fusion: str) -> str:
    return "mid" if fusion == "gated" else fusion
