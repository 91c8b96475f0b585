"""The network of Google's speech embedding in torch, and the log-mel spectrogram before it.

Every step through time is a convolution or a pooling without padding, so the network runs over a whole clip at once
and gives what it would give for each window of 76 spectra by itself, ten times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poise.extract.encoders.onnx_weights import Node

_N_CONVOLUTIONS = 20
_POOLED_AFTER = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}  # time, frequency
_SLOPE, _FLOOR = 0.2, -0.4


class SpeechEmbedding(nn.Module):
    """From samples, shape (n_clips, n_samples), float32 in [-1, 1] at 16 kHz, to frames, (n_clips, n_frames, 96).

    J. Lin, K. Kilgour, D. Roblek, M. Sharifi (2020), "Training Keyword Spotters with Limited and Synthesized Speech
    Data", arXiv:2002.01322.

    Parameters
    ----------
    spectrogram, embedding : sequence of Node
        The two published graphs. Of the first, the filters of the Fourier transform and of the mel scale are taken; of
        the second, the convolutions.
    scale : float
        What samples are multiplied by: the graphs are for 16-bit numbers.
    n_fft, hop : int
        Length of the pieces that are transformed, and from one's start to the next's, samples.
    floor : float
        Least power.
    range_db : float
        How far below the loudest of the clip levels may lie.
    divisor, offset : float
        What levels in dB are divided by, and what is then added.

    Raises
    ------
    ValueError, RuntimeError
        They are other graphs.
    """

    waves: Tensor
    mels: Tensor

    def __init__(
        self,
        spectrogram: Sequence[Node],
        embedding: Sequence[Node],
        *,
        scale: float,
        n_fft: int,
        hop: int,
        floor: float,
        range_db: float,
        divisor: float,
        offset: float,
    ) -> None:
        super().__init__()
        self.scale, self.n_fft, self.hop = scale, n_fft, hop
        self.floor, self.range_db, self.divisor, self.offset = floor, range_db, divisor, offset
        waves = [node.weights[0] for node in spectrogram if node.operator == "Conv"]
        (mels,) = [node.weights[0] for node in spectrogram if node.operator == "MatMul"]
        self.register_buffer("waves", torch.cat([torch.tensor(wave[:, 0]) for wave in waves]).T.contiguous())
        self.register_buffer("mels", torch.tensor(mels))
        if self.waves.shape != (n_fft, n_fft + 2) or self.mels.shape != (n_fft // 2 + 1, 32):
            raise ValueError(f"the spectrogram has filters of {tuple(self.waves.shape)} and {tuple(self.mels.shape)}")
        self.layers = nn.Sequential(*_layers(embedding))

    def spectrum(self, samples: Tensor) -> Tensor:
        """Log-mel spectra every 10 ms, scaled as the network wants them, shape (n_clips, n_spectra, 32)."""
        pieces = (samples * self.scale).unfold(-1, self.n_fft, self.hop)  # (n_clips, n_spectra, 512)
        real, imaginary = (pieces @ self.waves).square().chunk(2, dim=-1)  # (n_clips, n_spectra, 257)
        level_db = 10 * torch.log10(((real + imaginary) @ self.mels).clamp(min=self.floor))
        loudest_db = level_db.amax(dim=(1, 2), keepdim=True)
        return torch.maximum(level_db, loudest_db - self.range_db) / self.divisor + self.offset

    def forward(self, samples: Tensor) -> Tensor:
        """Frames every 80 ms, each of 76 spectra, shape (n_clips, n_frames, 96)."""
        maps = self.layers(self.spectrum(samples)[:, None])  # (n_clips, 96, n_frames, 1)
        return torch.squeeze(maps, dim=3).transpose(1, 2)  # (n_clips, n_frames, 96)


def _layers(embedding: Sequence[Node]) -> list[nn.Module]:
    """The convolutions with what stands between them."""
    convolutions = [node.weights for node in embedding if node.operator == "Conv"]
    if len(convolutions) != _N_CONVOLUTIONS:
        raise ValueError(f"the embedding has {len(convolutions)} convolutions, expected {_N_CONVOLUTIONS}")
    layers: list[nn.Module] = []
    for i, (kernel, *bias) in enumerate(convolutions):
        n_out, n_in, n_steps, n_bands = kernel.shape
        # padded along frequency only
        layer = nn.Conv2d(n_in, n_out, (n_steps, n_bands), padding=(0, n_bands // 2), bias=bool(bias))
        layer.load_state_dict(dict(zip(("weight", "bias"), map(torch.tensor, (kernel, *bias)), strict=False)))
        layers.append(layer)
        if i < _N_CONVOLUTIONS - 1:
            layers += [nn.LeakyReLU(_SLOPE), nn.Threshold(_FLOOR, _FLOOR)]
        if i in _POOLED_AFTER:
            layers.append(nn.MaxPool2d(_POOLED_AFTER[i]))
    return layers
