"""One copy as the reader of its source sees it: a clock of its own, its pictures and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from poise.extract.augment.picture import augment_picture
from poise.extract.augment.sound import augment_sound, context_s
from poise.extract.media.sound import SoundReader
from poise.recipe import Augmentation

TimeT = TypeVar("TimeT", float, NDArray[np.float64])


@dataclass(frozen=True)
class Augmenter:
    """A copy that is made of its source clip by clip, in memory that does not depend on its length.

    Times of the copy are those of the source divided by the speed. It can be pickled, and holds no state.

    Parameters
    ----------
    recipe : Augmentation
        What is done; ``Augmentation()`` hands everything through as it is.

    Examples
    --------
    >>> copy = Augmenter.from_text("speed=1.05+flip")
    >>> copy.copy_time(21.0), copy.source_span(10.0, 20.0)
    (20.0, (10.5, 21.0))
    """

    recipe: Augmentation

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The copy that :meth:`poise.manifest.Manifest.recipe` names; an empty text is the recording itself.

        Raises
        ------
        ExtractSettingsError
            The text is no recipe.
        """
        return cls(Augmentation.parse(text) if text else Augmentation())

    def source_span(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Span of the source that a span of the copy is made of, seconds."""
        return start_s * self.recipe.speed, end_s * self.recipe.speed

    def source_times(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Times of the source at times of the copy, seconds, any shape."""
        return times_s * self.recipe.speed

    def copy_time(self, source_s: TimeT) -> TimeT:
        """Time of the copy, seconds, at a time of the source, or at many of any shape; undoes :meth:`source_times`."""
        return source_s / self.recipe.speed

    @property
    def context_s(self) -> float:
        """How much sound before a clip :meth:`read_sound` looks at, seconds of the source; keep it in the reader."""
        return context_s(self.recipe)

    def picture(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One frame of the copy, see :func:`poise.extract.augment.picture.augment_picture`.

        Parameters
        ----------
        frame : ndarray of shape (height, width, 3), uint8

        Returns
        -------
        ndarray of shape (height', width', 3), uint8
            Smaller if the copy is cropped.
        """
        return augment_picture(frame, self.recipe)

    def read_sound(self, reader: SoundReader, start_s: float, end_s: float) -> NDArray[np.float32]:
        """Sound of a span of the copy, see :func:`poise.extract.augment.sound.augment_sound`.

        Parameters
        ----------
        reader : SoundReader
            The source's sound, read until the span's end in source time, and not forgotten from :attr:`context_s`
            before its start on.
        start_s, end_s : float
            A span of the copy, seconds.

        Returns
        -------
        ndarray of shape (n_samples,), float32
            At the reader's rate; spans of equal length give equally many, as far as the track was read.
        """
        first_s, last_s = self.source_span(start_s, end_s)
        rate_hz = reader.sample_rate_hz
        if not self.recipe.changes_sound:
            return reader.cut(first_s, last_s)
        # the reader cuts from its first sample on, however early the span begins
        begin_s = max(first_s - self.context_s, reader.start_s or 0.0)
        n_before = round((first_s - begin_s) * rate_hz)
        samples = reader.cut(begin_s, last_s)
        n_samples = round((end_s - start_s) * rate_hz)
        n_here = round((len(samples) - n_before) / self.recipe.speed)
        return augment_sound(
            samples,
            self.recipe,
            n_before=n_before,
            n_samples=n_samples if n_here >= n_samples - 1 else max(0, n_here),  # one may be lost by rounding
            start_s=start_s,
            sample_rate_hz=rate_hz,
        )
