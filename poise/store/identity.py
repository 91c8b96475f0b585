"""Which recording a file is: the hash of its bytes, remembered by size, times and inode.

Nothing here reads features.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from pathlib import Path

from poise.store.durable import write_durably

_RACY_NS = 2_000_000_000  # a file changed this shortly before it was hashed may change again unseen


def file_key(path: str | os.PathLike[str]) -> str:
    """Key of a recording: sha256 of the file's bytes, 64 hexadecimal digits.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited on for ever
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_key(name: str) -> str:
    """Key of imported features, which know a recording's name but not its bytes."""
    return hashlib.sha256(b"poise imported recording\0" + name.encode("utf-8", "surrogateescape")).hexdigest()


class KeyCache:
    """Keys of files, kept from run to run so that unchanged files are not hashed again.

    Parameters
    ----------
    folder : path
        Folder of the store; the cache in it may be deleted at any time.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._file = Path(folder) / "cache" / "keys.json"
        self._known = self._read()
        self._changed = False

    def _read(self) -> dict[str, list[int | str]]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}  # a cache that cannot be read is a cache that is not there
        return known if isinstance(known, dict) else {}

    def key(self, path: str | os.PathLike[str]) -> str:
        """Key of the file, hashed only if it changed since the last time.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        name = os.path.abspath(path)
        stamp = _stamp(name)
        known = self._known.get(name)
        if isinstance(known, list) and known[:-1] == stamp and isinstance(known[-1], str):
            return known[-1]
        key = file_key(name)
        after = _stamp(name)
        if after == stamp and time.time_ns() - max(stamp[1], stamp[2]) > _RACY_NS:
            self._known[name] = [*stamp, key]
            self._changed = True
        return key

    def save(self) -> None:
        """Write the cache if anything was added; a store that cannot be written keeps its old one."""
        if not self._changed:
            return
        try:
            self._file.parent.mkdir(exist_ok=True)
            write_durably(self._file, json.dumps(self._known).encode("utf-8", "surrogateescape"))
        except OSError:
            return  # losing a cache loses only time
        self._changed = False


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
