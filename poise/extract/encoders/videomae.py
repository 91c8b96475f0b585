"""VideoMAE as a frozen encoder of pictures: 16 frames of a clip in, the mean of its patch tokens out.

VideoMAE: Z. Tong, Y. Song, J. Wang, L. Wang (2022), "VideoMAE: Masked Autoencoders are Data-Efficient Learners for
Self-Supervised Video Pre-Training", arXiv:2203.12602.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.base import Encoder, PreparedClip, VideoEncoder
from poise.extract.encoders.weights import PREPROCESSOR, Weights

if TYPE_CHECKING:
    import torch

_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class PicturePreprocessing:
    """What a checkpoint's ``preprocessor_config.json`` says is done to a frame, in pixels and shares of 255."""

    shortest_edge: int | None
    resized: tuple[int, int]
    height: int
    width: int
    mode: str
    rescale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, weights: Weights) -> PicturePreprocessing:
        """The checkpoint's own numbers.

        Raises
        ------
        EncoderError
            One is missing, or asks for something that is not built here.
        """
        given = weights.preprocessor
        try:
            size, crop = given["size"], given.get("crop_size")
            size = {"shortest_edge": size} if isinstance(size, int) else size
            crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
            crop = crop if crop is not None and given.get("do_center_crop", True) else size
            if not all(given.get(step, True) for step in ("do_resize", "do_rescale", "do_normalize")):
                raise ValueError("a step is turned off")
            by_edge = "shortest_edge" in size
            return cls(
                shortest_edge=int(size["shortest_edge"]) if by_edge else None,
                resized=(0, 0) if by_edge else (int(size["height"]), int(size["width"])),
                height=int(crop["height"]),
                width=int(crop["width"]),
                mode=_MODES[int(given.get("resample", 2))],
                rescale=float(given.get("rescale_factor", 1 / 255)),
                mean=tuple(float(value) for value in given["image_mean"]),
                std=tuple(float(value) for value in given["image_std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(
                f"{weights.folder / PREPROCESSOR}: {type(error).__name__} {error}. Expected size, crop_size, "
                "image_mean, image_std and a bilinear or bicubic resample, as a VideoMAE checkpoint has them."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {
            "resize": {"shortest_edge": self.shortest_edge} if self.shortest_edge else list(self.resized),
            "mode": f"{self.mode}, antialiased, uint8",
            "crop": [self.height, self.width],
            "rescale": self.rescale,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """Size that a frame is resized to before the crop."""
        if self.shortest_edge is None:
            return self.resized
        if height <= width:
            return self.shortest_edge, int(self.shortest_edge * width / height)
        return int(self.shortest_edge * height / width), self.shortest_edge


class VideoMAEEncoder(VideoEncoder):
    """A pretrained VideoMAE.

    Parameters
    ----------
    weights : Weights
        Its files.
    name : str
        What its feature set is called.
    n_frames : int
        Frames of a clip; the model has been trained with one number of them and takes no other.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    EncoderError
        The checkpoint does not fit these settings, or its preprocessing is not understood.
    """

    model_types: ClassVar[frozenset[str]] = frozenset({"videomae"})
    uses_every_core = True

    def __init__(self, weights: Weights, *, name: str, n_frames: int = 16, device: str = "auto") -> None:
        self.name = name
        self.weights = weights
        self.dim = int(weights.config.get("hidden_size", 768))
        self.n_frames = n_frames
        self.preprocessing = PicturePreprocessing.read(weights)
        self._device_name = device
        self._model: Any = None
        self._device: torch.device | None = None
        self._check()

    def _check(self) -> None:
        own_frames = int(self.weights.config.get("num_frames", 16))
        if own_frames != self.n_frames:
            raise EncoderError(
                f"{self.weights.source} looks at {own_frames} frames of a clip, got n_frames={self.n_frames}. "
                f"Use --frames {own_frames}."
            )
        image_size = self.weights.config.get("image_size", 224)
        expected = tuple(image_size) if isinstance(image_size, list) else (image_size, image_size)
        made = (self.preprocessing.height, self.preprocessing.width)
        if made != expected:
            raise EncoderError(
                f"{self.weights.folder}: the preprocessing makes pictures of {made}, the model expects {expected}. "
                "Take config.json and preprocessor_config.json from the same checkpoint."
            )

    def settings(self) -> Mapping[str, Any]:
        """Weights by content, preprocessing, frame rule and pooling."""
        return {
            "model_type": "videomae",
            "weights": self.weights.digest,
            "preprocessing": self.preprocessing.to_json(),
            "n_frames": self.n_frames,
            "frame_times": "centres of equal parts",
            "layer": "last",
            "pooling": "mean over patch tokens",
            "precision": "float32",
        }

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Centres of ``n_frames`` equal parts of the span, shape (n_frames,), seconds."""
        return start_s + (end_s - start_s) * (np.arange(self.n_frames) + 0.5) / self.n_frames

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop as transformers' own processor does, bit for bit: shape (3, height, width), uint8."""
        import torch
        from torch.nn.functional import interpolate

        rules = self.preprocessing
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None]  # (1, 3, height, width)
        size = rules.target_size(*frame.shape[:2])
        if size != frame.shape[:2]:
            picture = interpolate(picture, size=size, mode=rules.mode, align_corners=False, antialias=True)
        top, left = (size[0] - rules.height) // 2, (size[1] - rules.width) // 2
        crop = picture[0, :, top : top + rules.height, left : left + rules.width]
        prepared: NDArray[np.uint8] = crop.contiguous().numpy()  # (3, height, width)
        return prepared

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
            # on a processor larger batches only cost memory traffic (0.73 of its peak at 1-2 clips, 0.62 at 8)
            self.batch_size = 2 if self._device.type == "cpu" else 32
            self._model = load_model(self.weights, "VideoMAEModel", self._device, attn_implementation="sdpa")

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Embeddings, shape (n_clips, dim), float32."""
        import torch

        from poise.extract.encoders.pretrained import exact_inference

        if not clips:
            return np.empty((0, self.dim), np.float32)
        self.load()
        with exact_inference():
            pixels = torch.from_numpy(np.stack([clip.data for clip in clips])).to(self._device)
            shape = (1, 1, 3, 1, 1)
            mean = torch.tensor(self.preprocessing.mean, device=self._device).view(shape) / self.preprocessing.rescale
            std = torch.tensor(self.preprocessing.std, device=self._device).view(shape) / self.preprocessing.rescale
            values = (pixels.float() - mean) / std  # (n_clips, n_frames, 3, height, width)
            tokens = self._model(pixel_values=values).last_hidden_state  # (n_clips, n_tokens, dim)
            embeddings: NDArray[np.float32] = tokens.mean(dim=1).cpu().numpy()  # (n_clips, dim)
        return embeddings
