"""The protocols that are used when nobody asks for one: chosen on the recordings that are really split.

What a protocol is, and how it splits, does not live here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.errors import SplitError
from poise.heads.splits import DEFAULT_FOLDS, Protocol, bound_groups, make_folds
from poise.manifest import Manifest

MOST_LEFT_OUT = 20
"""Up to so many groups, one is left out at a time."""

MANY_FOLDS = 10
"""Above that, folds of groups."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What is validated by default.

    Attributes
    ----------
    protocols : tuple of Protocol
        Random folds for contrast first, then the harshest grouping that is possible.
    hindrance : str
        Why the fitting grouping is not possible, as the beginning of a sentence; empty where it is.
    note : str
        A sentence on what is used in place of the fitting grouping; empty where there is nothing to say.
    """

    protocols: tuple[Protocol, ...]
    hindrance: str = ""
    note: str = ""


def default_protocols(
    manifest: Manifest,
    *,
    rows: NDArray[np.int64] | None = None,
    keys: Sequence[str] | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> list[Protocol]:
    """Random folds for contrast, then the harshest grouping that these recordings allow.

    As :func:`choose_defaults`, without the reason why a grouping was not possible.
    """
    return list(choose_defaults(manifest, rows=rows, keys=keys, repeats=repeats, seed=seed).protocols)


def choose_defaults(
    manifest: Manifest,
    *,
    rows: NDArray[np.int64] | None = None,
    keys: Sequence[str] | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> Defaults:
    """Random folds for contrast, then the harshest grouping that these recordings allow.

    That is one speaker left out where speakers are given and this is possible, else folds by source
    where there are copies; without either, random folds alone.

    Parameters
    ----------
    manifest : Manifest
    rows : ndarray of int64, optional
        Rows that are split; all by default.
    keys, repeats, seed
        As in :func:`poise.heads.splits.make_folds`.

    Raises
    ------
    SplitError
        These recordings cannot be split at all.
    ManifestError
        Some speakers are given and some are not: no default would be honest.
    """
    rows = np.arange(len(manifest)) if rows is None else rows

    def first_possible(wanted: Iterable[Protocol]) -> tuple[list[Protocol], str]:
        """The first that works, and why the very first does not."""
        reasons = []
        for protocol in wanted:
            try:
                make_folds(protocol, manifest, rows=rows, keys=keys, repeats=repeats, seed=seed)
            except SplitError as error:
                reasons.append(str(error).split(". ")[0])
            else:
                return [protocol], "".join(reasons[:1])
        return [], "".join(reasons[:1])

    protocols, why = first_possible(_random_folds(manifest.labels[rows]))
    if not protocols:
        raise SplitError(
            f"The {len(rows)} usable recordings cannot be split into training and test sides: {why}. Expected two "
            "recordings or more of at least two levels; give more recordings."
        )
    grouped: list[Protocol] = []
    hindrance = note = ""
    if manifest.speakers is not None:
        manifest.groups("speaker")  # an incomplete column has no honest default
        grouped, reason = first_possible([_speaker_folds(manifest, rows)])
        hindrance = "" if grouped else f"Speakers cannot be kept apart here: {reason}"
    if not grouped and manifest.is_copy[rows].any():
        n_sources = len(set(bound_groups(manifest, "source", keys=keys)[rows].tolist()))
        grouped, reason = first_possible(_source_folds(n_sources))
        if not grouped:
            note = f"A copy and its source may stand on both sides of a fold, and the figures flatter: {reason}."
    return Defaults(protocols=(*protocols, *grouped), hindrance=hindrance, note=note)


def _random_folds(labels: NDArray[np.int64]) -> Iterable[Protocol]:
    """Stratified, else plain folds, else as many folds as recordings."""
    smallest = int(np.unique(labels, return_counts=True)[1].min(initial=len(labels)))
    if smallest > 1:
        yield Protocol(kind="stratified", n_folds=min(DEFAULT_FOLDS, smallest))
    yield Protocol(kind="kfold", n_folds=max(2, min(DEFAULT_FOLDS, len(labels))))
    yield Protocol(kind="kfold", n_folds=max(2, len(labels)))


def _speaker_folds(manifest: Manifest, rows: NDArray[np.int64]) -> Protocol:
    """One speaker left out; with many of them, ten folds of speakers tell as much and cost less."""
    n_speakers = len(set(manifest.groups("speaker")[rows].tolist()))
    if n_speakers <= MOST_LEFT_OUT:
        return Protocol(kind="logo", column="speaker")
    return Protocol(kind="group", column="speaker", n_folds=MANY_FOLDS)


def _source_folds(n_sources: int) -> Iterable[Protocol]:
    """Five folds, else one source left out: the smallest test sides leave the most to learn from."""
    if n_sources > 1:
        yield Protocol(kind="group", column="source", n_folds=min(DEFAULT_FOLDS, n_sources))
    yield Protocol(kind="logo", column="source")
