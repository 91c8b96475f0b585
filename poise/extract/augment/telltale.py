"""Whether copies tell the label: because one class has more of them, or had something else done to them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError
from poise.manifest import Manifest
from poise.recipe import Augmentation

MIN_GAP = 0.1
"""Shares of two classes that lie closer tell next to nothing."""

MAX_CHANCE = 0.05
"""A gap that chance makes more often than this is not reported (chi-squared test of independence)."""

AUC_OF_COPIES = "0.78 to 0.94"
"""How well copies were told from originals by their embeddings, on the interviews that poise grew from."""

_CONSEQUENCE = "a head can learn the label from what was done to the file"


def find_telltale_copies(manifest: Manifest) -> list[str]:
    """What the copies of a table give away about the labels.

    Parameters
    ----------
    manifest : Manifest
        With labels.

    Returns
    -------
    list of str
        Sentences with the numbers; none if copies are spread evenly.
    """
    if not manifest.n_classes or not manifest.is_copy.any():
        return []
    told = []
    shares = _told_shares(manifest, manifest.is_copy, np.ones(len(manifest), dtype=bool))
    if shares:
        told.append(
            f"Being a copy tells the label: copies are {shares}. So {_CONSEQUENCE}; `poise augment "
            "--copies N` on the originals alone gives every class the same share."
        )
    words = [_words(text) for text in manifest.augmentations]
    kinds = []
    for word in sorted({word for row in np.flatnonzero(manifest.is_copy) for word in words[row]}):
        shares = _told_shares(manifest, np.array([word in there for there in words]), manifest.is_copy)
        if shares:
            kinds.append(f"{word!r} in {shares}")
    if kinds:
        told.append(f"The kind of augmentation tells the label, among copies: {'; '.join(kinds)}. So {_CONSEQUENCE}.")
    return told


def explain_balance(shares: Mapping[str, float]) -> str:
    """What filled-up classes mean for a head, in one paragraph; empty if all have the same share of copies.

    Parameters
    ----------
    shares : mapping of str to float
        Share of copies in each class, by its name.
    """
    if len(set(shares.values())) < 2:
        return ""
    listed = ", ".join(f"{share:.0%} of {name!r}" for name, share in shares.items())
    return (
        f"--balance gives classes different shares of copies: {listed}. Every class gets the same kinds of "
        f"augmentation, but copies can be told from originals (measured on other interviews: AUC {AUC_OF_COPIES}), so "
        "being a copy hints at the class. `poise compare` scores originals only by default; look at those figures."
    )


def _words(augmentation: str) -> set[str]:
    """The kinds of change that a text names: ``bc_speed_pitch+0.5`` is bc, speed and pitch."""
    try:
        return set(Augmentation.parse(augmentation).parts)
    except ExtractSettingsError:
        return set(re.findall(r"[^\W\d_]{2,}", re.sub(r"(?<=\d)dB", "", augmentation).lower()))


def _told_shares(manifest: Manifest, has: NDArray[np.bool_], among: NDArray[np.bool_]) -> str:
    """Shares by class of the rows that have something, as text; empty where they do not differ by more than chance."""
    ranks = [rank for rank in range(manifest.n_classes) if (among & (manifest.labels == rank)).any()]
    rows = [among & (manifest.labels == rank) for rank in ranks]
    n_has, n = ([int((has & there).sum()) for there in rows], [int(there.sum()) for there in rows])
    shares = [part / whole for part, whole in zip(n_has, n, strict=True)]
    if max(shares) - min(shares) < MIN_GAP or _chance(n_has, n) > MAX_CHANCE:
        return ""
    return ", ".join(
        f"{share:.0%} of {manifest.label_names[rank]!r} ({part} of {whole})"
        for rank, share, part, whole in zip(ranks, shares, n_has, n, strict=True)
    )


def _chance(n_has: Sequence[int], n: Sequence[int]) -> float:
    """How often independence gives classes so different shares: Pearson's chi-squared test."""
    from scipy.special import chdtrc

    has, size = np.array(n_has, float), np.array(n, float)
    expected = size * has.sum() / size.sum()
    lacking = size - expected
    if not expected.all() or not lacking.all():
        return 1.0
    statistic = float(((has - expected) ** 2 * (1 / expected + 1 / lacking)).sum())
    return float(chdtrc(len(n) - 1, statistic))
