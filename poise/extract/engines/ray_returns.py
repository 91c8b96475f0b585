"""What comes back from a cluster, put in order: clips come as they are done, and after a crash some come twice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from poise.extract.engines.engine import Encoded, Event, RowOver
from poise.extract.engines.ray_rows import ClipOver, ReadOver, Row
from poise.extract.jobs import Job
from poise.extract.planning import PlannedRow
from poise.store.schema import Modality


class Returns:
    """The rows that were handed to the cluster and did not come back whole yet."""

    def __init__(self) -> None:
        self._open: dict[int, _OpenRow] = {}

    def expect(self, planned: PlannedRow, job: Job) -> None:
        """Note a row that is handed to the cluster."""
        self._open[planned.row] = _OpenRow(planned, job)

    def take(self, row: Row) -> Iterator[Event]:
        """What became certain with a row that came back; nothing if it came before."""
        found = self._open.get(row.row)
        if found is not None:
            yield from found.take(row)
            if found.is_over:
                del self._open[row.row]

    def missing(self, jobs: Iterable[Job]) -> list[str]:
        """Paths of those of the jobs that did not come back whole."""
        return [job.path for job in jobs if job.row in self._open]


@dataclass
class _OpenRow:
    """One row of the manifest, and what came back of it."""

    planned: PlannedRow
    job: Job
    is_over: bool = False
    _read: dict[Modality, ReadOver] = field(default_factory=dict)
    _n_told: dict[Modality, int] = field(default_factory=dict)
    _early: dict[tuple[Modality, int], ClipOver] = field(default_factory=dict)

    def take(self, row: Row) -> Iterator[Event]:
        if isinstance(row.content, ReadOver):
            if row.modality not in self._read:
                self._read[row.modality] = row.content
                yield from self._reading_over()
        elif row.number >= self._n_told.get(row.modality, 0):
            self._early[row.modality, row.number] = row.content
            yield from self._in_order(row.modality)
        self.is_over = self.job.is_read and (self.job.error is not None or self._is_complete())

    def _in_order(self, modality: Modality) -> Iterator[Encoded]:
        number = self._n_told.get(modality, 0)
        while (modality, number) in self._early:
            over = self._early.pop((modality, number))
            number += 1
            self._n_told[modality] = number
            yield Encoded(job=self.job, modality=modality, clip=over.clip, result=over.result)

    def _reading_over(self) -> Iterator[RowOver]:
        order = self.job.assignment.modalities
        if set(order) != set(self._read):
            return
        for modality in order:
            found = self._read[modality].found
            self.job.found.notes.update(found.notes)
            if not math.isnan(found.duration_s):
                self.job.found.duration_s = found.duration_s
        # the first in the order of a local run, which reads no further
        error = next((self._read[modality].error for modality in order if self._read[modality].error is not None), None)
        yield RowOver(planned=self.planned, error=error)

    def _is_complete(self) -> bool:
        return all(
            self._n_told.get(modality, 0) >= self.job.found.notes[modality].n_clips
            for modality in self.job.assignment.modalities
        )
