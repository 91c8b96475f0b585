"""Speech transformers that hear raw samples, as frozen encoders of sound: samples in, one vector out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.base import AudioEncoder, PreparedClip
from poise.extract.encoders.device import to_device
from poise.extract.encoders.frozen import FrozenModel
from poise.extract.encoders.readout import Layers
from poise.extract.encoders.wavlm_attention import fuse_attention

_CLASSES = {"wavlm": "WavLMModel", "hubert": "HubertModel", "wav2vec2": "Wav2Vec2Model"}


class SpeechEncoder(FrozenModel, AudioEncoder):
    """A pretrained WavLM, HuBERT or wav2vec 2.0.

    S. Chen et al. (2022), "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing",
    doi:10.1109/JSTSP.2022.3188113; W.-N. Hsu et al. (2021), "HuBERT: Self-Supervised Speech Representation Learning by
    Masked Prediction of Hidden Units", doi:10.1109/TASLP.2021.3122291; A. Baevski, H. Zhou, A. Mohamed, M. Auli (2020),
    "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations", arXiv:2006.11477.

    Their first layer normalises over time, so padding with zeros would change real frames even under a mask: a clip is
    encoded at its own length, and only clips of one length share a batch. Layer -1 is the last hidden state itself in
    base models; in large ones (``do_stable_layer_norm``) it is the last hidden state before the final layer norm, and
    where there is an adapter, before that.

    Parameters
    ----------
    weights, name, device, layers, pooling, precision
        As in :class:`poise.extract.encoders.frozen.FrozenModel`.

    Raises
    ------
    EncoderError
        The preprocessing of the checkpoint is not understood.
    """

    model_types = frozenset(_CLASSES)
    defaults: ClassVar[Mapping[str, Any]] = {
        **FrozenModel.defaults,
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
        "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    }
    tokens = "frames"
    gpu_batch_size = 16

    def read_preprocessing(self) -> None:
        """Sampling rate, normalisation and the shortest clip."""
        self.class_name = _CLASSES[str(self.weights.config["model_type"])]
        given = self.weights.preprocessor
        if "do_normalize" not in given or "sampling_rate" not in given:
            raise EncoderError(
                f"{self.weights.preprocessor_file} lacks do_normalize or sampling_rate: {sorted(given)}. Expected "
                "both, as a WavLM checkpoint has them; they differ between its sizes."
            )
        self.do_normalize = bool(given["do_normalize"])
        self.sample_rate_hz = int(given["sampling_rate"])
        self.min_samples = self._samples_of_one_frame()

    def _samples_of_one_frame(self) -> int:
        """What the convolutions need to give one frame; 400 in every published model."""
        n_samples = 1
        for kernel, stride in reversed(list(zip(self.config("conv_kernel"), self.config("conv_stride"), strict=True))):
            n_samples = (n_samples - 1) * int(stride) + int(kernel)
        return n_samples

    def width(self, layers: Layers) -> int:
        """Length of one frame; an adapter changes that of the last hidden state alone."""
        own = super().width(layers)
        adapted = self.config("output_hidden_size") or own
        return int(adapted) if self.config("add_adapter") and layers == "last" else own

    def input_settings(self) -> Mapping[str, Any]:
        """Sampling rate, normalisation and window rule."""
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "do_normalize": self.do_normalize,
            "window": "own length, never padded",
        }

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Zero mean and unit variance over the clip, if the checkpoint was trained so; shape (n_samples,)."""
        if not self.do_normalize:
            return samples
        normal: NDArray[np.float32] = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return normal

    def adapt(self, model: Any) -> None:
        """Let WavLM attend through the fused kernel; the others do already."""
        # in half precision the bias would be rounded too, which transformers' own form does not do
        if self.class_name == "WavLMModel" and self.precision == "float32":
            fuse_attention(model)

    def run(self, clips: Sequence[PreparedClip]) -> tuple[Any, None]:
        """The model's output for clips of one length; all frames count."""
        values = to_device(np.stack([clip.data for clip in clips]), self._device)  # (n_clips, n_samples)
        return self._model(input_values=values, **self.readout.request), None
