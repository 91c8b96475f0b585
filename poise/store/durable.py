"""Writing a file so that it is either wholly there or not there at all, also after a crash or a power loss."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poise.errors import StoreWriteError

_PREFIX = ".tmp-"
_OURS = re.compile(r"\.tmp-(.+\.\d+)-(\d+)-[0-9a-f]{8}")
"""``.tmp-HOST.CONTAINER-PID-RANDOM``"""

_OLD_S = 24 * 3600


def write_durably(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, sync it, rename it to ``path`` and sync the folder.

    When this returns the file survives a power loss; until then it does not exist under its name.

    Raises
    ------
    StoreWriteError
        The disk is full, or the folder cannot be written.
    """
    with durable_file(path) as descriptor:
        write_all(descriptor, data)


@contextmanager
def durable_file(path: Path) -> Iterator[int]:
    """A descriptor to write a new file with; the file appears under ``path``, whole and durable, when the block ends.

    If the block fails, nothing appears and nothing is left.

    Raises
    ------
    StoreWriteError
        The disk is full, or the folder cannot be written.
    """
    temporary = temporary_name(path.parent)
    try:
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                yield descriptor
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except StoreWriteError:
        raise
    except OSError as error:
        raise write_error(path, error) from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, also where the system takes it only in parts."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view[: 1 << 26]) :]


def temporary_name(folder: Path) -> Path:
    """A name in ``folder`` that readers ignore and that tells whose it is: of this process on this host."""
    return folder / f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the platform lets a folder be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, durably.

    Raises
    ------
    OSError
        It cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
    for folder in missing or [path]:
        sync_name(folder)


def sync_name(path: Path) -> None:
    """Make the name of something that is there durable: who made it may have died before it was."""
    with suppress(PermissionError):  # a parent that may only be passed through
        sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of processes that died: of this host and gone, or older than a day."""
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            if not _is_leftover(path):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            continue  # somebody else's file in a shared folder; readers ignore it anyway


def is_temporary(path: Path) -> bool:
    """Whether a file is a writer's temporary one, which readers ignore."""
    return path.name.startswith(_PREFIX)


def write_error(path: Path, error: OSError) -> StoreWriteError:
    """The error to raise when ``path`` could not be written, with the space that is left."""
    try:
        free = f"{shutil.disk_usage(path.parent).free / 1e6:,.0f} MB free"
    except OSError:
        free = "free space unknown"
    raised = StoreWriteError(
        f"Cannot write {path}: {error.strerror or error} ({free}). Everything reported stored is safe; "
        "free space, fix the permission or bring the folder back, then run the same command again."
    )
    raised.errno = error.errno
    return raised


def _is_leftover(path: Path) -> bool:
    ours = _OURS.fullmatch(path.name)
    if ours is None:  # somebody else's: an export goes into any folder
        return False
    if time.time() - path.stat().st_mtime > _OLD_S:
        return True
    return ours[1] == _host() and not _alive(int(ours[2]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    """Name of the host, and which of its containers: numbers of processes mean something only there."""
    try:
        container = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        container = 0
    return f"{socket.gethostname().replace('/', '-')}.{container}"
