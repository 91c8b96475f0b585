"""How far a clip lies from those that a model was trained on: a few numbers of the training set, and a distance.

Learnt in training, kept in the bundle, asked for every prediction. What follows from it lives in ``doubts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.heads.scaling import Standardiser
from poise.heads.state import part_of
from poise.serve.values import is_number
from poise.store.bags import Bags, ModalityBags

MARGIN = 1.25
"""How much farther than any training recording a recording must lie to be unlike them."""

LARGEST_RADIUS = 100.0
"""Distances end at 6 standard deviations, so that no radius is larger than a few of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Familiarity:
    """Where the training clips of one modality lie.

    The distance of a clip is the root mean square of its standardised columns, each clipped at 6 standard deviations
    as a head sees them: about 1 for a clip like the training ones.

    Attributes
    ----------
    columns : Standardiser
        Mean and standard deviation of each column that varies; every training recording counts once.
    radius : float
        Beyond it a clip is unlike the training set: :data:`MARGIN` times the largest distance that a training
        recording keeps, in half of its clips, from the recordings of all other groups.
    """

    columns: Standardiser
    radius: float

    @classmethod
    def learn(cls, side: ModalityBags, groups: NDArray[np.generic]) -> Familiarity | None:
        """From the training recordings of one modality.

        Parameters
        ----------
        side : ModalityBags
        groups : ndarray of shape (n_recordings,)
            What stays together, as speakers.

        Returns
        -------
        Familiarity or None
            None where fewer than two groups have the modality, or no column varies.
        """
        flat = side.layer("mean")
        rows_of = [rows for name in np.unique(groups) if len(rows := _present(flat, groups == name))]
        if len(rows_of) < 2:
            return None
        rough = _Moments.sum([_Moments.of(flat.take(rows)) for rows in rows_of])
        origin = rough.total / rough.n
        moments = [_Moments.of(flat.take(rows), origin) for rows in rows_of]
        whole = _Moments.sum(moments)
        columns = whole.standardiser(origin)
        if columns is None:
            return None
        kept = []
        for rows, own in zip(rows_of, moments, strict=True):
            others = whole.without(own).standardiser(origin)
            if others is not None:
                kept += [_upper_half(_distances(others, clips)) for clips in _recordings(flat.take(rows))]
        return cls(columns=columns, radius=MARGIN * max(kept)) if max(kept, default=0.0) > 0 else None

    def is_far(self, embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which clips, of shape (n_clips, [n_layers,] dim), lie beyond the radius; shape (n_clips,)."""
        flat = embeddings.mean(axis=1, dtype=np.float32) if embeddings.ndim == 3 else embeddings
        return _distances(self.columns, flat) > self.radius


def learn_ranges(bags: Bags, groups: NDArray[np.generic]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a bundle keeps of the training features.

    Parameters
    ----------
    bags : Bags
        The training recordings, with the modalities that the model needs.
    groups : ndarray of shape (n_recordings,)
        What stays together, as speakers.

    Returns
    -------
    ranges : dict of str to dict
        For each modality its ``radius``; ``training.feature_range`` of the bundle.
    arrays : dict of str to ndarray
        The rest of it, as ``train.video.center``.
    """
    found = {name: Familiarity.learn(side, groups) for name, side in bags.modalities.items()}
    known = {name: one for name, one in found.items() if one is not None}
    return (
        {name: {"radius": one.radius} for name, one in known.items()},
        {f"train.{name}.{key}": array for name, one in known.items() for key, array in one.columns.arrays().items()},
    )


def read_ranges(
    training: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], dims: Mapping[str, int]
) -> dict[str, Familiarity]:
    """What :func:`learn_ranges` gave, read from a bundle; nothing of a modality that it says nothing about.

    Parameters
    ----------
    training : mapping
        ``training`` of the bundle.
    arrays : mapping of str to ndarray
        All arrays of the bundle.
    dims : mapping of str to int
        Length of the embeddings of each modality that the model needs.

    Raises
    ------
    BundleError
        It is something else.
    """
    ranges = training.get("feature_range", {})
    if not isinstance(ranges, Mapping) or not set(ranges) <= set(dims):
        raise BundleError(
            f"The model's training.feature_range is {ranges!r:.80}, expected the modalities {', '.join(dims)} with "
            "radii. Train it again."
        )
    radii = {name: _read_radius(name, said) for name, said in ranges.items()}
    return {
        name: Familiarity(
            columns=Standardiser.from_arrays(part_of(arrays, f"train.{name}"), n_features=dims[name]), radius=radius
        )
        for name, radius in radii.items()
    }


def _read_radius(name: str, said: Any) -> float:
    radius: Any = said.get("radius") if isinstance(said, Mapping) else None
    if not is_number(radius) or not 0 < radius <= LARGEST_RADIUS:
        raise BundleError(
            f"The model's training.feature_range.{name} is {said!r:.80}, expected a radius above 0 and at most "
            f"{LARGEST_RADIUS:g}. Train it again."
        )
    return float(radius)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over recordings, of which each is the mean over its clips; about an origin, so that squares stay small."""

    n: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    largest: NDArray[np.float64]

    @classmethod
    def of(cls, side: ModalityBags, origin: NDArray[np.float64] | float = 0.0) -> _Moments:
        values = side.values.astype(np.float64)
        shifted = values - origin
        shares = np.repeat(1 / side.n_clips, side.n_clips)[:, None]
        return cls(len(side), (shares * shifted).sum(0), (shares * shifted**2).sum(0), np.abs(values).max(0))

    @classmethod
    def sum(cls, each: list[_Moments]) -> _Moments:
        return cls(
            sum(one.n for one in each),
            np.sum([one.total for one in each], axis=0),
            np.sum([one.squares for one in each], axis=0),
            np.max([one.largest for one in each], axis=0),
        )

    def without(self, part: _Moments) -> _Moments:
        return _Moments(self.n - part.n, self.total - part.total, self.squares - part.squares, self.largest)

    def standardiser(self, origin: NDArray[np.float64]) -> Standardiser | None:
        """None where no column varies."""
        center = self.total / self.n
        spread = np.sqrt(np.maximum(self.squares / self.n - center**2, 0.0))
        found = Standardiser.of_moments(origin + center, spread, self.largest)
        return found if np.array_equal(found.scale, spread[found.kept]) else None


def _present(side: ModalityBags, is_of_group: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(is_of_group & side.present)


def _recordings(side: ModalityBags) -> list[NDArray[Any]]:
    return np.split(side.values, side.offsets[1:-1])


def _distances(columns: Standardiser, clips: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of clips of shape (n_clips, dim), shape (n_clips,)."""
    return np.asarray(np.sqrt(np.mean(columns.transform(clips.astype(np.float64)) ** 2, axis=1)))


def _upper_half(distances: NDArray[np.float64]) -> float:
    """The distance that at least half of the clips have or exceed."""
    return float(np.sort(distances)[len(distances) // 2])
