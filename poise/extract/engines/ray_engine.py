"""The engine of a Ray cluster: files are decoded in tasks and clips encoded by actors, wherever there is room.

Rows are still planned, and the store written, where the command runs. What is planned while the cluster is busy is
handed to it as one data set when it is free; so no recording waits for all others to be hashed.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

from poise.errors import ClusterError, EncoderError, PoiseError
from poise.extract.encoders.base import Encoder
from poise.extract.engines.cluster import Cluster, Share, data_settings, share_out
from poise.extract.engines.engine import Event, RowOver
from poise.extract.engines.ray_returns import Returns
from poise.extract.engines.ray_rows import Broken, Row, Waited, pack, unpack
from poise.extract.engines.ray_stages import DecodeSetup, EncodeActor, decode
from poise.extract.jobs import Job
from poise.extract.planning import PlannedRow
from poise.extract.workers.prefetch import Prefetcher
from poise.extract.workers.process import pickle_for_reading
from poise.extract.workers.source import Reading
from poise.store.schema import Modality
from poise.text import describe_error

MAX_WAITING_BYTES = 64 << 20
"""Results that wait to be written."""


@dataclass(frozen=True)
class _WaveOver:
    """All that was handed to the cluster at once has come back, or never will."""

    jobs: tuple[Job, ...]


_Item = PlannedRow | Row | _WaveOver


class RayEngine:
    """See :class:`poise.extract.engines.engine.Engine`.

    Parameters
    ----------
    encoders : mapping of modality to Encoder
        What encodes; sent to the nodes before it is loaded.
    reading : Reading
        How files are read.
    workers : int, optional
        Files that are decoded at the same time. Default: as many as there is room for.

    Raises
    ------
    EncoderError
        An encoder cannot be pickled.
    """

    def __init__(self, encoders: Mapping[Modality, Encoder], reading: Reading, *, workers: int | None) -> None:
        self._encoders = encoders
        self._sent = {modality: _pickled(encoder) for modality, encoder in encoders.items()}
        self._setup = DecodeSetup(pickle_for_reading(encoders), reading)
        self._workers = workers
        self._cluster = Cluster()
        self._shares: dict[Modality, Share] = {}
        self._returns = Returns()
        self._waited_s: dict[str, float] = {}
        self._change = threading.Condition()
        self._pending: list[Job] = []
        self._is_planned = self._is_stopped = False
        self._data: Any = None

    @property
    def waiting_s(self) -> float:
        """Mean over the actors that encode, seconds."""
        return sum(self._waited_s.values()) / max(1, len(self._waited_s))

    def origin(self, modality: Modality) -> Mapping[str, Any]:
        """See :meth:`Engine.origin`; the device is one of the cluster."""
        self._connect()
        asked = copy.copy(self._encoders[modality])
        asked.wanted_device = "cpu"  # there may be no GPU here
        facts = dict(asked.origin())
        if "device" in facts:
            facts["device"] = "cuda" if self._shares[modality].gpus else "cpu"
        return facts

    def events(self, planned: Iterator[PlannedRow], stop: threading.Event) -> Generator[Event | None, None, None]:
        """See :meth:`Engine.events`.

        Raises
        ------
        EncoderError
            An encoder cannot be run.
        ClusterError
            The cluster cannot be reached, or gave up.
        """
        sources: list[Callable[[], Iterator[_Item]]] = [lambda: self._plan(planned), self._results]
        prefetcher = Prefetcher[Callable[[], Iterator[_Item]], _Item, None](
            sources,
            lambda _stop: nullcontext(),
            lambda source, _: source(),
            n_workers=len(sources),
            size_of=_size_of,
            max_size=MAX_WAITING_BYTES,
            stop=stop,
        )
        with prefetcher:
            try:
                for event in prefetcher:
                    if event is None:
                        yield None
                    elif event.item is not None:
                        yield from self._take(event.item)
                    elif event.error is not None:
                        raise event.error
            finally:
                self._stop()

    def _plan(self, planned: Iterator[PlannedRow]) -> Iterator[_Item]:
        try:
            for row in planned:
                yield row
                # only now: nothing of a row may come back before the row itself was told of
                if row.job is not None:
                    with self._change:
                        self._pending.append(row.job)
                        self._change.notify_all()
        finally:
            with self._change:
                self._is_planned = True
                self._change.notify_all()

    def _take(self, item: _Item) -> Iterator[Event]:
        if isinstance(item, _WaveOver):
            self._check_whole(item.jobs)
        elif isinstance(item, Row):
            yield from self._take_row(item)
        elif item.job is None:
            yield RowOver(planned=item)
        else:
            self._returns.expect(item, item.job)
            self._connect()

    def _take_row(self, row: Row) -> Iterator[Event]:
        if isinstance(row.content, Broken):
            raise row.content.error
        if isinstance(row.content, Waited):
            waited = row.content
            self._waited_s[waited.actor] = self._waited_s.get(waited.actor, 0.0) + waited.seconds
        else:
            yield from self._returns.take(row)

    def _connect(self) -> None:
        """At the first row with something to do, and in the thread of the run: Ray's processes end with that one."""
        if not self._cluster.is_connected:
            self._cluster.connect()
            with self._change:
                self._shares = share_out(self._encoders, self._cluster.size())
                self._change.notify_all()

    def _results(self) -> Iterator[_Item]:
        while wave := self._next_wave():
            try:
                yield from self._work_off(wave)
            except PoiseError:
                raise
            except Exception as error:
                raise ClusterError(
                    f"The Ray cluster gave up: {describe_error(error)}. What was finished is stored; run the command "
                    "again to go on."
                ) from error
            yield _WaveOver(wave)

    def _next_wave(self) -> tuple[Job, ...]:
        """What was planned since it was asked for last; nothing when there is nothing more."""
        with self._change:
            self._change.wait_for(
                lambda: self._is_stopped or (self._pending and self._shares) or (self._is_planned and not self._pending)
            )
            wave, self._pending = tuple(self._pending), []
            return () if self._is_stopped else wave

    def _work_off(self, wave: tuple[Job, ...]) -> Iterator[Row]:
        with data_settings():
            first, *others = [self._branch(modality, rows) for modality, rows in _by_modality(wave).items()]
            self._data = first.union(*others) if others else first
        tables = iter(self._data.iter_batches(batch_size=None, batch_format="pyarrow"))
        with closing(tables):
            for table in tables:
                yield from unpack(table)

    def _branch(self, modality: Modality, rows: list[Row]) -> Any:
        """One modality of a wave: its files decoded, and their clips encoded."""
        from ray.data import ActorPoolStrategy, TaskPoolStrategy, from_arrow

        encoder, share = self._encoders[modality], self._shares[modality]
        size = None if self._workers is None else max(1, self._workers // len(self._encoders))
        on_gpu = encoder.gpu_batch_size if share.gpus else None
        # one block, and so one task, for each recording
        return (
            from_arrow([pack([row]) for row in rows])
            .map_batches(
                cast("Any", decode),  # Ray's types know of no further arguments
                fn_kwargs={"setup": self._setup},
                batch_size=None,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size),
                num_cpus=1,
            )
            .map_batches(
                EncodeActor,
                fn_constructor_args=(self._sent[modality], _n_threads(encoder, share)),
                batch_size=on_gpu or encoder.batch_size,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=share.n_actors),
                num_cpus=share.cpus,
                num_gpus=share.gpus,
            )
        )

    def _check_whole(self, wave: tuple[Job, ...]) -> None:
        missing = self._returns.missing(wave)
        if missing:
            raise ClusterError(
                f"The Ray cluster lost {len(missing)} recordings, as {missing[0]}. What was finished is stored; run "
                "the command again to go on."
            )

    def _stop(self) -> None:
        with self._change:
            self._is_stopped = True
            self._change.notify_all()
        # a data set has no public way to be stopped from another thread than the one that waits for it
        executor = getattr(self._data, "_current_executor", None)
        if executor is not None:
            executor.shutdown(force=True)
        self._cluster.close()


def _pickled(encoder: Encoder) -> bytes:
    try:
        return pickle.dumps(encoder)
    except Exception as error:
        raise EncoderError(
            f"The encoder {encoder.name} cannot be sent to a cluster: {describe_error(error)}. Make what cannot be "
            "pickled only when it is loaded, or use the engine local."
        ) from error


def _by_modality(wave: tuple[Job, ...]) -> dict[Modality, list[Row]]:
    """An assignment for each modality of each recording."""
    rows: dict[Modality, list[Row]] = {}
    for job in wave:
        for modality in job.assignment.modalities:
            part = replace(job.assignment, modalities=(modality,))
            rows.setdefault(modality, []).append(Row(job.row, modality, -1, part))
    return rows


def _n_threads(encoder: Encoder, share: Share) -> int | None:
    """Threads of a model on a processor: as many as it would have here."""
    if share.gpus or not (encoder.uses_every_core or encoder.gpu_batch_size):
        return None
    import torch

    return torch.get_num_threads()


def _size_of(item: _Item) -> int:
    return item.size if isinstance(item, Row) else 0
