"""Bags as PyTorch's data loaders want them: items by number, and packed batches without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from poise.store.bags import Bags

if TYPE_CHECKING:
    import torch

LABEL = "label"


class PackedClips(NamedTuple):
    """Clips of several recordings, one after the other.

    Attributes
    ----------
    values : tensor of shape (n_clips_total, [n_layers,] dim), float32
        Embeddings.
    offsets : tensor of shape (n_recordings + 1,), int64
        Recording ``i`` has the rows ``offsets[i]:offsets[i + 1]``; none where the modality is missing.
    """

    values: torch.Tensor
    offsets: torch.Tensor


class BagDataset:
    """A map-style dataset over bags, for ``torch.utils.data.DataLoader``; it can be pickled.

    Parameters
    ----------
    bags : Bags
        The recordings.
    labels : array-like of shape (n_recordings,), int, optional
        Rank of each.

    Raises
    ------
    ValueError
        There are more or fewer labels than recordings, or they are no integers.

    Examples
    --------
    >>> data = BagDataset(Bags.from_array(np.zeros((4, 2))), labels=[0, 1, 2, 1])
    >>> batch = BagDataset.collate([data[0], data[3]])
    >>> batch["features"].values.shape, batch["features"].offsets.tolist(), batch["label"].tolist()
    (torch.Size([2, 2]), [0, 1, 2], [0, 1])
    """

    def __init__(self, bags: Bags, labels: ArrayLike | None = None) -> None:
        self.bags = bags
        given = None if labels is None else np.asarray(labels)
        if given is not None and given.dtype.kind not in "iu" and given.size:
            raise ValueError(f"Labels of type {given.dtype}. Expected ranks, 0 to K - 1.")
        self.labels = None if given is None else given.astype(np.int64)
        if self.labels is not None and self.labels.shape != (len(bags),):
            raise ValueError(f"Labels of shape {self.labels.shape} for {len(bags)} recordings. Expected one for each.")

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One recording: a tensor (n_clips, [n_layers,] dim), float32, for each modality, and its ``label``."""
        import torch

        row = range(len(self))[index]
        item = {}
        for name, side in self.bags.modalities.items():
            values = side.values[side.offsets[row] : side.offsets[row + 1]]
            item[name] = torch.from_numpy(values.astype(np.float32))  # a copy: what is mapped is read-only
        if self.labels is not None:
            item[LABEL] = torch.tensor(self.labels[row])
        return item

    @staticmethod
    def collate(items: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
        """Items as one batch: :class:`PackedClips` for each modality, and a tensor (n_items,) of labels."""
        import torch

        batch: dict[str, Any] = {}
        for name in items[0]:
            tensors = [item[name] for item in items]
            if name == LABEL:
                batch[name] = torch.stack(tensors)
                continue
            counts = torch.tensor([0, *(len(tensor) for tensor in tensors)])
            batch[name] = PackedClips(torch.cat(tensors), torch.cumsum(counts, 0))
        return batch
