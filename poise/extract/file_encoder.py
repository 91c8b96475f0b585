"""One media file at a time: decoded in a process that may die, encoded here, for prediction.

Encoders and decoding processes stay from file to file. Many files, and the store, are for
:mod:`poise.extract.pipeline`.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from poise.errors import CancelledError, ExtractSettingsError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.encoding import Batcher, EncodedModality, single_threaded_blas
from poise.extract.lanes import Lanes
from poise.extract.media.decode import check_decoder
from poise.extract.media.opening import check_media_file
from poise.extract.parts import EncodedFile, Item, Part
from poise.extract.readers import Readers
from poise.extract.turns import Cancelled, Progress, Teller, one_at_a_time, was_forked
from poise.extract.workers.prefetch import Event
from poise.extract.workers.process import clip_sources, default_workers
from poise.extract.workers.source import Reading
from poise.store.schema import Modality


class FileEncoder:
    """Encodes single files; a context manager, and closed when nobody holds it any more.

    Several threads may use it: in a process one file is worked on at a time, whoever's encoder it is, and the others
    wait for their turn.

    Parameters
    ----------
    encoders : mapping of modality to Encoder
        What encodes.
    reading : Reading
        How files are read.
    workers : int, optional
        Processes that decode, at most one for each modality. Default: as many as there are cores to spare. 0 decodes
        in this process, which a file may then crash or hang.

    Raises
    ------
    ExtractSettingsError
        ``workers`` is negative, or the clips are longer than an encoder takes.
    EncoderError
        An encoder cannot be sent to decoding processes.
    """

    def __init__(self, encoders: Mapping[Modality, Encoder], reading: Reading, *, workers: int | None = None) -> None:
        if workers is not None and workers < 0:
            raise ExtractSettingsError(f"workers is {workers}. Expected 0, to decode in this process, or more.")
        for encoder in encoders.values():
            encoder.check_window(reading.clips.window_s)
        wanted = workers if workers is not None else default_workers(encoders.values())
        self._encoders = dict(encoders)
        self._clips = reading.clips
        self._in_processes = wanted > 0 and sys.platform != "win32"  # where sockets are not handed to children
        self._is_loaded = False
        self._readers = Readers(
            clip_sources(self._encoders, reading, in_processes=self._in_processes),
            n_workers=min(wanted, len(encoders)) if self._in_processes else 1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding processes; the next file would start new ones."""
        self._readers.close()

    def load(self) -> None:
        """Load the weights now; else the first file does.

        Raises
        ------
        EncoderError
            An encoder cannot be run.
        """
        if was_forked():  # this thread's helpers in torch may have stayed in the parent, a new thread gets its own
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(self._load_all).result()
        else:
            self._load_all()
        self._is_loaded = True

    def _load_all(self) -> None:
        for encoder in self._encoders.values():
            encoder.load()

    def encode(
        self, path: str | os.PathLike[str], *, progress: Progress | None = None, cancelled: Cancelled | None = None
    ) -> EncodedFile:
        """Decode and encode one file, exactly as extraction does.

        Parameters
        ----------
        path : path
            The file.
        progress, cancelled : callable, optional
            See :data:`poise.extract.turns.Progress` and :data:`poise.extract.turns.Cancelled`; called in this thread.

        Returns
        -------
        EncodedFile

        Raises
        ------
        MediaError
            The file cannot be read.
        EncoderError
            An encoder cannot be run, or a callback of a file asks for another one.
        CancelledError
            ``cancelled`` said so, or this was closed meanwhile.
        """
        file = check_media_file(path)
        teller = Teller(file, progress, cancelled)
        with one_at_a_time(teller):
            stop = threading.Event()
            parts = [Part.of(file, encoder, stop) for encoder in self._encoders.values()]
            return EncodedFile.of(parts, self._work(parts, teller))

    def _work(self, parts: Sequence[Part], teller: Teller) -> dict[str, float]:
        load_s = 0.0 if self._in_processes else self._load(teller)  # importing torch does not like several threads
        began = time.perf_counter()
        with single_threaded_blas(), Lanes() as lanes, self._readers.reading(parts) as events:
            load_s = load_s or self._load(teller)
            loaded = time.perf_counter()
            decode_s = self._encode(events, lanes, parts, teller)
        encode_s = time.perf_counter() - (loaded if self._in_processes else began) - decode_s
        return {"decode": decode_s, "encode": encode_s, **({"load": load_s} if load_s else {})}

    def _load(self, teller: Teller) -> float:
        if self._is_loaded:
            return 0.0
        began = time.perf_counter()
        teller.tell("loading")
        self.load()
        return time.perf_counter() - began

    def _encode(
        self, events: Iterator[Event[Part, Item] | None], lanes: Lanes, parts: Sequence[Part], teller: Teller
    ) -> float:
        """Encode all clips as they come, and return for how many seconds nothing but decoders worked."""

        def deliver(part: Part, clip: PreparedClip, result: NDArray[np.float32] | Exception) -> None:
            part.take(clip, result)
            teller.tell("encoding", sum(one.n_done for one in parts), sum(one.n_expected for one in parts))

        batchers = {part.modality: Batcher(part.encoder, lanes, deliver, check=teller.check) for part in parts}
        teller.tell("decoding")
        waited_s, asked, busy_s = 0.0, time.perf_counter(), lanes.busy_s()
        for event in events:
            waited_s += max(0.0, time.perf_counter() - asked - (lanes.busy_s() - busy_s) / lanes.n)
            teller.check()
            if event is None:
                for batcher in batchers.values():
                    batcher.deliver_done(may_wait=math.inf)
            elif event.item is None:
                event.job.end(event.error)
            else:
                clip, duration_s = event.item
                for part in parts:
                    part.expect(duration_s, self._clips)
                batchers[event.job.modality].add(event.job, clip)
            if not self._readers.has_events:
                for batcher in batchers.values():
                    batcher.begin()  # while decoders are waited for: no other recording fills the batch
            asked, busy_s = time.perf_counter(), lanes.busy_s()
        if not all(part.found.notes for part in parts):
            raise CancelledError(f"{parts[0].assignment.file}: the encoder was closed while it worked on this file.")
        for batcher in batchers.values():
            batcher.flush()
        return waited_s


def encode_file(
    path: str | os.PathLike[str],
    encoders: Sequence[Encoder],
    *,
    clips: ClipSettings | None = None,
    decoder: str = "pyav",
) -> dict[Modality, EncodedModality]:
    """Decode and encode one media file in this process, exactly as extraction does.

    Parameters
    ----------
    path : path
        The file.
    encoders : sequence of Encoder
        At most one of each modality.
    clips : ClipSettings, optional
        How the recording is cut. Default: ``ClipSettings()``.
    decoder : {"pyav", "decord"}
        What decodes the pictures.

    Returns
    -------
    dict of modality to EncodedModality
        One for each encoder, empty where the file has no such modality.

    Raises
    ------
    MediaError
        The file cannot be read.
    EncoderError
        An encoder cannot be run.
    InvalidFeaturesError
        An embedding is not finite.
    """
    reading = Reading(clips=clips if clips is not None else ClipSettings(), decoder=check_decoder(decoder))
    with FileEncoder({encoder.modality: encoder for encoder in encoders}, reading, workers=0) as one:
        found = one.encode(path)
    for error in found.failures.values():
        raise error
    return found.modalities
