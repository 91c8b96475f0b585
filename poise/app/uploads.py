"""An upload as a file that poise can open: private, under a name of our own, and gone again whatever happens."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from poise.errors import MediaError, NotReadableNowError

MB = 1 << 20
MAX_MODEL_MB = 256
"""No bundle is larger, see :data:`poise.serve.archive.MAX_BYTES`: said here for those that need nothing else of it."""

KINDS = "MP4, MOV, MKV, AVI or WebM"
"""What a recording may be; what is in it decides, not what it is called."""

_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}


def find_suffix(data: bytes | memoryview) -> str:
    """The ending for a recording with this content, by its first bytes.

    Parameters
    ----------
    data : bytes
        The upload, or the first dozen bytes of it.

    Returns
    -------
    str
        ``.mp4``, ``.mkv`` or ``.avi``.

    Raises
    ------
    MediaError
        It is empty, or of another kind.
    """
    head = bytes(data[:12])
    if not head:
        raise MediaError(f"The file is empty. Expected a recording: {KINDS}.")
    if head[4:8] in _MP4_BOXES:
        return ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ".mkv"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    raise MediaError(
        f"The file is no recording that the app takes: it begins with {head[:8].decode('latin-1')!r}. Expected {KINDS}."
    )


@contextmanager
def private_file(data: bytes | memoryview, suffix: str, *, max_mb: int) -> Iterator[Path]:
    """Have an upload as a file of its own, in a folder that nobody else may enter; both are gone at the end.

    Parameters
    ----------
    data : bytes
        The upload.
    suffix : str
        Ending of the file.
    max_mb : int
        Size that it may have, MB.

    Yields
    ------
    Path
        The file, under a random name.

    Raises
    ------
    MediaError
        It is too large.
    NotReadableNowError
        There is no room for it.
    """
    if len(data) > max_mb * MB:
        raise MediaError(f"The file has {len(data) / MB:,.0f} MB, and the app takes at most {max_mb:,}. Send a part.")
    with private_folder() as folder:
        handle, name = tempfile.mkstemp(suffix=suffix, dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise NotReadableNowError(f"There is no room for the file on the server: {error.strerror}.") from error
        yield Path(name)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user may enter (0700), removed with all that is in it at the end.

    Raises
    ------
    NotReadableNowError
        None can be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix="poise-upload-")
    except OSError as error:
        raise NotReadableNowError(f"The server has no place for uploads: {error.strerror}.") from error
    try:
        yield Path(folder)
    finally:
        rmtree(folder, ignore_errors=True)
