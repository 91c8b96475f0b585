"""The bookkeeping of a run: what became of every row, and what goes into the store when.

Where recordings are decoded and encoded is for :mod:`poise.extract.engines`, and how a run is set up for
:mod:`poise.extract.pipeline`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial

from poise.errors import EncoderError, InvalidFeaturesError, MissingDependencyError, StoreError, StoreWriteError
from poise.extract.assignments import NotReadableNowError
from poise.extract.encoders.base import Encoder
from poise.extract.engines.engine import Encoded, Engine, RowOver
from poise.extract.jobs import Job, is_of_the_file
from poise.extract.outcomes import RecordingOutcome, RunOutcome, judge
from poise.extract.planning import plan_rows
from poise.extract.stale import StaleRecording, find_stale
from poise.manifest import Manifest
from poise.store.index import FeatureSetIndex
from poise.store.runs import describe_run, new_run_id
from poise.store.schema import Entry, Modality, RecordingFeatures, Spec
from poise.store.store import FeatureStore
from poise.store.writer import SegmentWriter
from poise.text import describe_error


@dataclass(frozen=True, kw_only=True)
class ExtractProgress:
    """How far a run is.

    Attributes
    ----------
    done : int
        Recordings whose work is over.
    total : int
        Rows to work on.
    clips_done : int
        Clips encoded so far, of all encoders together.
    outcome : RecordingOutcome or None
        What just became certain: the recording is safe in the store, or has failed.
    """

    done: int
    total: int
    clips_done: int
    outcome: RecordingOutcome | None = None


Progress = Callable[[ExtractProgress], None]


class Run:
    """The state of one run; lives in one thread, but for planning."""

    def __init__(
        self,
        manifest: Manifest,
        store: FeatureStore,
        encoders: Mapping[Modality, Encoder],
        specs: Mapping[Modality, Spec],
        progress: Progress | None,
        rows: range,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._encoders = encoders
        self._specs = specs
        self._progress = progress
        self._rows = rows
        self._entries = {modality: store.entries(spec) for modality, spec in specs.items()}
        self._run_id = new_run_id()
        self._keys: dict[int, str] = {}
        self._outcomes: dict[int, RecordingOutcome] = {}
        self._jobs: dict[str, Job] = {}
        self._settled: dict[str, RecordingOutcome] = {}
        self._twins: dict[str, list[int]] = {}
        self._writers: dict[Modality, SegmentWriter] = {}
        self._n_over = 0
        self.clips_done = 0

    def outcomes(self) -> tuple[RecordingOutcome, ...]:
        """One for each row."""
        return tuple(self._outcomes[row] for row in self._rows)

    def stale(self) -> tuple[StaleRecording, ...]:
        """Recordings in the store whose file has other bytes now."""
        indexes = [index for index in self._entries.values() if isinstance(index, FeatureSetIndex)]
        return tuple(find_stale(self._manifest, self._keys, indexes, self._store.keys))

    def work(self, engine: Engine, *, retry_failed: bool, stall_s: float) -> None:
        """Extract what is missing, and return when it is safe on the disk."""
        self._engine = engine
        stop = threading.Event()
        planned = plan_rows(
            self._manifest,
            self._rows,
            self._encoders,
            self._entries,
            self._store.keys,
            retry_failed=retry_failed,
            stall_s=stall_s,
            stop=stop,
        )
        try:
            with closing(engine.events(planned, stop)) as events:
                for event in events:
                    if event is None:
                        self._tick()
                    elif isinstance(event, Encoded):
                        self._take(event)
                    else:
                        self._row_over(event)
            self._check_whole()
        finally:
            # also when interrupted: what is finished stays finished
            self._close()
        self._check_confirmed()

    def _row_over(self, event: RowOver) -> None:
        planned = event.planned
        if planned.key is not None:
            self._keys[planned.row] = planned.key
        for modality in planned.new_names:
            self._writer(modality).add_name(str(planned.key), self._manifest.paths[planned.row])
        if planned.job is not None:
            self._jobs[planned.job.key] = planned.job
            self._read_ended(planned.job, event.error)
        elif planned.outcome is not None:
            self._n_over += 1
            self._settle_row(planned.row, planned.outcome)
        elif planned.key in self._settled:
            self._n_over += 1
            self._settle_twin(planned.row, self._settled[planned.key])
        elif planned.key is not None:
            self._twins.setdefault(planned.key, []).append(planned.row)
            job = self._jobs.get(planned.key)
            self._n_over += job is not None and job.is_over  # what ends later counts its twins itself

    def _writer(self, modality: Modality) -> SegmentWriter:
        if modality not in self._writers:
            run = describe_run(run=self._run_id, command="extract", encoder=dict(self._engine.origin(modality)))
            self._writers[modality] = self._store.writer(
                self._specs[modality], partial(self._durable, modality), run=run
            )
        return self._writers[modality]

    def _tick(self) -> None:
        for writer in self._writers.values():
            writer.tick()

    def _close(self) -> None:
        self._store.keys.save()
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.callback(writer.close)

    def _check_confirmed(self) -> None:
        for job in self._jobs.values():
            if job.is_over and job.not_durable:
                raise StoreWriteError(f"{self._store.path} did not confirm {job.path}. Run the command again.")

    def _check_whole(self) -> None:
        """A decoder that gave other clips than it said loses their recording, and not the run."""
        for job in [job for job in self._jobs.values() if not job.is_over]:
            counts = ", ".join(f"{job.n_over[m]} of {job.found.notes[m].n_clips} clips of {m}" for m in job.encoders)
            job.error = NotReadableNowError(f"{job.path}: {counts} came. Run the command again.")
            self._finish_if_complete(job)

    def _read_ended(self, job: Job, error: Exception | None) -> None:
        if isinstance(error, EncoderError | StoreError | MissingDependencyError):
            raise error
        job.is_read = True
        job.error = job.error or error
        self._finish_if_complete(job)

    def _take(self, encoded: Encoded) -> None:
        job, modality, result = encoded.job, encoded.modality, encoded.result
        if job.is_over:  # an error ended it, and this clip was still waiting
            return
        job.n_over[modality] += 1
        if isinstance(result, Exception):
            job.failures.setdefault(modality, result)
        else:
            self.clips_done += 1
            job.collected[modality].add(encoded.clip, result)
            self._report(None)
        self._finish_if_complete(job)

    def _finish_if_complete(self, job: Job) -> None:
        if job.is_over or not job.is_read or not (job.error is not None or job.is_complete):
            return
        job.is_over = True
        self._n_over += 1 + len(self._twins.get(job.key, ()))
        if job.error is not None and not is_of_the_file(job.error):
            reason = describe_error(job.error)  # and these may not be the bytes of that key
            self._settle(job, RecordingOutcome(path=job.path, key=None, outcome="failed", reason=reason))
            return
        parts: dict[Modality, Entry | RecordingFeatures] = dict(job.known)
        parts.update({modality: self._part(job, modality) for modality in job.encoders})
        ordered = {modality: parts[modality] for modality in self._encoders}
        job.verdict = judge(job.path, job.key, ordered, already=False)
        job.collected.clear()
        job.not_durable = set(job.kept)
        if not job.kept:
            self._settle(job, job.verdict)
            return
        for modality in job.kept:
            features = ordered[modality]
            if isinstance(features, RecordingFeatures):
                self._writer(modality).add(features)
        self._report(None)

    def _part(self, job: Job, modality: Modality) -> RecordingFeatures:
        features = job.result(modality)
        try:
            features.check(self._specs[modality])
        except InvalidFeaturesError as error:
            return job.failure(modality, error)
        return features

    def _durable(self, modality: Modality, keys: Sequence[str]) -> None:
        """Called by a writer: these recordings are safe in one feature set."""
        for key in keys:
            job = self._jobs[key]
            job.not_durable.discard(modality)
            if not job.not_durable and job.verdict is not None:
                self._settle(job, job.verdict)

    def _settle(self, job: Job, outcome: RecordingOutcome) -> None:
        """Note the outcome of every row that has these bytes; they are stored once."""
        self._settled[job.key] = outcome
        del self._jobs[job.key]
        self._settle_row(job.row, outcome)
        for row in self._twins.pop(job.key, ()):
            self._settle_twin(row, outcome)

    def _settle_twin(self, row: int, outcome: RecordingOutcome) -> None:
        again: RunOutcome = "failed" if outcome.outcome == "failed" else "already"
        reason = "; ".join(part for part in (f"the same bytes as {outcome.path}", outcome.reason) if part)
        self._settle_row(row, replace(outcome, path=self._manifest.paths[row], outcome=again, reason=reason))

    def _settle_row(self, row: int, outcome: RecordingOutcome) -> None:
        self._outcomes[row] = outcome
        self._report(outcome)

    def _report(self, outcome: RecordingOutcome | None) -> None:
        if self._progress is not None:
            self._progress(
                ExtractProgress(done=self._n_over, total=len(self._rows), clips_done=self.clips_done, outcome=outcome)
            )
