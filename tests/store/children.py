"""Child processes for tests: each runs a function of a test module, and what comes of it is looked at in the parent."""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

# the server has no threads and has the store loaded: a child costs some milliseconds, and forks from nothing unsafe
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.store.test_disks", "tests.store.test_many_processes"])


class Child:
    """A process that runs one function; a context manager that kills what still runs."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._receiving, sending = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_run, args=(sending, function, arguments))
        self._process.start()
        sending.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def result(self, timeout_s: float = 60) -> Any:
        """What the function returned; that it ended in any other way is a failure of the test."""
        assert self._receiving.poll(timeout_s), f"no answer within {timeout_s} s"
        try:
            error, value = self._receiving.recv()
        except EOFError:
            self._process.join()
            raise AssertionError(f"the process died with exit code {self._process.exitcode}") from None
        assert error is None, error
        self._process.join()
        return value

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._receiving.close()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own and return what it returns."""
    with Child(function, *arguments) as child:
        return child.result()


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until something has come to be."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"it did not come to be within {timeout_s} s"
        time.sleep(0.002)


def _run(sending: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = None, function(*arguments)
    except BaseException:  # noqa: BLE001  told in the parent
        answer = traceback.format_exc(), None
    sending.send(answer)
    sending.close()
    os._exit(0)  # what a test did to this process must not be seen when it ends
