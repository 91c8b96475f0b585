"""Reading the small files of a store: only what is a regular file, and never more than such a file can hold."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_JSON_BYTES = 1 << 28
"""No JSON file of a store comes near it: the keys of a million files take half."""


def read_regular(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file.

    Raises
    ------
    OSError
        It is not there, cannot be read, is a pipe or a device, which would be waited on for ever, or is larger than
        ``max_bytes``.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    if status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", os.fspath(path))
    return path.read_bytes()
