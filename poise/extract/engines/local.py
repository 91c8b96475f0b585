"""The engine of one machine: processes that decode, and encoders in the process of the run itself."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.extract.assignments import Item
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoding import Batcher, single_threaded_blas
from poise.extract.engines.engine import Encoded, Event, RowOver
from poise.extract.jobs import Job
from poise.extract.lanes import Lanes
from poise.extract.planning import PlannedRow
from poise.extract.workers.prefetch import Prefetcher
from poise.extract.workers.process import clip_sources, default_workers
from poise.extract.workers.source import ClipSource, Reading
from poise.store.schema import Modality

MAX_WAITING_BYTES = 256 << 20
"""Prepared clips that wait for an encoder; a VideoMAE clip takes 2.4 MB."""


class LocalEngine:
    """See :class:`poise.extract.engines.engine.Engine`.

    Parameters
    ----------
    encoders : mapping of modality to Encoder
        What encodes.
    reading : Reading
        How files are read.
    workers : int, optional
        Processes that decode. Default: one for each core, but one less where models use the cores too. 0 decodes in
        this process.
    n_rows : int
        Rows that will come; no more processes than that are started.
    """

    def __init__(
        self, encoders: Mapping[Modality, Encoder], reading: Reading, *, workers: int | None, n_rows: int
    ) -> None:
        self._encoders = encoders
        wanted = workers if workers is not None else default_workers(encoders.values())
        self._in_processes = wanted > 0 and sys.platform != "win32"  # where sockets are not handed to children
        self._n_workers = min(max(1, wanted), n_rows)
        self._sources = clip_sources(encoders, reading, in_processes=self._in_processes)
        self._batchers: dict[Modality, Batcher[tuple[Modality, Job]]] = {}
        self._lanes = Lanes()
        self._encoded: list[Encoded] = []
        self.waiting_s = 0.0

    def origin(self, modality: Modality) -> Mapping[str, Any]:
        """See :meth:`Engine.origin`."""
        return self._encoders[modality].origin()

    def events(self, planned: Iterator[PlannedRow], stop: threading.Event) -> Generator[Event | None, None, None]:
        """See :meth:`Engine.events`."""
        if not self._in_processes:
            for encoder in self._encoders.values():
                encoder.load()  # imports of torch and transformers do not like several threads
        prefetcher = Prefetcher[PlannedRow, Item, ClipSource](
            planned,
            self._sources,
            _read,
            n_workers=self._n_workers,
            size_of=lambda item: item[1].data.nbytes,
            max_size=MAX_WAITING_BYTES,
            stop=stop,
        )
        with single_threaded_blas(), self._lanes, prefetcher:
            yield from self._work_through(prefetcher)
            for batcher in self._batchers.values():
                batcher.flush()
                yield from self._take()

    def _work_through(self, prefetcher: Prefetcher[PlannedRow, Item, ClipSource]) -> Iterator[Event | None]:
        asked, busy_s = time.monotonic(), self._lanes.busy_s()
        for event in prefetcher:
            # not counted: what the lanes did while this thread waited
            self.waiting_s += time.monotonic() - asked - (self._lanes.busy_s() - busy_s) / self._lanes.n
            if event is None:
                for batcher in self._batchers.values():
                    batcher.deliver_done(may_wait=math.inf)
                yield from self._take()
                yield None
            elif event.item is None:
                yield RowOver(planned=event.job, error=event.error)
            elif event.job.job is not None:
                modality, clip = event.item
                self._batcher(modality).add((modality, event.job.job), clip)
                yield from self._take()
            asked, busy_s = time.monotonic(), self._lanes.busy_s()

    def _batcher(self, modality: Modality) -> Batcher[tuple[Modality, Job]]:
        """Of an encoder that is loaded when the first clip comes: a run that finds nothing to do needs no weights."""
        if modality not in self._batchers:
            self._encoders[modality].load()
            self._batchers[modality] = Batcher(self._encoders[modality], self._lanes, self._deliver)
        return self._batchers[modality]

    def _deliver(
        self, owner: tuple[Modality, Job], clip: PreparedClip, result: NDArray[np.float32] | Exception
    ) -> None:
        modality, job = owner
        self._encoded.append(Encoded(job=job, modality=modality, clip=clip, result=result))

    def _take(self) -> Iterator[Encoded]:
        encoded, self._encoded = self._encoded, []
        yield from encoded


def _read(row: PlannedRow, source: ClipSource) -> Iterator[Item]:
    return row.job.assignment.read(source, row.job.found) if row.job is not None else iter(())
