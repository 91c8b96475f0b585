"""What a decoding process does: read the files it is told to, and send their clips back.

A file may crash it, hang it or fill its memory; whoever started it, :mod:`poise.extract.workers.process`, notices.
"""

from __future__ import annotations

import pickle
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poise.errors import EncoderError, MediaError, NotReadableNowError, PoiseError
from poise.extract.encoders.base import Encoder
from poise.extract.media.heartbeat import listen
from poise.extract.reading import Notes
from poise.extract.workers.channel import Channel, ChannelClosedError
from poise.extract.workers.source import HereSource, Reading
from poise.orphans import die_with_parent
from poise.store.schema import Modality
from poise.text import describe_error

_GB = 1 << 30


@dataclass(frozen=True)
class Setup:
    """What a decoding process is told first.

    Attributes
    ----------
    encoders : bytes
        Pickle of a dict of modality to Encoder; apart, so that one that cannot be read is an error like others.
    reading : Reading
        How files are read.
    """

    encoders: bytes
    reading: Reading


@dataclass(frozen=True)
class Request:
    """One modality of one file, or of a copy of it that is made on the fly."""

    path: Path
    modality: Modality
    recipe: str = ""


@dataclass(frozen=True)
class Began:
    """The first answer to a request: what is known before anything is decoded."""

    duration_s: float


@dataclass(frozen=True)
class Ended:
    """The last answer to a request that went well; clips come before it, each as it is."""

    notes: Notes


@dataclass(frozen=True)
class Failed:
    """The last answer to a request that did not go well."""

    error: Exception


class Alive:
    """A sign of life."""


def main(descriptor: int) -> None:
    """Serve until the other side is gone.

    Parameters
    ----------
    descriptor : int
        A connected socket.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this process
    die_with_parent()
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        setup: Setup = channel.receive()
        try:
            encoders: Mapping[Modality, Encoder] = pickle.loads(setup.encoders)  # noqa: S301  from our own parent
        except Exception as error:  # noqa: BLE001  a class that is not where its module says it is
            channel.send(Failed(_not_found(error)))
            return
        channel.send(Alive())
        _limit_memory(round(setup.reading.limits.memory_gb * _GB))
        listen(lambda: channel.send(Alive()))
        _serve(channel, HereSource(encoders, setup.reading))
    except ChannelClosedError:
        return


def _serve(channel: Channel, here: HereSource) -> None:
    while True:
        request: Request = channel.receive()
        try:
            clips = here.open(request.path, request.modality, request.recipe)
            channel.send(Began(here.duration_s))
            for clip in clips:
                channel.send(clip)
        except ChannelClosedError:
            raise
        except Exception as error:  # noqa: BLE001  a file must cost no more than itself
            channel.send(Failed(_portable(error)))
        else:
            channel.send(Ended(here.notes))


def _portable(error: Exception) -> Exception:
    """The error if it can be sent, or else one that says the same."""
    if isinstance(error, OSError) and not isinstance(error, PoiseError):
        return NotReadableNowError(describe_error(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  it was made here
    except Exception:  # noqa: BLE001  what pickling raises depends on what is pickled
        return MediaError(describe_error(error))
    return error if isinstance(error, PoiseError) else MediaError(describe_error(error))


def _not_found(error: Exception) -> EncoderError:
    return EncoderError(
        f"The encoder cannot be taken into a decoding process: {describe_error(error)}. Put its class into a module "
        "that can be imported, or decode in this process with workers=0."
    )


def _limit_memory(n_bytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
