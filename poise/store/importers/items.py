"""What a reader of any format hands on: one recording that was found, or one that is refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.store.schema import Modality


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """One recording of a source.

    Attributes
    ----------
    path : str
        Name of its file inside the source, or its id.
    name : str
        What the recording is called: the file's name without its ending, or the id.
    arrays : mapping of modality to ndarray of shape (n_clips, [n_layers,] dim), float
        Its embeddings; no clips where a modality is missing.
    clip_times : ndarray of shape (n_clips, 2), float64, optional
        Start and end of each clip in seconds; None where unknown.
    """

    path: str
    name: str
    arrays: Mapping[Modality, NDArray[Any]]
    clip_times: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file or recording that cannot be imported.

    Attributes
    ----------
    path : str
        As in :class:`Found`.
    reason : str
        Why.
    """

    path: str
    reason: str


Item = Found | Refused

_MEDIA_ENDINGS = frozenset(
    {"aac", "avi", "flac", "flv", "gif", "m4a", "m4v", "mkv", "mov", "mp3", "mp4", "mpeg", "mpg"}
    | {"oga", "ogg", "opus", "ts", "wav", "webm", "wma", "wmv"}
)


def recording_name(text: str) -> str:
    """What a recording is called by an id: without folders, and without the ending if it is one of a media file.

    Examples
    --------
    >>> recording_name("/data/wav/s1_v01.wav"), recording_name("s1_v01.cut")
    ('s1_v01', 's1_v01.cut')
    """
    name = PurePosixPath(text.replace("\\", "/")).name
    stem, dot, ending = name.rpartition(".")
    return stem if dot and stem and ending.lower() in _MEDIA_ENDINGS else name
