"""The corrected t-test of repeated cross-validation, for those who expect one; `paired` says more with less assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class CorrectedT:
    """Mean difference over folds and how surprising it is.

    Attributes
    ----------
    difference : float or None
    t : float or None
    p : float or None
        Two-sided.
    n : int
        Folds over all repeats.
    reason : str
        Why a number is None.
    """

    difference: float | None
    t: float | None
    p: float | None
    n: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Difference and p; the reason where there is no p."""
        return {"difference": self.difference, "p": self.p, **({"reason": self.reason} if self.reason else {})}


def corrected_t_test(differences: ArrayLike, n_train: ArrayLike, n_test: ArrayLike) -> CorrectedT:
    """Test a difference of scores per fold of a repeated cross-validation against 0.

    Folds share training rows, so their differences vary less than those of new data would: the variance is taken
    ``1 / n + n_test / n_train`` times instead of ``1 / n`` times.

    Parameters
    ----------
    differences : array of shape (n,)
        Score of one strategy less that of the other, in each fold of each repeat.
    n_train, n_test : int or array of shape (n,)
        Recordings on each side; groups where these are what is independent.

    Returns
    -------
    CorrectedT

    References
    ----------
    Nadeau, Bengio (2003). Inference for the generalization error. doi:10.1023/A:1024068626366
    Bouckaert, Frank (2004). Evaluating the replicability of significance tests. doi:10.1007/978-3-540-24775-3_3
    """
    found = np.asarray(differences, dtype=np.float64)
    n = len(found)
    mean = float(found.mean()) if n and np.isfinite(found).all() else None
    if mean is None:
        return CorrectedT(difference=None, t=None, p=None, n=n, reason="the score is not defined in every fold")
    if n < 2:
        return CorrectedT(difference=mean, t=None, p=None, n=n, reason="one fold has no spread, a test needs two")
    spread = float(found.std(ddof=1))
    if spread <= np.finfo(np.float64).eps * np.abs(found).max():
        return CorrectedT(difference=mean, t=None, p=None, n=n, reason="the difference is the same in every fold")
    from scipy.stats import t as student

    ratio = float(np.mean(np.asarray(n_test) / np.asarray(n_train)))
    t = mean / (spread * np.sqrt(1 / n + ratio))
    return CorrectedT(difference=mean, t=float(t), p=float(2 * student.sf(abs(t), n - 1)), n=n)
