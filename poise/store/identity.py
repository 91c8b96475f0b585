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
from collections.abc import Callable
from pathlib import Path

from poise.store.durable import write_durably
from poise.store.regular import read_regular

_PIECE_BYTES = 1 << 18
_RACY_NS = 2_000_000_000  # a file changed this shortly before it was hashed may change again unseen


def file_key(path: str | os.PathLike[str], beat: Callable[[], None] = lambda: None) -> str:
    """Key of a recording: sha256 of the file's bytes, 64 hexadecimal digits.

    Parameters
    ----------
    path : path
        The file.
    beat : callable
        Called after each piece that was read; what it raises ends the reading.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited on for ever
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    if not status.st_size:  # nor is one of /proc opened, which says so too and may never end
        return digest.hexdigest()
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(piece):
            digest.update(piece[:n])
            beat()
    return digest.hexdigest()


def name_key(name: str) -> str:
    """Key of imported features, which know a recording's name but not its bytes."""
    return hashlib.sha256(b"poise imported recording\0" + name.encode("utf-8", "surrogateescape")).hexdigest()


class KeyCache:
    """Keys of files, kept from run to run so that unchanged files are not hashed again.

    Parameters
    ----------
    folder : Path or None
        Where they are kept; it may be deleted at any time. None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = folder / "keys.json" if folder is not None else None
        self._known = self._read()
        self._changed = False
        self._names: dict[str, list[str]] | None = None

    def _read(self) -> dict[str, list[int | str]]:
        if self._file is None:
            return {}
        try:
            known = json.loads(read_regular(self._file))
        except (OSError, ValueError, RecursionError):
            return {}  # a cache that cannot be read is a cache that is not there
        return (
            {name: value for name, value in known.items() if _is_remembered(value)} if isinstance(known, dict) else {}
        )

    def key(self, path: str | os.PathLike[str], hash_file: Callable[[str], str] = file_key) -> str:
        """Key of the file, hashed only if it changed since the last time.

        Parameters
        ----------
        path : path
            The file.
        hash_file : callable
            Gives the key of the file of that name, as :func:`file_key` does.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        name = os.fspath(path)
        if not os.path.isabs(name):
            name = os.path.abspath(name)
        stamp = _stamp(name)
        known = self._known.get(name)
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        key = hash_file(name)
        after = _stamp(name)
        if after == stamp and time.time_ns() - max(stamp[1], stamp[2]) > _RACY_NS:
            self._known[name] = [*stamp, key]
            self._changed, self._names = True, None
        return key

    def is_elsewhere(self, key: str, path: str | os.PathLike[str]) -> bool:
        """Whether the bytes of a key are known to be still in another file than ``path``."""
        here = os.path.abspath(path)
        if self._names is None:
            self._names = {}
            for name, known in self._known.items():
                self._names.setdefault(str(known[-1]), []).append(name)
        return any(name != here and self._is_unchanged(name) for name in self._names.get(key, ()))

    def _is_unchanged(self, name: str) -> bool:
        try:
            return self._known[name][:-1] == _stamp(name)
        except (OSError, ValueError):
            return False

    def save(self) -> None:
        """Write the cache if anything was added; a store that cannot be written keeps its old one."""
        if not self._changed or self._file is None or self._file.parent.is_symlink():
            return
        try:
            self._file.parent.mkdir(exist_ok=True)
            both = {**self._read(), **self._known}  # others may have hashed other files meanwhile
            write_durably(self._file, json.dumps(both).encode("utf-8", "surrogateescape"))
        except OSError:
            return  # losing a cache loses only time
        self._changed = False


def _is_remembered(value: object) -> bool:
    return isinstance(value, list) and len(value) == 5 and isinstance(value[-1], str) and len(value[-1]) == 64


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
