"""Bags: the clips of many recordings, per modality, packed into one array each and indexable like a table.

How features come off the disk does not live here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from poise.store.format.ragged import row_offsets, run_starts, span_rows

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class ModalityBags:
    """One modality of many recordings.

    Attributes
    ----------
    values : ndarray of shape (n_clips_total, [n_layers,] dim), float16 or float32
        Embeddings of all clips, recording after recording. Read-only where it is mapped from a file.
    offsets : ndarray of shape (n_recordings + 1,), int64
        Recording ``i`` has the rows ``offsets[i]:offsets[i + 1]``; none where the modality is missing.
    clip_times : ndarray of shape (n_clips_total, 2), float64
        Start and end of each clip in seconds; NaN where unknown (imported features).

    Raises
    ------
    ValueError
        The values are no real numbers of two or three axes, or the arrays do not fit together.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    clip_times: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows, shape = len(self.values), self.values.shape
        if self.values.dtype.kind not in "fiub" or len(shape) not in (2, 3) or not all(shape[1:]):
            raise ValueError(
                f"Clips are {self.values.dtype} of shape {shape}; expected real numbers of shape (n_clips, dim) or "
                "(n_clips, n_layers, dim)."
            )
        if len(self.clip_times) != rows or self.offsets[0] != 0 or self.offsets[-1] != rows:
            raise ValueError(
                f"Offsets end at {self.offsets[-1]} and there are {len(self.clip_times)} clip times; expected {rows}."
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """Length of one embedding."""
        return int(self.values.shape[-1])

    @property
    def n_layers(self) -> int | None:
        """Number of layers of each embedding; None where there is no axis for them."""
        return int(self.values.shape[1]) if self.values.ndim == 3 else None

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
        starts = self.offsets[:-1][rows]
        clips: slice | NDArray[np.int64] = span_rows(starts, counts)
        if len(run_starts(starts[counts > 0], counts[counts > 0])) == 1:  # one piece needs no copy
            first = int(starts[counts > 0][0])
            clips = slice(first, first + int(counts.sum()))
        return ModalityBags(values=self.values[clips], offsets=row_offsets(counts), clip_times=self.clip_times[clips])

    def layer(self, layer: int | Literal["mean"]) -> ModalityBags:
        """One layer of embeddings that have several, or the mean of all.

        Parameters
        ----------
        layer : int or "mean"
            Number of the layer, from the end if negative.

        Returns
        -------
        ModalityBags
            ``values`` of shape (n_clips_total, dim); unchanged where there is no axis for layers.

        Raises
        ------
        IndexError
            There is no such layer.
        """
        if self.n_layers is None:
            return self
        # a mean of float16 is summed in float32
        values = self.values.mean(axis=1, dtype=np.float32) if layer == "mean" else self.values[:, layer]
        return ModalityBags(values=values, offsets=self.offsets, clip_times=self.clip_times)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bag:
    """All clips of one recording.

    Attributes
    ----------
    key : str
        Key of the recording.
    values : dict of str to ndarray of shape (n_clips, [n_layers,] dim)
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

    Indexing with an integer gives a :class:`Bag`, with anything else that numpy takes :class:`Bags`. A piece of
    consecutive recordings is a view, any other selection a copy. Pickling copies what is mapped.

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
    def from_arrays(
        cls, modalities: Mapping[str, Sequence[NDArray[Any]]], *, keys: Sequence[str] | None = None
    ) -> Bags:
        """Bags from arrays of clips.

        Parameters
        ----------
        modalities : mapping of str to sequence of ndarray of shape (n_clips, [n_layers,] dim)
            One array for each recording; one of no clips where the recording lacks the modality.
        keys : sequence of str, optional
            Key of each recording; by default its number.

        Raises
        ------
        ValueError
            There are none, or arrays of one modality differ in shape.
        """
        if not modalities or not all(len(arrays) for arrays in modalities.values()):
            raise ValueError("There is no modality, or one without recordings. Give one array for each recording.")
        packed = {}
        for name, given in modalities.items():
            arrays = [np.asarray(array) for array in given]
            shapes = {array.shape[1:] if array.ndim else None for array in arrays}
            if len(shapes) > 1 or None in shapes:
                found = sorted({str(array.shape) for array in arrays})[:5]
                raise ValueError(
                    f"Arrays of {name} have the shapes {', '.join(found)}; expected (n_clips, dim) with one dim, or "
                    "(n_clips, n_layers, dim)."
                )
            values, counts = np.concatenate(arrays), np.array([len(array) for array in arrays])
            times = np.full((len(values), 2), np.nan)
            packed[name] = ModalityBags(values=values, offsets=row_offsets(counts), clip_times=times)
        n = len(next(iter(packed.values())))
        return cls(keys=tuple(keys or (str(i) for i in range(n))), modalities=packed)

    @classmethod
    def from_list(cls, bags: Sequence[Bag]) -> Bags:
        """Bags of recordings that come one by one; the inverse of :meth:`to_list`.

        Parameters
        ----------
        bags : sequence of Bag
            At least one of them must have each modality that any has.

        Raises
        ------
        ValueError
            There are none, or embeddings of one modality differ in shape.
        """
        names = dict.fromkeys(name for bag in bags for name in bag.values)
        if not names:
            raise ValueError("There are no clips in these bags: nothing says what their embeddings look like.")
        modalities = {}
        for name in names:
            shapes = {bag.values[name].shape[1:] for bag in bags if name in bag.values}
            if len(shapes) > 1:
                raise ValueError(f"{name} has embeddings of several shapes: {sorted(shapes)}. Expected one.")
            like = next(bag.values[name] for bag in bags if name in bag.values)
            nothing, no_times = like[:0], np.empty((0, 2))
            arrays = [bag.values.get(name, nothing) for bag in bags]
            modalities[name] = ModalityBags(
                values=np.concatenate(arrays),
                offsets=row_offsets(np.array([len(array) for array in arrays])),
                clip_times=np.concatenate([bag.clip_times.get(name, no_times) for bag in bags]),
            )
        return cls(keys=tuple(bag.key for bag in bags), modalities=modalities)

    def to_list(self) -> list[Bag]:
        """One :class:`Bag` for each recording, views into these."""
        return list(self)

    def layer(self, layer: int | Literal["mean"]) -> Bags:
        """One layer of embeddings that have several, or the mean of all; see :meth:`ModalityBags.layer`."""
        return Bags(keys=self.keys, modalities={name: side.layer(layer) for name, side in self.modalities.items()})

    def clip_table(self) -> DataFrame:
        """Every clip with its time.

        Returns
        -------
        pandas.DataFrame
            Columns ``recording`` (row of the recording, int64), ``key``, ``modality``, ``clip`` (its number in the
            recording, int64), ``start_s`` and ``end_s`` (float64, NaN where unknown).
        """
        import pandas as pd

        parts = []
        for name, side in self.modalities.items():
            recordings = np.repeat(np.arange(len(self)), side.n_clips)
            parts.append(
                pd.DataFrame(
                    {
                        "recording": recordings,
                        "key": np.array(self.keys, dtype=object)[recordings],
                        "modality": name,
                        "clip": np.arange(len(recordings)) - side.offsets[:-1][recordings],
                        "start_s": side.clip_times[:, 0],
                        "end_s": side.clip_times[:, 1],
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

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
