"""Recipes of new copies, drawn from a seed, the source's path and the copy's number: from nothing else.

A recipe never sees the label. If it did, or if classes had distributions of their own, a head could read the label off
what was done to the copy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import count

from poise.recipe import Augmentation

SPEEDS = (0.95, 0.98, 1.02, 1.05)
PITCHES = (-1.0, -0.5, 0.5, 1.0)
REVERBS = (0.1, 0.15, 0.2, 0.25, 0.3)

SHARES = {
    "speed": 0.5,
    "flip": 0.5,
    "brightness": 0.5,
    "contrast": 0.5,
    "crop": 0.5,
    "noise": 0.4,
    "pitch": 0.4,
    "gain": 0.5,
    "reverb": 0.3,
}
"""How often each part is drawn; a draw that leaves picture or sound as it was is drawn again."""


def draw_recipes(path: str, *, seed: int) -> Iterator[Augmentation]:
    """Recipes of the first, second, third, ... copy of a source, each different from those before.

    Parameters
    ----------
    path : str
        The source as the table gives it.
    seed : int
        Of the whole table.

    Yields
    ------
    Augmentation
        Without end; each changes both picture and sound.
    """
    drawn: set[str] = set()
    name = os.path.normpath(path)
    for number in count(1):
        numbers = _uniform(f"{seed}\0{number}\0{name}")
        recipe = _draw(numbers)
        while str(recipe) in drawn or not _changes_both(recipe):
            recipe = _draw(numbers)
        drawn.add(str(recipe))
        yield recipe


def _changes_both(recipe: Augmentation) -> bool:
    return recipe.changes_picture and recipe.changes_sound


def _draw(numbers: Iterator[float]) -> Augmentation:
    """One recipe; every part takes as many numbers whether it is done or not."""
    done = {name: next(numbers) < share for name, share in SHARES.items()}
    drawn = {
        "speed": _one_of(SPEEDS, next(numbers)),
        "flip": True,
        "brightness": _signed(0.02, 0.1, next(numbers), digits=2),
        "contrast": round(1 + _signed(0.05, 0.15, next(numbers), digits=2), 2),
        "crop": (
            round(0.9 + 0.08 * next(numbers), 2),
            round(next(numbers), 1),
            round(next(numbers), 1),
        ),
        "noise": float(round(22 + 8 * next(numbers))),
        "pitch": _one_of(PITCHES, next(numbers)),
        "gain": _signed(1.0, 4.0, next(numbers), digits=1),
        "reverb": _one_of(REVERBS, next(numbers)),
    }
    seed = int(next(numbers) * 10_000)
    return Augmentation(**{name: value for name, value in drawn.items() if done[name]}, seed=seed)  # type: ignore[arg-type]


def _one_of(values: tuple[float, ...], number: float) -> float:
    return values[int(number * len(values))]


def _signed(least: float, most: float, number: float, *, digits: int) -> float:
    """A size between two, up or down, on a grid that is short to write."""
    sign, size = (-1, 2 * number) if number < 0.5 else (1, 2 * number - 1)
    return round(sign * (least + (most - least) * size), digits)


def _uniform(text: str) -> Iterator[float]:
    """Numbers in [0, 1) without end, the same on every machine and with every library."""
    stem = hashlib.sha256(f"poise augment\0{text}".encode("utf-8", "surrogateescape"))
    for number in count():
        block = stem.copy()
        block.update(b"\0%d" % number)
        yield int.from_bytes(block.digest()[:6], "big") / 2**48
