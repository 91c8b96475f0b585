"""The network of EfficientNet-Lite0 in torch, without its classifier, from the weights of the published checkpoint.

Batch normalisation is folded into the convolutions before it: in evaluation both are one linear map.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# repeats, stride of the first, of MBConv blocks; kernels, expansions and widths are those of the weights
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))
_EPSILON = 1e-3

State = Mapping[str, Tensor]


class EfficientNetLite0(nn.Module):
    """From pictures of shape (n, 3, 224, 224), float32, to their pooled last feature maps, (n, 1280), float32.

    M. Tan and Q. V. Le (2019), "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    arXiv:1905.11946. The Lite form (github.com/tensorflow/tpu, models/official/efficientnet/lite) has ReLU6 and no
    squeeze-and-excitation.

    Parameters
    ----------
    state : mapping of str to Tensor
        The checkpoint, by the names of lukemelas' EfficientNet-PyTorch.

    Raises
    ------
    KeyError, RuntimeError
        Weights are missing, or do not fit.
    """

    def __init__(self, state: State) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(state, "_conv_stem", "_bn0", stride=2), nn.ReLU6()]
        for n_blocks, stride in _STAGES:
            for i in range(n_blocks):
                prefix = f"_blocks.{len(layers) - 2}."
                layers.append(_Block(state, prefix, stride=1 if i else stride, skip=i > 0))
        layers += [_convolution(state, "_conv_head", "_bn1"), nn.ReLU6()]
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pooled feature maps, shape (n, 1280)."""
        maps = self.layers(pictures)  # (n, 1280, 7, 7)
        return torch.mean(maps, dim=(2, 3))  # (n, 1280)


class _Block(nn.Module):
    """An inverted residual block: expanded, filtered for each channel, projected."""

    def __init__(self, state: State, prefix: str, *, stride: int, skip: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if f"{prefix}_expand_conv.weight" in state:
            layers += [_convolution(state, f"{prefix}_expand_conv", f"{prefix}_bn0"), nn.ReLU6()]
        layers += [_convolution(state, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride), nn.ReLU6()]
        layers += [_convolution(state, f"{prefix}_project_conv", f"{prefix}_bn2")]
        self.layers = nn.Sequential(*layers)
        self.skip = skip

    def forward(self, maps: Tensor) -> Tensor:
        filtered: Tensor = self.layers(maps)
        return maps + filtered if self.skip else filtered


def _convolution(state: State, convolution: str, norm: str, *, stride: int = 1) -> nn.Module:
    """A convolution with its batch normalisation, padded as TensorFlow's SAME pads pictures of even size."""
    kernel = state[f"{convolution}.weight"]
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    n_out, n_in, size, _ = kernel.shape
    depthwise = n_in == 1
    layer = nn.Conv2d(n_out if depthwise else n_in, n_out, size, stride, groups=n_out if depthwise else 1)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    layer.load_state_dict({"weight": kernel * gain[:, None, None, None], "bias": bias})
    before = (size - stride) // 2
    after = size - stride - before
    return layer if after == 0 else nn.Sequential(nn.ZeroPad2d((before, after, before, after)), layer)
