"""WavLM, and models that hear as it does, as frozen encoders of sound: samples in, the mean of the frames out.

WavLM: S. Chen et al. (2022), "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
doi:10.1109/JSTSP.2022.3188113.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.base import AudioEncoder, Encoder, PreparedClip
from poise.extract.encoders.weights import PREPROCESSOR, Weights

if TYPE_CHECKING:
    import torch

_CLASSES = {"wavlm": "WavLMModel", "hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model"}


class WavLMEncoder(AudioEncoder):
    """A pretrained WavLM, HuBERT or wav2vec 2.0.

    Its first layer normalises over time, so padding with zeros would change real frames even under a mask: a clip is
    encoded at its own length, and only clips of one length share a batch.

    Parameters
    ----------
    weights : Weights
        Its files.
    name : str
        What its feature set is called.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    EncoderError
        The preprocessing of the checkpoint is not understood.
    """

    model_types: ClassVar[frozenset[str]] = frozenset(_CLASSES)
    uses_every_core = True
    min_samples = 400  # one frame of the convolutions

    def __init__(self, weights: Weights, *, name: str, device: str = "auto") -> None:
        self.name = name
        self.weights = weights
        self.dim = int(weights.config.get("hidden_size", 768))
        self.batch_size = 4
        given = weights.preprocessor
        if "do_normalize" not in given or "sampling_rate" not in given:
            raise EncoderError(
                f"{weights.folder / PREPROCESSOR} lacks do_normalize or sampling_rate: {sorted(given)}. Expected both, "
                "as a WavLM checkpoint has them; they differ between its sizes."
            )
        self.do_normalize = bool(given["do_normalize"])
        self.sample_rate_hz = int(given["sampling_rate"])
        self._device_name = device
        self._model: Any = None
        self._device: torch.device | None = None

    def settings(self) -> Mapping[str, Any]:
        """Weights by content, preprocessing, window rule and pooling."""
        return {
            "model_type": str(self.weights.config["model_type"]),
            "weights": self.weights.digest,
            "sample_rate_hz": self.sample_rate_hz,
            "do_normalize": self.do_normalize,
            "window": "own length, never padded",
            "layer": "last",
            "pooling": "mean over frames",
            "precision": "float32",
        }

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zero mean and unit variance over the clip, if the checkpoint was trained so; shape (n_samples,)."""
        if not self.do_normalize:
            return samples
        normal: NDArray[np.float32] = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return normal

    def origin(self) -> Mapping[str, Any]:
        """Where the weights came from, their commit on the hub where known, and the device."""
        return {**self.weights.origin(), "device": str(self._device)}

    def for_reading(self) -> Encoder:
        """The encoder without its model."""
        reading = copy.copy(self)
        reading._model = reading._device = None
        return reading

    def load(self) -> None:
        """Read the weights and put the model on its device."""
        from poise.extract.encoders.pretrained import choose_device, load_model

        if self._model is None:
            self._device = choose_device(self._device_name)
            self.batch_size = 2 if self._device.type == "cpu" else 16
            class_name = _CLASSES[str(self.weights.config["model_type"])]
            self._model = load_model(self.weights, class_name, self._device)

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Embeddings, shape (n_clips, dim), float32."""
        self.load()
        embeddings = np.empty((len(clips), self.dim), np.float32)
        by_length: dict[int, list[int]] = {}
        for i, clip in enumerate(clips):
            by_length.setdefault(len(clip.data), []).append(i)
        for rows in by_length.values():
            embeddings[rows] = self._encode_equal(np.stack([clips[i].data for i in rows]))
        return embeddings

    def _encode_equal(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of clips of one length; ``samples`` has the shape (n_clips, n_samples)."""
        import torch

        from poise.extract.encoders.pretrained import exact_inference

        with exact_inference():
            values = torch.from_numpy(samples).to(self._device)
            frames = self._model(input_values=values).last_hidden_state  # (n_clips, n_frames, dim)
            pooled: NDArray[np.float32] = frames.mean(dim=1).cpu().numpy()  # (n_clips, dim)
        return pooled
