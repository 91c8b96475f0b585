"""What all encoders that run a frozen model in torch have in common: on what device, loaded when, in what batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoders.device import choose_device, encode_fitting, exact_inference

if TYPE_CHECKING:
    import torch


_NVIDIA = Path("/dev/nvidiactl")
"""Is there where NVIDIA's driver is loaded."""


class FoundWeights(Protocol):
    """Files with weights that were found on this machine."""

    def origin(self) -> Mapping[str, Any]:
        """Where they came from, as JSON values."""

    def check_again(self) -> None:
        """Refuse files that are not those that were found; for weights that came from another machine."""


class TorchModel(Encoder):
    """A frozen model of torch, loaded at the first :meth:`encode` or by :meth:`load`.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    weights: FoundWeights
    gpu_batch_size: int
    mixes_lengths: ClassVar[bool] = False
    """Whether clips of different lengths can share a batch."""

    def __init__(self, *, device: str = "auto") -> None:
        self.wanted_device = device
        self._model: Any = None
        self._device: Any = None

    @property
    def uses_every_core(self) -> bool:  # type: ignore[override]
        """Whether it runs on the processor, as far as can be told without importing torch, which takes seconds."""
        return self.wanted_device == "cpu" or (self.wanted_device == "auto" and not _NVIDIA.exists())

    @abstractmethod
    def build(self, device: torch.device) -> Any:
        """The model with its weights, on that device, in evaluation mode and frozen.

        Raises
        ------
        EncoderError
            The weights cannot be read, or are not this model's.
        """

    @abstractmethod
    def embed(self, clips: Sequence[PreparedClip]) -> torch.Tensor:
        """Embeddings of clips that may share a batch, shape (n_clips, *shape), float32; without gradients."""

    def origin(self) -> Mapping[str, Any]:
        """Where the weights came from, and the device."""
        device = self._device if self._device is not None else choose_device(self.wanted_device)
        return {**self.weights.origin(), "device": str(device)}

    def arrive(self) -> None:
        """Refuse weights that are not here, or have another content."""
        self.weights.check_again()

    def __getstate__(self) -> dict[str, Any]:
        """All but the model: other processes load it themselves, those that only decode never do."""
        return {**self.__dict__, "_model": None, "_device": None}

    def load(self) -> None:
        """Read the weights and put the model on its device."""
        if self._model is None:
            self._device = choose_device(self.wanted_device)
            # on a processor larger batches only cost memory traffic (0.73 of its peak at 1-2 clips, 0.62 at 8)
            self.side_by_side = self._device.type == "cpu"
            self.batch_size = 1 if self.side_by_side else self.gpu_batch_size
            self._model = self.build(self._device)

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Embeddings, shape (n_clips, dim) or (n_clips, n_layers, dim), float32."""
        embeddings = np.empty((len(clips), *self.shape), np.float32)
        if not clips:
            return embeddings
        self.load()
        by_length: dict[Any, list[int]] = {}
        for i, clip in enumerate(clips):
            by_length.setdefault(None if self.mixes_lengths else clip.data.shape, []).append(i)
        for rows in by_length.values():
            embeddings[rows], n_fitting = encode_fitting(self._encode, [clips[i] for i in rows], batch_size=len(rows))
            if n_fitting < len(rows):
                self.batch_size = n_fitting
        return embeddings

    def _encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Embeddings of clips that may share a batch."""
        with exact_inference(self._device):
            embeddings: NDArray[np.float32] = self.embed(clips).cpu().numpy()
        return embeddings
