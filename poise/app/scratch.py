"""The server's own folder for temporary files: private, gone with the server, and with the next one at the latest."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import IO

from poise.errors import AppError

PREFIX = "poise-app-"
_LOCK = "in-use"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder that only this user may enter (0700), removed at the end.

    Folders of servers that were killed, and could not remove theirs, are removed first.

    Raises
    ------
    AppError
        None can be made.
    """
    remove_abandoned(Path(tempfile.gettempdir()))
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise AppError(f"There is no place for temporary files: {error.strerror}. Set TMPDIR to a folder.") from error
    try:
        with lock:
            _take(lock)
            yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove this user's folders of servers that do not run any more.

    Parameters
    ----------
    parent : Path
        Where they lie.
    """
    if sys.platform == "win32":
        return
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or another server has removed it just now
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                if _take(lock):
                    rmtree(folder, ignore_errors=True)


def _take(lock: IO[str]) -> bool:
    """Hold a lock until its file is closed, also by the end of the process; False where another process holds it."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
