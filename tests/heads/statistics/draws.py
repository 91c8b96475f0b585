"""Predictions to count, drawn by chance."""

import numpy as np


def predictions(n_groups=12, per_group=4, n_classes=3, repeats=1, right=0.6, seed=0):
    """Groups, ranks, predicted (repeats, n) and proba (repeats, n, K); right more often than by chance."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), per_group)
    ranks = random.integers(0, n_classes, len(groups))
    proba = random.dirichlet(np.ones(n_classes), size=(repeats, len(groups)))
    proba = (1 - right) * proba + right * np.eye(n_classes)[ranks] * random.random((repeats, len(groups), 1))
    proba /= proba.sum(-1, keepdims=True)
    return groups, ranks, proba.argmax(-1), proba
