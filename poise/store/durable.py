"""Writing a file so that it is either wholly there or not there at all, also after a crash or a power loss."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import time
from pathlib import Path

from poise.errors import StoreWriteError

_PREFIX = ".tmp-"
_OLD_S = 24 * 3600


def write_durably(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, sync it, rename it to ``path`` and sync the folder.

    When this returns the file survives a power loss; until then it does not exist under its name.

    Raises
    ------
    StoreWriteError
        The disk is full, or the folder cannot be written.
    """
    temporary = path.parent / f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        try:
            _write_synced(temporary, data)
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view[: 1 << 26]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writers that died: of this host and gone, or older than a day."""
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            if _is_leftover(path):
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
        "free space or fix the permission, then run the same command again."
    )
    raised.errno = error.errno
    return raised


def _is_leftover(path: Path) -> bool:
    if time.time() - path.stat().st_mtime > _OLD_S:
        return True
    host, _, rest = path.name.removeprefix(_PREFIX).rpartition("-")[0].rpartition("-")
    return host == _host() and rest.isdigit() and not _alive(int(rest))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return socket.gethostname().replace("/", "-") or "host"
