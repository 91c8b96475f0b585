"""Ridge regression on the ranks for several penalties at once, with thresholds learnt from groups held out.

What the regression says of groups it was not given is what its score looks like on new rows: its own fitted values
would look far too sure with more columns than rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.heads.exact.one_score import fit_one_score, prior_cuts

SLOPE_PENALTY = 0.01


def fit_ridge_scores(
    rows: NDArray[np.float64],
    ranks: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalties: NDArray[np.float64],
    groups: NDArray[np.generic],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients and intercepts, and the score of each row by the regression without its group.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features), float64
    ranks : ndarray of shape (n_rows,), int64
    weights : ndarray of shape (n_rows,), float64
        Above 0.
    penalties : ndarray of shape (n_models,), float64
        Above 0; the intercept carries none.
    groups : ndarray of shape (n_rows,)

    Returns
    -------
    coef : ndarray of shape (n_models, n_features), float64
    intercept : ndarray of shape (n_models,), float64
    unseen : ndarray of shape (n_models, n_rows), float64
    """
    share, root = weights / weights.sum(), np.sqrt(weights)
    center, mean = share @ rows, float(share @ ranks)
    left, lengths, right = np.linalg.svd(root[:, None] * (rows - center), full_matrices=False)
    targets = root * (ranks - mean)
    shrunk = lengths**2 / (lengths**2 + penalties[:, None])  # (n_models, n_axes)
    coef = (shrunk / np.maximum(lengths, np.finfo(np.float64).tiny) * (left.T @ targets)) @ right
    residuals = targets - (shrunk * (left.T @ targets)) @ left.T  # (n_models, n_rows)
    unseen = np.empty_like(residuals)
    number = np.unique(groups, return_inverse=True)[1]
    for group in range(number.max() + 1):
        own = np.flatnonzero(number == group)
        if len(own) == len(rows):  # without its only group there is no regression
            return coef, mean - coef @ center, np.full_like(residuals, mean)
        # leaving rows out changes their residuals by the inverse of what they do not explain themselves
        hat = np.einsum("ia,ma,ja->mij", left[own], shrunk, left[own]) + np.outer(root[own], root[own]) / weights.sum()
        free = np.eye(len(own)) * (1 + 1e-9) - hat
        unseen[:, own] = ranks[own] - np.linalg.solve(free, residuals[:, own, None])[..., 0] / root[own]
    return coef, mean - coef @ center, unseen


def fit_cutpoints(
    scores: NDArray[np.float64], ranks: NDArray[np.int64], weights: NDArray[np.float64], n_levels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Proportional odds of each of several scores: how sharply it parts the levels, and rising cutpoints.

    Parameters
    ----------
    scores : ndarray of shape (n_scores, n_rows), float64
    ranks : ndarray of shape (n_rows,), int64
        Each level is there.
    weights : ndarray of shape (n_rows,), float64
        Above 0.
    n_levels : int

    Returns
    -------
    slopes : ndarray of shape (n_scores,), float64
        0 where higher scores do not go with higher levels: then the cutpoints say the label distribution.
    cuts : ndarray of shape (n_scores, n_levels - 1), float64
        Level k is exceeded with the probability ``sigmoid(slope * score - cuts[k])``.
    """
    shape = scores.shape
    found = fit_one_score(
        "cumulative",
        scores[:, :, None],
        np.broadcast_to(ranks, shape),
        np.broadcast_to(weights, shape),
        np.full(len(scores), SLOPE_PENALTY),
        n_levels=n_levels,
    )
    rising = found.coef[:, 0] > 0
    prior = prior_cuts(ranks[None], weights[None], n_levels)
    return np.where(rising, found.coef[:, 0], 0.0), np.where(rising[:, None], found.cuts, prior)
