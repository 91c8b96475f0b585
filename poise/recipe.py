"""What is done to one augmented copy of a recording, as a record and as a text that stands in a table.

Doing it to pictures and sound lives in :mod:`poise.extract.augment`.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from poise.errors import ExtractSettingsError

AUGMENTATION_CONTRACT = 1
"""Version of what the parts of a recipe mean in numbers; part of every copy's key."""

RANGES = {
    "speed": (0.95, 1.05),
    "brightness": (-0.2, 0.2),
    "contrast": (0.8, 1.25),
    "noise": (22.0, 30.0),
    "pitch": (-1.0, 1.0),
    "gain": (-6.0, 6.0),
    "reverb": (0.0, 0.5),
}
"""Least and greatest value of each part that is one number: what leaves a level of confidence as it was."""

CROP_RANGE = (0.85, 1.0)
"""Least and greatest share of width and height that a crop keeps."""

MAX_SEED = 2**32 - 1

_EXAMPLE = "speed=1.05+flip+brightness=0.08+contrast=1.1+crop=0.94:0.3:0.7+noise=26+pitch=-0.5+gain=-3+reverb=0.25"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to one copy. Two records that do the same are equal and have the same text.

    The text names the parts that do something, in the order below, with ``+`` between them:
    ``speed=1.05+flip+crop=0.94:0.3:0.7+noise=26+seed=17``. It holds no blank, comma, slash or ``#``.

    Parameters
    ----------
    speed : float
        Speed of picture and sound together, 0.95 to 1.05; the voice keeps its pitch.
    flip : bool
        Whether left and right of the picture change places.
    brightness : float
        Added to the picture, as a share of full scale, -0.2 to 0.2.
    contrast : float
        Factor of every pixel's distance from mid grey, 0.8 to 1.25.
    crop : (float, float, float), optional
        Share of width and height that is kept, 0.85 to 1, and where it lies in what is left over: 0 is left (top),
        1 right (bottom).
    noise : float, optional
        White noise so many dB below the sound of each clip, 22 to 30.
    pitch : float
        Semitones that the voice is raised, -1 to 1; the speed stays.
    gain : float
        dB that the sound is made louder, -6 to 6.
    reverb : float
        Level of a short room's echo relative to the sound itself, 0 to 0.5.
    seed : int
        Chooses noise and echo, 0 to 2**32 - 1; always 0 where there is neither.

    Raises
    ------
    ExtractSettingsError
        A value is no number or out of its range.

    Examples
    --------
    >>> str(Augmentation(speed=1.05, flip=True))
    'speed=1.05+flip'
    >>> Augmentation.parse("flip+speed=1.050") == Augmentation(speed=1.05, flip=True)
    True
    """

    speed: float = 1.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 1.0
    crop: tuple[float, float, float] | None = None
    noise: float | None = None
    pitch: float = 0.0
    gain: float = 0.0
    reverb: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None or name != "noise":
                object.__setattr__(self, name, _checked(name, value, least, most))
        if not isinstance(self.flip, bool):
            raise ExtractSettingsError(f"flip is {self.flip!r}. Expected True or False.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed <= MAX_SEED:
            raise ExtractSettingsError(f"seed is {self.seed!r}. Expected a whole number from 0 to {MAX_SEED}.")
        object.__setattr__(self, "crop", _checked_crop(self.crop))
        if self.noise is None and not self.reverb:
            object.__setattr__(self, "seed", 0)  # it would choose nothing, and make two recipes of one

    @property
    def changes_picture(self) -> bool:
        """Whether the picture is another one than the source's; speed counts."""
        return self.speed != 1 or self.flip or self.brightness != 0 or self.contrast != 1 or self.crop is not None

    @property
    def changes_sound(self) -> bool:
        """Whether the sound is another one than the source's; speed counts."""
        return bool(self.speed != 1 or self.noise is not None or self.pitch or self.gain or self.reverb)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is done, in the order of the text; without the seed."""
        return tuple(field.name for field in fields(self) if field.name != "seed" and self._does(field.name))

    def _does(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)

    def __str__(self) -> str:
        return "+".join(
            _write(field.name, getattr(self, field.name)) for field in fields(self) if self._does(field.name)
        )

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """The record that a text means; parts may stand in any order.

        Raises
        ------
        ExtractSettingsError
            A part is unknown, stands twice or has a value that it cannot have, or nothing would be changed.
        """
        values: dict[str, Any] = {}
        for part in re.split(r"\+(?=[^\d.])", text):  # the + of a number has a digit behind it
            name, equals, value = part.partition("=")
            if name not in cls.__dataclass_fields__:
                raise ExtractSettingsError(_unknown(name, text))
            if name in values:
                raise ExtractSettingsError(f"The augmentation {text!r} gives {name} twice. Expected each part once.")
            values[name] = _read(name, value, given=bool(equals))
        found = cls(**values)
        if not found.parts:
            raise ExtractSettingsError(f"The augmentation {text!r} changes nothing. Expected parts as {_EXAMPLE}.")
        return found


def copy_key(file_key: str, recipe: str) -> str:
    """Key of a copy that is made on the fly.

    Parameters
    ----------
    file_key : str
        Key of the source's bytes, 64 hexadecimal digits.
    recipe : str
        Text of the augmentation as ``str(Augmentation)`` writes it; empty for the recording itself.

    Returns
    -------
    str
        64 hexadecimal digits; ``file_key`` itself for an empty recipe.
    """
    if not recipe:
        return file_key
    told = f"poise augmented copy\0{AUGMENTATION_CONTRACT}\0{file_key}\0{recipe}"
    return hashlib.sha256(told.encode()).hexdigest()


def _checked(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ExtractSettingsError(f"{name} is {value!r}. Expected a number from {least:g} to {most:g}.")
    if not least <= value <= most:
        raise ExtractSettingsError(f"{name} is {value:g}. Expected {least:g} to {most:g}.")
    return float(value) + 0.0  # no -0.0: it would print another text


def _checked_crop(crop: Any) -> tuple[float, float, float] | None:
    if crop is None:
        return None
    if not isinstance(crop, tuple | list) or len(crop) != 3:
        raise ExtractSettingsError(f"crop is {crop!r}. Expected three numbers, share kept, x and y: crop=0.94:0.3:0.7.")
    share = _checked("crop's share", crop[0], *CROP_RANGE)
    x, y = (_checked(f"crop's {axis}", value, 0.0, 1.0) for axis, value in zip("xy", crop[1:], strict=True))
    return (share, x, y) if share < 1 else None


def _unknown(name: str, text: str) -> str:
    known = tuple(Augmentation.__dataclass_fields__)
    near = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"The augmentation {text!r} has a part {name!r}, which there is not.{hint} Expected some of "
        f"{', '.join(known)}, as {_EXAMPLE}."
    )


def _read(name: str, value: str, *, given: bool) -> Any:
    if name == "flip":
        if given:
            raise ExtractSettingsError(f"flip={value}: flip has no value. Write flip, or leave it out.")
        return True
    if name == "seed" and not re.fullmatch(r"\d{1,10}", value, re.ASCII):
        raise ExtractSettingsError(f"seed is {value!r}. Expected a whole number from 0 to {MAX_SEED}, as seed=17.")
    numbers = value.split(":") if name == "crop" else [value]
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        expected = "crop=0.94:0.3:0.7" if name == "crop" else f"{name}={_write_number(RANGES[name][1])}"
        raise ExtractSettingsError(f"{name} is {value!r}. Expected plain numbers, as {expected}.")
    if name == "seed":
        return int(value)
    return tuple(float(number) for number in numbers) if name == "crop" else float(value)


def _write(name: str, value: Any) -> str:
    if name == "flip":
        return name
    numbers = value if isinstance(value, tuple) else (value,)
    return f"{name}={':'.join(_write_number(number) for number in numbers)}"


def _write_number(value: float) -> str:
    """The shortest decimal that reads as the same number, without an exponent."""
    text = format(Decimal(repr(value)), "f")
    return text.removesuffix(".0")
