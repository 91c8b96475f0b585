"""What is done to a frame before a video transformer sees it, by the numbers of the checkpoint's own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.weights import Weights

if TYPE_CHECKING:
    import torch

_MODES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class PicturePreprocessing:
    """What a checkpoint's preprocessing file says is done to a frame, in pixels and shares of 255.

    Attributes
    ----------
    shortest_edge : int or None
        Length that the shorter edge is resized to; None if both are resized to ``resized``.
    resized : tuple of int
        Height and width that a frame is resized to.
    height, width : int
        Size of the crop at the centre.
    mode : {"bilinear", "bicubic"}
        How pixels are interpolated.
    rescale : float
        What a pixel is multiplied by.
    offset : float
        What is then added.
    mean, std : tuple of float
        What is then subtracted from each channel, and what it is divided by.
    """

    shortest_edge: int | None
    resized: tuple[int, int]
    height: int
    width: int
    mode: str
    rescale: float
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(
        cls,
        weights: Weights,
        *,
        model: str,
        rescale: float = 1 / 255,
        has_offset: bool = False,
        edge_of_crop: Callable[[int], int] | None = None,
    ) -> PicturePreprocessing:
        """The checkpoint's own numbers, as its own processor in transformers understands them.

        Parameters
        ----------
        weights : Weights
            Files of the checkpoint.
        model : str
            What its model is called.
        rescale : float
            The factor that is not written down where it is the usual one.
        has_offset : bool
            Whether the processor subtracts 1 after rescaling, unless the file says otherwise.
        edge_of_crop : callable, optional
            From the height of the crop to the shorter edge, where the processor takes no other.

        Raises
        ------
        EncoderError
            A number is missing, or asks for something that is not built here.
        """
        given = weights.preprocessor
        try:
            size, crop = given["size"], given.get("crop_size")
            size = {"shortest_edge": size} if isinstance(size, int) else size
            crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
            crop = crop if crop is not None and given.get("do_center_crop", True) else size
            if not all(given.get(step, True) for step in ("do_resize", "do_rescale", "do_normalize")):
                raise ValueError("a step is turned off")
            height, width = int(crop["height"]), int(crop["width"])
            if edge_of_crop is not None:
                size = {"shortest_edge": edge_of_crop(height)}
            by_edge = "shortest_edge" in size
            resized = (0, 0) if by_edge else (int(size["height"]), int(size["width"]))
            least = (int(size["shortest_edge"]),) * 2 if by_edge else resized
            if height > least[0] or width > least[1]:
                raise ValueError(f"the crop {height} x {width} is larger than what is left of a frame")
            return cls(
                shortest_edge=int(size["shortest_edge"]) if by_edge else None,
                resized=resized,
                height=height,
                width=width,
                mode=_MODES[int(given.get("resample", 2))],
                rescale=float(given.get("rescale_factor", rescale)),
                offset=-1.0 if has_offset and given.get("offset", True) else 0.0,
                mean=tuple(float(value) for value in given["image_mean"]),
                std=tuple(float(value) for value in given["image_std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(
                f"{weights.preprocessor_file}: {type(error).__name__} {error}. Expected size, crop_size, "
                f"image_mean, image_std and a bilinear or bicubic resample, as a {model} checkpoint has them."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        offset = {"offset": self.offset} if self.offset else {}
        return {
            "resize": {"shortest_edge": self.shortest_edge} if self.shortest_edge else list(self.resized),
            "mode": f"{self.mode}, antialiased, uint8",
            "crop": [self.height, self.width],
            "rescale": self.rescale,
            **offset,
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

    def resize_and_crop(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One frame as transformers' own processor resizes and crops it, bit for bit.

        Parameters
        ----------
        frame : ndarray of shape (height, width, 3), uint8
            RGB.

        Returns
        -------
        ndarray of shape (3, crop height, crop width), uint8
        """
        import torch
        from torch.nn.functional import interpolate

        picture = torch.from_numpy(frame).permute(2, 0, 1)[None]  # (1, 3, height, width)
        size = self.target_size(*frame.shape[:2])
        if size != frame.shape[:2]:
            picture = interpolate(picture, size=size, mode=self.mode, align_corners=False, antialias=True)
        top, left = (size[0] - self.height) // 2, (size[1] - self.width) // 2
        crop = picture[0, :, top : top + self.height, left : left + self.width]
        prepared: NDArray[np.uint8] = crop.contiguous().numpy()  # (3, height, width)
        return prepared

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels of shape (n_clips, n_frames, 3, height, width), uint8, as the model wants them: float32."""
        import torch

        shape = (1, 1, 3, 1, 1)
        mean = torch.tensor(self.mean, device=pixels.device).view(shape)
        std = torch.tensor(self.std, device=pixels.device).view(shape)
        if self.offset:
            return (pixels.float() * self.rescale + self.offset - mean) / std
        return (pixels.float() - mean / self.rescale) / (std / self.rescale)
