"""The demo's talking head: a pose in, an antialiased picture out, drawn with ellipses in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poise.demo.gestures import Pose

HEIGHT_PX, WIDTH_PX = 240, 320
Colour = tuple[float, float, float]
Floats = NDArray[np.float32]

WHITE: Colour = (238.0, 236.0, 232.0)
DARK: Colour = (28.0, 22.0, 22.0)
MOUTH: Colour = (92.0, 28.0, 34.0)
NOISE_LEVELS = 1.5
N_NOISE = 7


@dataclass(frozen=True, kw_only=True)
class Look:
    """What somebody looks like; colours are RGB 0..255, lengths pixels.

    Attributes
    ----------
    skin, hair, shirt, wall, iris : tuple of float
        Colours.
    head_x, head_y, head_half_width, head_half_height : float
        Centre and half axes of the head at rest.
    hair_px : float
        How far the hair stands out from the head.
    long_hair : bool
        Whether it falls to the shoulders.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    wall: Colour
    iris: Colour
    head_x: float
    head_y: float
    head_half_width: float
    head_half_height: float
    hair_px: float
    long_hair: bool


class Portrait:
    """Draws one person frame by frame.

    Parameters
    ----------
    look : Look
        What the person looks like.
    seed : int
        Seed of the camera's noise.
    """

    def __init__(self, look: Look, *, seed: int) -> None:
        self.look = look
        self._wall = _paint_wall(look)
        rng = np.random.default_rng(seed)
        self._noise = rng.normal(0.0, NOISE_LEVELS, (N_NOISE, 1, HEIGHT_PX, WIDTH_PX)).astype(np.float32)

    def draw(self, pose: Pose, frame: int) -> NDArray[np.uint8]:
        """The picture of one frame of a pose, shape (240, 320, 3), RGB, uint8."""
        canvas = self._wall + self._noise[frame % N_NOISE]
        look = self.look
        x, y = look.head_x + float(pose.head_x[frame]), look.head_y + float(pose.head_y[frame])
        turn = 4.0 * float(pose.gaze_x[frame])
        self._draw_body(canvas, x, y, float(pose.shoulder_x[frame]))
        self._draw_head(canvas, x, y)
        for side in (-1, 1):
            self._draw_eye(canvas, x + turn, y, side, pose, frame)
        self._draw_nose_and_mouth(canvas, x + 1.2 * turn, y, float(pose.mouth[frame]))
        canvas += np.float32(0.5)
        planes = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)  # (3, height, width)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    def _draw_body(self, canvas: Floats, x: float, y: float, shoulder_x: float) -> None:
        look, width, height = self.look, self.look.head_half_width, self.look.head_half_height
        hair_y = y + (0.35 * height if look.long_hair else -0.15 * height)
        hair_height = height * (1.15 if look.long_hair else 0.95)
        _ellipse(canvas, x, hair_y, width + look.hair_px, hair_height, _shade(look.hair, 0.85))
        body_x = look.head_x + shoulder_x
        _ellipse(canvas, body_x, 262.0, 2.15 * width, 262.0 - (look.head_y + 1.12 * height), look.shirt)
        _ellipse(canvas, (x + body_x) / 2, y + 1.05 * height, 0.45 * width, 0.42 * height, _shade(look.skin, 0.82))

    def _draw_head(self, canvas: Floats, x: float, y: float) -> None:
        look, width, height = self.look, self.look.head_half_width, self.look.head_half_height
        for side in (-1, 1):
            _ellipse(canvas, x + side * 0.99 * width, y + 0.05 * height, 6.0, 10.0, _shade(look.skin, 0.88))
        _ellipse(canvas, x, y - 0.12 * height, width + 0.6 * look.hair_px, height, look.hair)
        _ellipse(canvas, x, y, width, height, look.skin, below=y - 0.52 * height, light=0.14)
        _ellipse(canvas, x, y - 0.40 * height, 0.93 * width, 0.36 * height, look.skin, light=0.14)

    def _draw_eye(self, canvas: Floats, x: float, y: float, side: int, pose: Pose, frame: int) -> None:
        look, width, height = self.look, self.look.head_half_width, self.look.head_half_height
        eye_x, eye_y = x + side * 0.42 * width, y - 0.10 * height
        brow_y = eye_y - 13.0 - 3.0 * float(pose.brow[frame])
        _ellipse(canvas, eye_x, brow_y, 11.0, 2.2, _shade(look.hair, 0.8))
        open_share = 1.0 - float(pose.eyelid[frame])
        _ellipse(canvas, eye_x, eye_y, 10.5, 6.5, _shade(look.skin, 0.9))
        if open_share > 0.25:
            opening = 5.6 * open_share
            _ellipse(canvas, eye_x, eye_y, 9.0, opening, WHITE)
            iris_x = eye_x + 4.6 * float(pose.gaze_x[frame])
            iris_y = eye_y + 2.6 * float(pose.gaze_y[frame]) * open_share
            _ellipse(canvas, iris_x, iris_y, 4.3, min(4.3, opening), look.iris)
            _ellipse(canvas, iris_x, iris_y, 2.2, min(2.2, opening), DARK)
            _ellipse(canvas, iris_x - 1.3, iris_y - 1.3, 0.9, 0.9, WHITE)
        _ellipse(canvas, eye_x, eye_y - 5.8 * open_share, 9.5, 1.3, _shade(look.skin, 0.5))

    def _draw_nose_and_mouth(self, canvas: Floats, x: float, y: float, opening: float) -> None:
        look, height = self.look, self.look.head_half_height
        _ellipse(canvas, x, y + 0.22 * height, 6.0, 4.0, _shade(look.skin, 0.86))
        _ellipse(canvas, x, y + 0.10 * height, 3.6, 0.16 * height, _shade(look.skin, 1.05))
        mouth_y, lips = y + 0.52 * height, (0.78 * look.skin[0], 0.52 * look.skin[1], 0.52 * look.skin[2])
        half_width, half_height = 16.0 - 3.0 * opening, 0.6 + 8.5 * opening
        _ellipse(canvas, x, mouth_y, half_width + 2.5, half_height + 3.0, lips)
        _ellipse(canvas, x, mouth_y, half_width, half_height, MOUTH)
        if opening > 0.2:
            _ellipse(canvas, x, mouth_y - 0.55 * half_height, 0.7 * half_width, 0.3 * half_height, WHITE)


