"""Whisper's encoder as a frozen encoder of sound: a log-mel spectrogram of 30 seconds in, one vector out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.base import AudioEncoder, PreparedClip
from poise.extract.encoders.device import to_device
from poise.extract.encoders.frozen import FrozenModel

_MEL = ("feature_size", "hop_length", "n_fft", "chunk_length", "padding_value")


class WhisperEncoder(FrozenModel, AudioEncoder):
    """The encoder of a pretrained Whisper.

    A. Radford et al. (2022), "Robust Speech Recognition via Large-Scale Weak Supervision", arXiv:2212.04356.

    It was trained on windows of 30 seconds, shorter sound being followed by silence, and is run so; only the frames
    that the clip itself covers are pooled. Its layer -1 is the last hidden state itself, after the final layer norm, as
    transformers has it.

    Parameters
    ----------
    weights, name, device, layers, pooling, precision
        As in :class:`poise.extract.encoders.frozen.FrozenModel`.

    Raises
    ------
    EncoderError
        The preprocessing of the checkpoint is not understood, or is not the model's.
    """

    model_types = frozenset({"whisper"})
    class_name = "transformers.models.whisper.modeling_whisper.WhisperEncoder"  # transformers does not export it
    defaults: ClassVar[Mapping[str, Any]] = {
        "d_model": 384,
        "encoder_layers": 4,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
    }
    width_key = "d_model"
    blocks_key = "encoder_layers"
    tokens = "frames"
    gpu_batch_size = 16
    mixes_lengths = True
    # of the encoder alone, out of files that hold the decoder too
    load_options: ClassVar[Mapping[str, Any]] = {"key_mapping": {r"^(model\.)?encoder\.": ""}}

    def read_preprocessing(self) -> None:
        """Sampling rate, spectrogram, and the shortest and longest clip."""
        given = self.weights.preprocessor
        missing = sorted({*_MEL, "sampling_rate"} - given.keys())
        if missing or given.get("dither"):
            raise EncoderError(
                f"{self.weights.preprocessor_file} lacks {', '.join(missing)}, or asks for random numbers (dither "
                f"{given.get('dither', 0)}). Expected {', '.join(_MEL)} and sampling_rate, as a Whisper checkpoint has "
                "them."
            )
        self.sample_rate_hz = int(given["sampling_rate"])
        self.max_clip_s = float(given["chunk_length"])
        self.hop_length = int(given["hop_length"])
        self.min_samples = int(given["n_fft"])
        self._extractor: Any = None
        made = (int(given["feature_size"]), int(self.max_clip_s * self.sample_rate_hz) // self.hop_length)
        self.check_made(
            "spectrograms", made, (int(self.config("num_mel_bins")), 2 * int(self.config("max_source_positions")))
        )

    def input_settings(self) -> Mapping[str, Any]:
        """Sampling rate, spectrogram and window rule."""
        return {
            "sample_rate_hz": self.sample_rate_hz,
            "log_mel": {name: self.weights.preprocessor[name] for name in _MEL},
            "window": "padded with silence, which is not pooled",
        }

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The samples as they are, shape (n_samples,).

        Raises
        ------
        EncoderError
            They are longer than the model's window.
        """
        most = int(self.max_clip_s * self.sample_rate_hz)
        if len(samples) > most:
            raise EncoderError(
                f"{self.name} takes clips of at most {self.max_clip_s:g} s, got {len(samples) / self.sample_rate_hz:g} "
                f"s. Use --window {self.max_clip_s:g} or less."
            )
        return samples

    def __getstate__(self) -> dict[str, Any]:
        """All but the model and what makes its spectrograms."""
        return {**super().__getstate__(), "_extractor": None}

    def load(self) -> None:
        """Read the weights and put the model on its device."""
        super().load()
        if self._extractor is None:
            from transformers import WhisperFeatureExtractor

            self._extractor = WhisperFeatureExtractor.from_dict(dict(self.weights.preprocessor))

    def run(self, clips: Sequence[PreparedClip]) -> tuple[Any, Sequence[int]]:
        """The encoder's output, and how many of its frames each clip covers."""
        samples = [clip.data for clip in clips]
        features = self._extractor(samples, sampling_rate=self.sample_rate_hz, return_tensors="np")["input_features"]
        values = to_device(features, self._device)  # (n_clips, n_mels, 2 * n_frames)
        # a frame of the spectrogram every hop, and two of them make one of the encoder's
        n_mel_frames = [-(-len(clip.data) // self.hop_length) for clip in clips]
        return self._model(values, **self.readout.request), [(n - 1) // 2 + 1 for n in n_mel_frames]
