"""What a copy's recipe does to one picture: the same to every frame of the copy, with no memory of the others."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from poise.recipe import Augmentation

MID_GREY = 127.5
"""What contrast leaves as it is."""


def augment_picture(frame: NDArray[np.uint8], recipe: Augmentation) -> NDArray[np.uint8]:
    """One frame of a copy: cropped, then mirrored, then lighter or darker.

    Parameters
    ----------
    frame : ndarray of shape (height, width, 3), uint8
        RGB of the source's frame.
    recipe : Augmentation
        What is done; speed and what concerns the sound changes nothing here.

    Returns
    -------
    ndarray of shape (height', width', 3), uint8
        The frame itself where nothing is done. A crop makes it smaller and keeps its shape but for a pixel's rounding;
        encoders resize as they always do.
    """
    picture = frame if recipe.crop is None else _crop(frame, *recipe.crop)
    if recipe.flip:
        picture = picture[:, ::-1]
    if recipe.brightness or recipe.contrast != 1:
        return _light(recipe.brightness, recipe.contrast)[picture]
    return np.ascontiguousarray(picture)  # torch takes no mirrored view


def _crop(frame: NDArray[np.uint8], share: float, x: float, y: float) -> NDArray[np.uint8]:
    height, width = (max(1, round(share * side)) for side in frame.shape[:2])
    top, left = round(y * (frame.shape[0] - height)), round(x * (frame.shape[1] - width))
    return frame[top : top + height, left : left + width]


@lru_cache(maxsize=64)
def _light(brightness: float, contrast: float) -> NDArray[np.uint8]:
    """What each of the 256 values becomes, shape (256,)."""
    values = (np.arange(256) - MID_GREY) * contrast + MID_GREY + 255 * brightness
    table: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    table.setflags(write=False)
    return table
