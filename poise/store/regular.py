"""Opening files that anybody may have put there: regular ones alone, and never more than such a file can hold."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MAX_JSON_BYTES = 1 << 28
"""No JSON file of a store comes near it: the keys of a million files take half."""


def open_regular(path: Path, *, max_bytes: int) -> BinaryIO:
    """Open a regular file for reading; close it after use.

    Raises
    ------
    OSError
        It is not there, cannot be read, is a pipe or a device, which would be waited on for ever, or is larger than
        ``max_bytes``.
    """
    try:
        _check(os.stat(path), path, max_bytes)  # opening a device may already do something
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    try:
        _check(os.fstat(file.fileno()), path, max_bytes)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file; nothing of one that says it has no bytes, as those of ``/proc`` that never end.

    Raises
    ------
    OSError
        As in :func:`open_regular`; also if it grows beyond ``max_bytes`` while it is read.
    """
    with open_regular(path, max_bytes=max_bytes) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) if size else b""
        if len(content) > size:  # it grows
            content += file.read(max_bytes + 1 - len(content))
    if len(content) > max_bytes:
        raise _too_large(path, max_bytes)
    return content


def _check(status: os.stat_result, path: Path, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    if status.st_size > max_bytes:
        raise _too_large(path, max_bytes)


def _too_large(path: Path, max_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {max_bytes} bytes", os.fspath(path))


def _open_at_once(name: str, flags: int) -> int:
    """Open without waiting: a pipe may have taken the file's place since it was looked at."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
