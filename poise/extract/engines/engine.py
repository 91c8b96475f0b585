"""What an engine is: planned rows in, what became of their clips out. Where that is worked out is for each of them."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoders.base import PreparedClip
from poise.extract.jobs import Job
from poise.extract.planning import PlannedRow
from poise.store.schema import Modality

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One clip of a job is over.

    Attributes
    ----------
    job : Job
        What it is of.
    modality : {"video", "audio"}
        What was encoded.
    clip : PreparedClip
        Its span and flags; its data may be left out.
    result : ndarray of shape ([n_layers,] dim), float32, or Exception
        Its embedding, or why there is none.
    """

    job: Job
    modality: Modality
    clip: PreparedClip
    result: NDArray[np.float32] | Exception


@dataclass(frozen=True, kw_only=True)
class RowOver:
    """All there is to read for a row was read; its last clips may still be on their way.

    Attributes
    ----------
    planned : PlannedRow
        The row; its job, if it has one, knows what was found.
    error : Exception or None
        What ended the reading.
    """

    planned: PlannedRow
    error: Exception | None = None


Event = Encoded | RowOver


class Engine(Protocol):
    """Where the rows of a run are decoded and encoded."""

    @property
    def waiting_s(self) -> float:
        """How long encoders have waited for clips so far, seconds."""

    def origin(self, modality: Modality) -> Mapping[str, Any]:
        """Where the numbers of a modality's encoder come from, as JSON values; see :meth:`Encoder.origin`."""

    def events(self, planned: Iterator[PlannedRow], stop: threading.Event) -> Generator[Event | None, None, None]:
        """Work through rows, and say what became of them; closing it stops all of it.

        Parameters
        ----------
        planned : iterator of PlannedRow
            Asked for the next one in a thread, whenever there is room for more work.
        stop : threading.Event
            Set by the engine when no more rows are wanted.

        Yields
        ------
        Encoded or RowOver or None
            The clips of a modality of a job in order of time; one :class:`RowOver` for each row; None when nothing
            came for a second.

        Raises
        ------
        EncoderError
            An encoder cannot be run.
        """