def _shade(colour: Colour, share: float) -> Colour:
    red, green, blue = (min(255.0, share * part) for part in colour)
    return red, green, blue


def _paint_wall(look: Look) -> Floats:
    """The still background: a wall lit from the left, a picture frame and a shelf."""
    down, right = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    light = 1.08 - 0.18 * right / WIDTH_PX - 0.12 * down / HEIGHT_PX
    wall = light * np.asarray(look.wall, dtype=np.float32)[:, None, None]  # (3, height, width)
    wall[:, 24:92, 18:74] *= np.float32(0.62)
    wall[:, 29:87, 23:69] *= np.float32(1.9)
    wall[:, 120:127, 244:] *= np.float32(0.6)
    for left, height, tint in ((252, 44, 0.75), (264, 52, 1.15), (278, 38, 0.85), (290, 48, 0.65), (304, 41, 1.2)):
        wall[:, 120 - height : 120, left : left + 10] *= np.float32(tint)
    return np.asarray(np.clip(wall, 0, 255))


def _ellipse(
    canvas: Floats,
    x: float,
    y: float,
    half_width: float,
    half_height: float,
    colour: Colour,
    *,
    below: float | None = None,
    light: float = 0.0,
) -> None:
    """Blend an ellipse into the canvas (3, height, width), its edge one pixel soft.

    ``below`` keeps only the part under that height; ``light`` brightens the left and darkens the right side.
    """
    top, left = max(0, int(y - half_height - 2)), max(0, int(x - half_width - 2))
    bottom, right = min(HEIGHT_PX, int(y + half_height + 3)), min(WIDTH_PX, int(x + half_width + 3))
    if top >= bottom or left >= right:
        return
    down = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None]
    across = (np.arange(left, right, dtype=np.float32) - np.float32(x))[None, :]
    # distance to the edge to first order: value over length of gradient (I. Quilez, "Ellipsoid SDF")
    value = np.sqrt((across / half_width) ** 2 + (down / half_height) ** 2)
    slope = np.sqrt((across / half_width**2) ** 2 + (down / half_height**2) ** 2)
    cover = np.clip(np.float32(0.5) - value * (value - 1) / np.maximum(slope, np.float32(1e-6)), 0, 1)
    if below is not None:
        cover = cover * np.clip(down + np.float32(y - below + 0.5), 0, 1)
    paint = np.asarray(colour, dtype=np.float32)[:, None, None]
    if light:
        paint = paint * (1 - np.float32(light) * across / np.float32(half_width))
    area = canvas[:, top:bottom, left:right]  # (3, rows, columns)
    area += cover * (paint - area)
