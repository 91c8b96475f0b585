"""Bags: the clips of many recordings, per modality, packed into one array each and indexable like a table.

How features come off the disk does not live here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ModalityBags:
    """One modality of many recordings.

    Attributes
    ----------
    values : ndarray of shape (n_clips_total, dim), float16 or float32
        Embeddings of all clips, recording after recording.
    offsets : ndarray of shape (n_recordings + 1,), int64
        Recording ``i`` has the rows ``offsets[i]:offsets[i + 1]``; none where the modality is missing.
    clip_times : ndarray of shape (n_clips_total, 2), float64
        Start and end of each clip in seconds; NaN where unknown (imported features).
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    clip_times: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.values)
        if len(self.clip_times) != rows or self.offsets[0] != 0 or self.offsets[-1] != rows:
            raise ValueError(
                f"offsets end at {self.offsets[-1]} and there are {len(self.clip_times)} clip times, expected {rows}"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Length of one embedding."""
        return int(self.values.shape[-1])

    @property
    def n_clips(self) -> NDArray[np.int64]:
        """Number of clips of each recording, shape (n_recordings,)."""
        return np.diff(self.offsets)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which recordings have this modality, shape (n_recordings,)."""
        return self.n_clips > 0

    def take(self, rows: NDArray[np.int64]) -> ModalityBags:
        """Bags of the recordings at ``rows``, in that order."""
        counts = self.n_clips[rows]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        # index of every clip: where its recording starts, plus its place within the recording
        clips = np.repeat(self.offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return ModalityBags(values=self.values[clips], offsets=offsets, clip_times=self.clip_times[clips])


@dataclass(frozen=True, kw_only=True, eq=False)
class Bag:
    """All clips of one recording.

    Attributes
    ----------
    key : str
        Key of the recording.
    values : dict of str to ndarray of shape (n_clips, dim)
        Embeddings of each modality that the recording has.
    clip_times : dict of str to ndarray of shape (n_clips, 2), float64
        Start and end of each clip in seconds.
    """

    key: str
    values: dict[str, NDArray[Any]]
    clip_times: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Bags(Sequence[Bag]):
    """Clips of many recordings, aligned with the rows of a manifest; works as ``X`` in scikit-learn.

    Attributes
    ----------
    keys : tuple of str
        Key of each recording.
    modalities : dict of str to ModalityBags
        ``video`` and / or ``audio``, each over all recordings.

    Examples
    --------
    >>> bags = Bags.from_array(np.zeros((3, 2)))
    >>> len(bags), bags.shape, bags[1].values["features"].shape
    (3, (3,), (1, 2))
    >>> len(bags[[0, 2]])
    2
    """

    keys: tuple[str, ...]
    modalities: dict[str, ModalityBags]

    def __post_init__(self) -> None:
        for name, modality in self.modalities.items():
            if len(modality) != len(self.keys):
                raise ValueError(f"{name} has {len(modality)} recordings, expected {len(self.keys)}")

    @classmethod
    def from_array(cls, X: NDArray[Any]) -> Bags:
        """Bags of one clip each, of one modality named ``features``, from an array of shape (n, dim)."""
        n = len(X)
        modality = ModalityBags(values=X, offsets=np.arange(n + 1), clip_times=np.full((n, 2), np.nan))
        return cls(keys=tuple(str(i) for i in range(n)), modalities={"features": modality})

    @classmethod
    def from_lists(cls, modalities: Mapping[str, Sequence[NDArray[Any]]], *, keys: Sequence[str] | None = None) -> Bags:
        """Bags from one list of (n_clips, dim) arrays per modality; an array of no clips is a missing modality."""
        packed = {}
        for name, arrays in modalities.items():
            offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
            values = np.concatenate([np.asarray(array) for array in arrays])
            packed[name] = ModalityBags(values=values, offsets=offsets, clip_times=np.full((len(values), 2), np.nan))
        n = len(next(iter(packed.values())))
        return cls(keys=tuple(keys or (str(i) for i in range(n))), modalities=packed)

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        sides = [f"{name} {len(side.values)} clips x {side.dim}" for name, side in self.modalities.items()]
        return f"Bags({len(self)} recordings: {', '.join(sides)})"

    @property
    def shape(self) -> tuple[int]:
        """``(n_recordings,)``, for scikit-learn."""
        return (len(self.keys),)

    @overload
    def __getitem__(self, index: int) -> Bag: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Bags: ...
    def __getitem__(self, index: Any) -> Bag | Bags:
        if isinstance(index, tuple):  # scikit-learn asks for X[rows, ...]
            index = index[0]
        if isinstance(index, (int, np.integer)):
            return self._bag(range(len(self))[index])
        rows = np.arange(len(self))[index]
        return Bags(
            keys=tuple(self.keys[row] for row in rows),
            modalities={name: modality.take(rows) for name, modality in self.modalities.items()},
        )

    def __iter__(self) -> Iterator[Bag]:
        return (self._bag(row) for row in range(len(self)))

    def _bag(self, row: int) -> Bag:
        spans = {
            name: slice(modality.offsets[row], modality.offsets[row + 1])
            for name, modality in self.modalities.items()
            if modality.present[row]
        }
        return Bag(
            key=self.keys[row],
            values={name: self.modalities[name].values[span] for name, span in spans.items()},
            clip_times={name: self.modalities[name].clip_times[span] for name, span in spans.items()},
        )
