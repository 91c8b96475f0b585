"""Decoding in a process that may die: started, listened to, and replaced, by a thread of the run.

What it does inside is in :mod:`poise.extract.workers.child`.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from poise.errors import DecoderDiedError, EncoderError
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.reading import Notes
from poise.extract.workers.channel import Channel, ChannelClosedError, SilentError
from poise.extract.workers.child import Alive, Began, Ended, Failed, Request, Setup
from poise.extract.workers.source import ClipSource, HereSource, Reading
from poise.store.schema import Modality
from poise.text import describe_error

_START_S = 120.0
_END_S = 2.0


def default_workers(encoders: Iterable[Encoder]) -> int:
    """One process for each core, less one where encoders use all of them; 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, max(1, cores - any(encoder.uses_every_core for encoder in encoders)))


def clip_sources(
    encoders: Mapping[Modality, Encoder], reading: Reading, *, in_processes: bool
) -> Callable[[threading.Event], AbstractContextManager[ClipSource]]:
    """What makes the source that one worker reads from, given the event that stops it.

    Call it before the encoders load their weights.

    Raises
    ------
    EncoderError
        An encoder cannot be pickled, which decoding processes need.
    """
    if not in_processes:
        return lambda _stop: HereSource(encoders, reading)
    pickled = pickle_for_reading(encoders)
    return lambda stop: DecodeProcess(pickled, reading, stop=stop)


def pickle_for_reading(encoders: Mapping[Modality, Encoder]) -> bytes:
    """What decoding processes are given of encoders.

    Raises
    ------
    EncoderError
        An encoder cannot be pickled.
    """
    try:
        return pickle.dumps({modality: encoder.for_reading() for modality, encoder in encoders.items()})
    except Exception as error:
        raise EncoderError(
            f"An encoder cannot be sent to decoding processes: {describe_error(error)}. Keep what cannot be pickled "
            "out of what its for_reading() gives, or decode in this process with workers=0."
        ) from error


class DecodeProcess:
    """A process that decodes files; a context manager, used by one thread.

    It is started when it is needed. A file that kills it, hangs it or takes too much memory is an error of that file,
    and the next file gets a new process.

    Parameters
    ----------
    encoders : bytes
        Pickle of a dict of modality to Encoder.
    reading : Reading
        How files are read.
    stop : threading.Event
        Set when nothing more is wanted. As an attribute it may be replaced between files.
    """

    def __init__(self, encoders: bytes, reading: Reading, *, stop: threading.Event) -> None:
        self._setup = Setup(encoders, reading)
        self._limits = reading.limits
        self.stop = stop
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._complaints: IO[bytes] | None = None
        self.duration_s = float("nan")
        self.notes = Notes()

    def __enter__(self) -> DecodeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def clips(self, path: Path, modality: Modality, recipe: str = "") -> Iterator[PreparedClip]:
        """See :meth:`ClipSource.clips`.

        Raises
        ------
        DecoderDiedError
            The process crashed or hung on this file.
        """
        self.duration_s, self.notes = float("nan"), Notes()
        completed = False
        try:
            for message in self._answers(Request(path, modality, recipe)):
                if isinstance(message, PreparedClip):
                    yield message
                elif isinstance(message, Began):
                    self.duration_s = message.duration_s
                elif isinstance(message, Ended):
                    self.notes = message.notes
                elif isinstance(message, Failed):
                    completed = True
                    raise message.error
            completed = True
        finally:
            if not completed:  # it died, or nobody wants the rest: what is still on its way must not be taken for more
                self._end()

    def _answers(self, request: Request) -> Iterator[Any]:
        channel = self._started()
        try:
            channel.send(request)
            while True:
                message = self._receive(channel, self._limits.stall_s)
                if not isinstance(message, Alive):
                    yield message
                if isinstance(message, Ended | Failed):
                    return
        except ChannelClosedError as error:
            self._refuse_if_stopped()
            raise DecoderDiedError(f"{request.path}: {self._how_it_ended()}", again=True) from error
        except SilentError as error:
            raise DecoderDiedError(
                f"{request.path}: the decoder showed no sign of life for {self._limits.stall_s:g} s and was ended. If "
                "the disk is that slow, allow more with --stall.",
                again=False,
            ) from error

    def _receive(self, channel: Channel, timeout_s: float) -> Any:
        return channel.receive(timeout_s=timeout_s, keep_waiting=lambda: not self.stop.is_set())

    def _started(self) -> Channel:
        if self._channel is not None:
            return self._channel
        try:
            return self._start()
        except (ChannelClosedError, SilentError):
            self._end()  # whoever was short of memory may have killed it
        try:
            return self._start()
        except (ChannelClosedError, SilentError) as error:
            self._refuse_if_stopped()
            raise EncoderError(f"A decoding process does not start: {self._how_it_ended()}") from error

    def _start(self) -> Channel:
        self._refuse_if_stopped()
        mine, its = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from poise.extract.workers.child import main; main({its.fileno()})"
        )
        # one thread: there is a process for each core
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._complaints = _scratch_file()
        said = self._complaints if self._complaints is not None else subprocess.DEVNULL
        with its:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-c", code],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment,
            )
        channel = self._channel = Channel(mine)
        channel.send(self._setup)
        message = self._receive(channel, _START_S)
        if isinstance(message, Failed):
            raise message.error
        return channel

    def _refuse_if_stopped(self) -> None:
        if self.stop.is_set():
            raise DecoderDiedError("The run was stopped.", again=False)

    def _how_it_ended(self) -> str:
        if self._process is None:
            return "the decoder is gone."
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "the decoder stopped answering."
        complaint = self._last_complaint()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
            return f"the decoder crashed ({name}{hint}){complaint}."
        return f"the decoder ended with code {code}{complaint}."

    def _last_complaint(self) -> str:
        if self._complaints is None:
            return ""
        self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, self._complaints.tell() - 4096))
        lines = self._complaints.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for item in (self._channel, self._complaints):
            if item is not None:
                item.close()
        self._process = self._channel = self._complaints = None


def _scratch_file() -> IO[bytes] | None:
    """A file without a name for what a process complains of; None where there is no place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None
