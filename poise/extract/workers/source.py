"""How files are read, and where their clips come from: decoded in this process, or by one that this one started.

The second lives in :mod:`poise.extract.workers.process`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from poise.errors import ExtractSettingsError, NotReadableNowError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.media.decode import Decoder
from poise.extract.media.probe import Probe, probe
from poise.extract.reading import Notes, RecordingReader
from poise.store.schema import Modality

MAX_STALL_S = 86_400.0
MAX_MEMORY_GB = 65_536.0
"""More than a machine has; what the system is told in bytes has room for it."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What a decoding process may do before it is ended.

    Parameters
    ----------
    stall_s : float
        How long it may show no sign of life, seconds.
    memory_gb : float
        Memory that it may take, GB.

    Raises
    ------
    ExtractSettingsError
        A limit is too small to decode anything, or larger than any machine or patience.
    """

    stall_s: float = 60.0
    memory_gb: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.stall_s <= MAX_STALL_S:
            raise ExtractSettingsError(
                f"stall_s is {self.stall_s:g}. Expected 1 second to {MAX_STALL_S:g} (a day), as --stall 60."
            )
        if not 0.5 <= self.memory_gb <= MAX_MEMORY_GB:
            raise ExtractSettingsError(
                f"memory_gb is {self.memory_gb:g}. Expected half a GB to {MAX_MEMORY_GB:g}, as --decoder-memory 4."
            )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read.

    Attributes
    ----------
    clips : ClipSettings
        How recordings are cut.
    decoder : {"pyav", "decord"}
        What decodes the pictures.
    limits : DecodeLimits
        When a decoding process is ended.
    """

    clips: ClipSettings
    decoder: Decoder
    limits: DecodeLimits = field(default_factory=DecodeLimits)


class ClipSource(Protocol):
    """Where the clips of a file come from.

    Attributes
    ----------
    duration_s : float
        Length of the recording that was asked for last, seconds; NaN until known.
    notes : Notes
        What was found of it; complete once its clips are exhausted.
    """

    duration_s: float
    notes: Notes

    def clips(self, path: Path, modality: Modality, recipe: str = "") -> Iterator[PreparedClip]:
        """Clips of one modality of a file, or of a copy of it made by a recipe, in order of time.

        Raises
        ------
        MediaError
            The file cannot be read.
        """


class HereSource:
    """Clips decoded in this process; a context manager.

    What probing a file gave is kept for its next modality.
    """

    def __init__(self, encoders: Mapping[Modality, Encoder], reading: Reading) -> None:
        self._encoders = encoders
        self._reading = reading
        self._probed: tuple[tuple[Path, int, int, int], Probe] | None = None
        self.duration_s = float("nan")
        self.notes = Notes()

    def __enter__(self) -> HereSource:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def open(self, path: Path, modality: Modality, recipe: str = "") -> Iterator[PreparedClip]:
        """Find out how long the recording is, and return its clips; see :meth:`ClipSource.clips`."""
        reader = RecordingReader(
            path,
            {modality: self._encoders[modality]},
            clips=self._reading.clips,
            decoder=self._reading.decoder,
            recipe=recipe,
        )
        found = self._probe(path)
        self.duration_s, self.notes = reader.length_of(found), reader.notes[modality]
        return (clip for _, clip in reader.read(found))

    def clips(self, path: Path, modality: Modality, recipe: str = "") -> Iterator[PreparedClip]:
        """See :meth:`ClipSource.clips`."""
        yield from self.open(path, modality, recipe)

    def _probe(self, path: Path) -> Probe:
        try:
            status = os.stat(path)
        except OSError as error:
            raise NotReadableNowError(f"{path} went away while it was read: {error.strerror}.") from error
        stamp = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        if self._probed is None or self._probed[0] != stamp:
            self._probed = stamp, probe(path)
        return self._probed[1]
