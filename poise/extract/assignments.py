"""What a worker is told to read of one recording, and what it finds; how it is decoded is its source's business."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from poise.errors import DecoderDiedError, NotReadableNowError
from poise.extract.encoders.base import PreparedClip
from poise.extract.reading import Notes
from poise.extract.workers.source import ClipSource
from poise.store.schema import Modality
from poise.text import describe_error

Item = tuple[Modality, PreparedClip]
Stamp = tuple[int, int, int]
"""Inode, size and time of the last change of a file."""


class ChangedWhileReadError(NotReadableNowError):
    """The bytes that were decoded are not those that were hashed."""


@dataclass
class Found:
    """What reading a recording found, apart from its clips.

    Attributes
    ----------
    duration_s : float
        Its length in seconds; NaN where that did not become known.
    notes : dict of modality to Notes
        What there is to say of each modality that was read.
    """

    duration_s: float = float("nan")
    notes: dict[Modality, Notes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What is to be read of one recording.

    Attributes
    ----------
    file : Path
        Absolute path of the file.
    stamp : (int, int, int)
        Its inode, size and time of the last change when it was hashed.
    recipe : str
        What is done to the file on the fly to make a copy.
    modalities : tuple of modality
        What is wanted of it, in this order.
    """

    file: Path
    stamp: Stamp
    recipe: str
    modalities: tuple[Modality, ...]

    def read(self, source: ClipSource, found: Found) -> Iterator[Item]:
        """The clips of the recording; called in a worker.

        Parameters
        ----------
        source : ClipSource
            Where its clips come from.
        found : Found
            Takes what else is found; complete once the clips are exhausted.

        Raises
        ------
        MediaError
            The file cannot be read.
        NotReadableNowError
            It is no longer what it was when it was hashed, or the machine lacks something.
        """
        for modality in self.modalities:
            yield from self._read_modality(source, modality, found)
        try:
            is_the_same = stamp_of(self.file) == self.stamp
        except OSError as error:
            raise NotReadableNowError(f"{self.file} went away while it was read: {error.strerror}.") from error
        if not is_the_same:
            raise ChangedWhileReadError(f"{self.file} changed while it was read. Run the command again.")

    def _read_modality(self, source: ClipSource, modality: Modality, found: Found) -> Iterator[Item]:
        n_given = 0
        for may_repeat in (True, False):
            try:
                for number, clip in enumerate(source.clips(self.file, modality, self.recipe)):
                    if number >= n_given:
                        n_given += 1
                        yield modality, clip
            except DecoderDiedError as error:
                if not math.isnan(source.duration_s):
                    found.duration_s = source.duration_s
                if may_repeat and error.again:  # it may have been for want of memory, or for what came before
                    continue
                found.notes[modality] = Notes(describe_error(error), {"unreadable"}, n_given)
            else:
                found.duration_s = source.duration_s
                # the second try may have given fewer than the first
                found.notes[modality] = replace(source.notes, n_clips=max(n_given, source.notes.n_clips))
            return


def stamp_of(file: Path) -> Stamp:
    """Inode, size and time of the last change of a file."""
    status = os.stat(file)
    return status.st_ino, status.st_size, status.st_mtime_ns
