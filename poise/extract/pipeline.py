"""Extraction: every recording of a manifest into a store, each once, whatever happens to any of them.

How one file is read and encoded lives in :mod:`poise.extract.reading` and :mod:`poise.extract.encoding`.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import (
    EncoderError,
    ExtractSettingsError,
    InvalidFeaturesError,
    MissingDependencyError,
    StoreError,
    StoreWriteError,
)
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoders.readout import Layers
from poise.extract.encoders.registry import is_pretrained, make_encoder
from poise.extract.encoding import Batcher, single_threaded_blas
from poise.extract.fingerprint import build_spec
from poise.extract.jobs import ChangedWhileReadError, Item, Job
from poise.extract.lanes import Lanes
from poise.extract.media.decode import check_decoder
from poise.extract.outcomes import ExtractReport, RecordingOutcome, RunOutcome, judge
from poise.extract.planning import PlannedRow, plan_rows, shard_rows
from poise.extract.reading import describe_error
from poise.extract.stale import StaleRecording, find_stale
from poise.extract.workers.prefetch import Prefetcher
from poise.extract.workers.process import clip_sources, default_workers
from poise.extract.workers.source import ClipSource, DecodeLimits, Reading
from poise.manifest import Manifest
from poise.store.index import FeatureSetIndex
from poise.store.runs import describe_run, new_run_id
from poise.store.schema import Entry, Modality, RecordingFeatures, Spec, set_name
from poise.store.store import FeatureStore
from poise.store.writer import SegmentWriter

MAX_WAITING_BYTES = 256 << 20
"""Prepared clips that wait for an encoder; a VideoMAE clip takes 2.4 MB."""


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


def extract(
    manifest: Manifest,
    store: FeatureStore,
    *,
    video: str | os.PathLike[str] | Encoder | None = "videomae-base",
    audio: str | os.PathLike[str] | Encoder | None = "wavlm-base-plus",
    clips: ClipSettings | None = None,
    n_frames: int | None = None,
    layers: Layers = "last",
    pooling: str = "mean",
    precision: str = "float32",
    decoder: str = "pyav",
    dtype: str = "float16",
    device: str = "auto",
    workers: int | None = None,
    limits: DecodeLimits | None = None,
    retry_failed: bool = False,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> ExtractReport:
    """Extract the embeddings of every recording that the store does not have yet.

    Parameters
    ----------
    manifest : Manifest
        The recordings.
    store : FeatureStore
        Where embeddings go; what is there under the same settings is not done again.
    video, audio : str, path, Encoder or None
        Encoder of each modality, see :func:`poise.extract.encoders.registry.make_encoder`; None or ``none`` for none.
    clips : ClipSettings, optional
        How recordings are cut. Default: ``ClipSettings()``.
    n_frames : int, optional
        Frames of each clip that a video model looks at. Default: as many as its checkpoint was trained with.
    layers, pooling, precision
        What is read of pretrained models, see :func:`poise.extract.encoders.registry.make_encoder`; encoders that have
        none of it go without.
    decoder : {"pyav", "decord"}
        What decodes the pictures.
    dtype : {"float16", "float32"}
        What embeddings are stored as.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers : int, optional
        Processes that decode. Default: one for each core, but one less where models use the cores too. 0 decodes in
        this process, where a file that crashes the decoder ends the run.
    limits : DecodeLimits, optional
        When a decoding process is ended. Default: ``DecodeLimits()``.
    retry_failed : bool
        Try recordings again that failed in an earlier run.
    shard : (int, int), optional
        Part ``i`` of ``n``: only rows i - 1, i - 1 + n, ... are worked on, so that n processes or machines can share
        the work and the store. Stale recordings are not looked for then.
    progress : callable, optional
        Called with an :class:`ExtractProgress` whenever something moved.

    Returns
    -------
    ExtractReport
        One outcome for each row worked on. ``stored`` and ``partial`` are said only of what is safe on the disk.

    Raises
    ------
    EncoderError
        An encoder cannot be built or run.
    MissingDependencyError
        The weights of an encoder are in a package that is not installed.
    ExtractSettingsError
        A setting has a value that it cannot have.
    StoreWriteError
        The store cannot be written.
    """
    began = time.monotonic()
    if workers is not None and workers < 0:
        raise ExtractSettingsError(f"workers is {workers}. Expected 0 or more, as --workers 4.")
    settings = clips if clips is not None else ClipSettings()
    options = {"n_frames": n_frames, "device": device}
    readout = {"layers": layers, "pooling": pooling, "precision": precision}
    encoders = _make_encoders({"video": video, "audio": audio}, options, readout)
    for encoder in encoders.values():
        encoder.check_window(settings.window_s)
    specs = {modality: build_spec(encoder, settings, decoder, dtype) for modality, encoder in encoders.items()}
    reading = Reading(
        clips=settings, decoder=check_decoder(decoder), limits=limits if limits is not None else DecodeLimits()
    )
    run = _Run(manifest, store, encoders, specs, progress, shard_rows(len(manifest), shard))
    run.work(reading, workers if workers is not None else default_workers(encoders.values()), retry_failed=retry_failed)
    return ExtractReport(
        outcomes=run.outcomes(),
        seconds=time.monotonic() - began,
        waiting_s=run.waiting_s,
        n_clips_encoded=run.clips_done,
        feature_sets={modality: set_name(spec) for modality, spec in specs.items()},
        stale=run.stale() if shard is None else (),
    )


def _make_encoders(
    names: Mapping[Modality, str | os.PathLike[str] | Encoder | None],
    options: Mapping[str, Any],
    readout: Mapping[str, Any],
) -> dict[Modality, Encoder]:
    encoders: dict[Modality, Encoder] = {}
    named = {m: name for m, name in names.items() if not isinstance(name, Encoder) and name not in (None, "none")}
    # encoders without layers go without; if there are no others, they say so themselves
    choosing = {modality for modality, name in named.items() if is_pretrained(name, modality)} or named.keys()
    for modality, name in names.items():
        if isinstance(name, Encoder):
            encoders[modality] = name
        elif name is not None and modality in named:
            chosen = readout if modality in choosing else {}
            encoders[modality] = make_encoder(name, modality, **options, **chosen)
    if not encoders:
        raise ExtractSettingsError("There is nothing to extract: both encoders are none. Give --video or --audio one.")
    return encoders


class _Run:
    """The state of one run; lives in one thread, but for planning and reading."""

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
        self._batchers: dict[Modality, Batcher[Job]] = {}
        self._lanes = Lanes()
        self._n_over = 0
        self.clips_done = 0
        self.waiting_s = 0.0

    def outcomes(self) -> tuple[RecordingOutcome, ...]:
        """One for each row."""
        return tuple(self._outcomes[row] for row in self._rows)

    def stale(self) -> tuple[StaleRecording, ...]:
        """Recordings in the store whose file has other bytes now."""
        indexes = [index for index in self._entries.values() if isinstance(index, FeatureSetIndex)]
        return tuple(find_stale(self._manifest, self._keys, indexes, self._store.keys))

    def work(self, reading: Reading, n_workers: int, *, retry_failed: bool) -> None:
        """Extract what is missing, and return when it is safe on the disk."""
        in_processes = n_workers > 0 and sys.platform != "win32"  # where sockets are not handed to children
        sources = clip_sources(self._encoders, reading, in_processes=in_processes)
        if not in_processes:
            for encoder in self._encoders.values():
                encoder.load()  # imports of torch and transformers do not like several threads
        planned = plan_rows(
            self._manifest, self._rows, self._encoders, self._entries, self._store.keys, retry_failed=retry_failed
        )
        prefetcher = Prefetcher[PlannedRow, Item, ClipSource](
            planned,
            sources,
            lambda row, source: row.job.read(source) if row.job is not None else iter(()),
            n_workers=min(max(1, n_workers), len(self._rows)),
            size_of=lambda item: item[1].data.nbytes,
            max_size=MAX_WAITING_BYTES,
        )
        try:
            with single_threaded_blas(), self._lanes, prefetcher:
                self._work_through(prefetcher)
                for batcher in self._batchers.values():
                    batcher.flush()
        finally:
            # also when interrupted: what is finished stays finished
            self._close()
        self._check_confirmed()

    def _work_through(self, prefetcher: Prefetcher[PlannedRow, Item, ClipSource]) -> None:
        asked, busy_s = time.monotonic(), self._lanes.busy_s()
        for event in prefetcher:
            # not counted: what the lanes did while this thread waited
            self.waiting_s += time.monotonic() - asked - (self._lanes.busy_s() - busy_s) / self._lanes.n
            if event is None:
                self._tick()
            elif event.item is not None:
                modality, clip = event.item
                job = event.job.job
                if job is not None:
                    self._batcher(modality).add(job, clip)
            else:
                self._row_ended(event.job, event.error)
            asked, busy_s = time.monotonic(), self._lanes.busy_s()

    def _row_ended(self, planned: PlannedRow, error: Exception | None) -> None:
        if planned.key is not None:
            self._keys[planned.row] = planned.key
        for modality in planned.new_names:
            self._writer(modality).add_name(str(planned.key), self._manifest.paths[planned.row])
        if planned.job is not None:
            self._jobs[planned.job.key] = planned.job
            self._read_ended(planned.job, error)
        elif planned.outcome is not None:
            self._n_over += 1
            self._settle_row(planned.row, planned.outcome)
        elif planned.key in self._settled:
            self._n_over += 1
            self._settle_twin(planned.row, self._settled[planned.key])
        elif planned.key is not None:
            self._twins.setdefault(planned.key, []).append(planned.row)

    def _batcher(self, modality: Modality) -> Batcher[Job]:
        """Of an encoder that is loaded when the first clip comes: a run that finds nothing to do needs no weights."""
        if modality not in self._batchers:
            self._encoders[modality].load()
            self._batchers[modality] = Batcher(self._encoders[modality], self._lanes, partial(self._deliver, modality))
        return self._batchers[modality]

    def _writer(self, modality: Modality) -> SegmentWriter:
        if modality not in self._writers:
            run = describe_run(run=self._run_id, command="extract", encoder=dict(self._encoders[modality].origin()))
            self._writers[modality] = self._store.writer(
                self._specs[modality], partial(self._durable, modality), run=run
            )
        return self._writers[modality]

    def _tick(self) -> None:
        for batcher in self._batchers.values():
            batcher.deliver_done(may_wait=math.inf)
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

    def _read_ended(self, job: Job, error: Exception | None) -> None:
        if isinstance(error, EncoderError | StoreError | MissingDependencyError):
            raise error
        job.is_read = True
        job.error = job.error or error
        self._finish_if_complete(job)

    def _deliver(
        self, modality: Modality, job: Job, clip: PreparedClip, result: NDArray[np.float32] | Exception
    ) -> None:
        if isinstance(result, Exception):
            job.error = job.error or result
            # what an encoder makes of a clip may be for want of memory: only its numbers are held against the file
            job.is_remembered = isinstance(result, InvalidFeaturesError)
        else:
            self.clips_done += 1
            job.collected[modality].add(clip, result)
            self._report(None)
        self._finish_if_complete(job)

    def _finish_if_complete(self, job: Job) -> None:
        if job.is_over or not job.is_read or not (job.error is not None or job.is_complete):
            return
        job.is_over = True
        self._n_over += 1 + len(self._twins.get(job.key, ()))
        if job.error is not None and (isinstance(job.error, ChangedWhileReadError) or not job.is_remembered):
            failed = RecordingOutcome(path=job.path, key=None, outcome="failed", reason=describe_error(job.error))
            self._settle(job, failed)
            return
        parts: dict[Modality, Entry | RecordingFeatures] = dict(job.known)
        parts.update({modality: self._part(job, modality) for modality in job.encoders})
        ordered = {modality: parts[modality] for modality in self._encoders}
        job.verdict = judge(job.path, job.key, ordered, already=False)
        job.collected.clear()
        job.not_durable = set(job.encoders)
        for modality in job.encoders:
            features = ordered[modality]
            if isinstance(features, RecordingFeatures):
                self._writer(modality).add(features)
        self._report(None)

    def _part(self, job: Job, modality: Modality) -> RecordingFeatures:
        if job.error is not None:
            return job.failure(modality, job.error)
        features = job.features(job.collected[modality].finish(job.notes[modality]))
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
