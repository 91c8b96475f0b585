"""Augmented copies: made of their source while it is read, planned for a whole table, and written out to look at."""

from __future__ import annotations

from poise.extract.augment.augmenter import Augmenter
from poise.extract.augment.picture import augment_picture
from poise.extract.augment.plan import ClassCounts, augment_manifest, count_classes
from poise.extract.augment.sound import augment_sound
from poise.recipe import Augmentation

__all__ = [
    "Augmentation",
    "Augmenter",
    "ClassCounts",
    "augment_manifest",
    "augment_picture",
    "augment_sound",
    "count_classes",
]
