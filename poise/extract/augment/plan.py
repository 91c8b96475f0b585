"""Which copies a table gets: so many of each recording, or as many as fill up the classes; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from poise.copies import copy_name
from poise.errors import ExtractSettingsError, ManifestError
from poise.extract.augment.draw import draw_recipes
from poise.manifest import Manifest

MAX_ROWS = 1_000_000
"""Of a table with its copies: as many recordings as a store was made for. Drawing them takes a minute."""


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """What one class has.

    Attributes
    ----------
    label : str
        Its name; empty where labels were not read.
    originals, copies_before, copies_added : int
        Recordings, copies that the table had, and new ones.
    """

    label: str
    originals: int
    copies_before: int
    copies_added: int

    @property
    def total(self) -> int:
        """All rows of the class."""
        return self.originals + self.copies_before + self.copies_added

    @property
    def copy_share(self) -> float:
        """Share of copies among them; 0 where there are no rows."""
        return (self.copies_before + self.copies_added) / self.total if self.total else 0.0


def augment_manifest(manifest: Manifest, *, copies: int = 0, balance: bool = False, seed: int = 0) -> Manifest:
    """Add copies that are made on the fly; the rows that are there stay, in front.

    Parameters
    ----------
    manifest : Manifest
        The recordings. Its copies stay, and no copy is made of them.
    copies : int
        New copies of each original.
    balance : bool
        Fill every class up to the size of the largest, after ``copies``, taking its originals in turn.
    seed : int
        Of all recipes. The recipe of a source's n-th copy depends on the seed, the source's path and n alone, never
        on a label; a recipe that the table has already is passed over.

    Returns
    -------
    Manifest
        New rows are named ``path#recipe``, and have everything else of their source.

    Raises
    ------
    ExtractSettingsError
        There is nothing to do, a number is negative, or the table would have more than ``MAX_ROWS`` rows.
    ManifestError
        Classes are to be filled up and labels were not read.
    """
    if copies < 0:
        raise ExtractSettingsError(f"copies is {copies}. Expected 0 or more, as --copies 2.")
    if not copies and not balance:
        raise ExtractSettingsError("There is nothing to add. Give --copies N, or --balance, or both.")
    if balance and not len(manifest.label_names):
        raise ManifestError("Classes cannot be filled up without labels. Give the table a column 'label'.")
    originals = np.flatnonzero(~manifest.is_copy)
    _check_size(manifest, len(originals), copies, balance=balance)
    sources = np.repeat(originals, copies)
    if balance:
        sources = np.concatenate([sources, _fill_up(manifest, originals, copies)])
    return _append(manifest, sources, seed)


def _check_size(manifest: Manifest, n_originals: int, copies: int, *, balance: bool) -> None:
    n_rows = len(manifest) + n_originals * copies
    if n_rows <= MAX_ROWS and balance:
        n_rows = manifest.n_classes * int(_class_sizes(manifest, copies).max())
    if n_rows > MAX_ROWS:
        raise ExtractSettingsError(
            f"The table would have {n_rows:,} rows. Expected at most {MAX_ROWS:,}: give a smaller --copies, or leave "
            "--balance out."
        )


def _class_sizes(manifest: Manifest, copies: int) -> NDArray[np.int64]:
    """Rows of each class once every original has its copies."""
    originals = manifest.labels[~manifest.is_copy]
    n_classes = manifest.n_classes
    return np.bincount(manifest.labels, minlength=n_classes) + copies * np.bincount(originals, minlength=n_classes)


def _fill_up(manifest: Manifest, originals: NDArray[np.int64], copies: int) -> NDArray[np.int64]:
    """Sources of the copies that smaller classes lack, class after class."""
    sizes = _class_sizes(manifest, copies)
    chosen: list[int] = []
    for rank in range(manifest.n_classes):
        of_class = originals[manifest.labels[originals] == rank].tolist()
        chosen += islice(cycle(of_class), int(sizes.max() - sizes[rank]))
    return np.array(chosen, dtype=np.int64)


def _append(manifest: Manifest, sources: NDArray[np.int64], seed: int) -> Manifest:
    drawing = {row: _new_recipes(manifest, row, seed) for row in dict.fromkeys(sources.tolist())}
    recipes = [next(drawing[row]) for row in sources.tolist()]
    n, own = len(manifest), np.concatenate([np.arange(len(manifest)), sources])
    return replace(
        manifest,
        paths=(*manifest.paths, *(copy_name(manifest.paths[row], r) for row, r in zip(sources, recipes, strict=True))),
        labels=manifest.labels[own],
        speakers=None if manifest.speakers is None else manifest.speakers[own],
        sources=np.concatenate([manifest.sources, sources]),
        augmentations=(*manifest.augmentations, *recipes),
        extra={name: tuple(cells[row] for row in own) for name, cells in manifest.extra.items()},
        lines_of_rows=(),
        recipes=(*(manifest.recipes or ("",) * n), *recipes),
    )


def _new_recipes(manifest: Manifest, row: int, seed: int) -> Iterator[str]:
    there = {manifest.recipe(int(copy)) for copy in np.flatnonzero(manifest.sources == row)}
    return (str(recipe) for recipe in draw_recipes(manifest.paths[row], seed=seed) if str(recipe) not in there)


def count_classes(before: Manifest, after: Manifest) -> tuple[ClassCounts, ...]:
    """What :func:`augment_manifest` did, class by class, lowest first.

    Parameters
    ----------
    before, after : Manifest
        What it got and what it gave.
    """
    is_new = np.arange(len(after)) >= len(before)
    ranks = range(after.n_classes) if after.n_classes else (-1,)
    found = []
    for rank in ranks:
        here = after.labels == rank
        found.append(
            ClassCounts(
                label=after.label_names[rank] if rank >= 0 else "",
                originals=int((here & ~after.is_copy).sum()),
                copies_before=int((here & after.is_copy & ~is_new).sum()),
                copies_added=int((here & is_new).sum()),
            )
        )
    return tuple(found)
