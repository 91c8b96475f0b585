"""Python objects from one process to another over a socket; arrays go as they are, without being copied into a pickle.

Only between a run and the processes that it started itself: what comes is unpickled.
"""

from __future__ import annotations

import pickle
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_HEADER = struct.Struct("<II")
_LENGTH = struct.Struct("<Q")
_WAIT_S = 0.2


class ChannelClosedError(ConnectionError):
    """The other side is gone."""


class SilentError(TimeoutError):
    """The other side said nothing for too long."""


class Channel:
    """One end of a connection between two processes.

    Parameters
    ----------
    end : socket.socket
        A connected stream socket.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: Any) -> None:
        """Send an object, and return when the other side has taken nearly all of it.

        Raises
        ------
        ChannelClosedError
            The other side is gone.
        """
        buffers: list[pickle.PickleBuffer] = []
        body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        views = [buffer.raw() for buffer in buffers]
        lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
        self._socket.settimeout(None)
        try:
            self._socket.sendall(_HEADER.pack(len(body), len(views)) + lengths + body)
            for view in views:
                self._socket.sendall(view)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosedError from error

    def receive(self, *, timeout_s: float | None = None, keep_waiting: Callable[[], bool] = lambda: True) -> Any:
        """The next object.

        Parameters
        ----------
        timeout_s : float, optional
            How long nothing at all may come. Default: for ever.
        keep_waiting : callable
            Asked a few times a second; False ends the waiting.

        Raises
        ------
        ChannelClosedError
            The other side is gone, or ``keep_waiting`` said to stop.
        SilentError
            Nothing came for ``timeout_s``.
        """
        wait = _Wait(timeout_s, keep_waiting)
        n_body, n_buffers = _HEADER.unpack(self._read(_HEADER.size, wait))
        lengths = [_LENGTH.unpack(self._read(_LENGTH.size, wait))[0] for _ in range(n_buffers)]
        body = self._read(n_body, wait)
        buffers = [self._read(length, wait) for length in lengths]
        return pickle.loads(body, buffers=buffers)  # noqa: S301  from a process of our own

    def _read(self, n_bytes: int, wait: _Wait) -> memoryview:
        found = np.empty(n_bytes, np.uint8).data  # writable, and not zeroed for nothing
        done = 0
        self._socket.settimeout(_WAIT_S)
        while done < n_bytes:
            try:
                n = self._socket.recv_into(found[done:])
            except TimeoutError:
                wait.check()
                continue
            except ConnectionResetError as error:
                raise ChannelClosedError from error
            if n == 0:
                raise ChannelClosedError
            done += n
            wait.restart()
        return found

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


class _Wait:
    """Patience of one side with the other."""

    def __init__(self, timeout_s: float | None, keep_waiting: Callable[[], bool]) -> None:
        self._timeout_s = timeout_s
        self._keep_waiting = keep_waiting
        self.restart()

    def restart(self) -> None:
        self._since = time.monotonic()

    def check(self) -> None:
        if not self._keep_waiting():
            raise ChannelClosedError
        if self._timeout_s is not None and time.monotonic() - self._since > self._timeout_s:
            raise SilentError
