"""Opening a media file safely: only regular files that begin like a known container, only by ffmpeg's file protocol.

ffmpeg follows playlists and URLs that stand inside a file, and waits for ever at a named pipe; nothing of that gets
past here. What is in the file is for :mod:`poise.extract.media.probe`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import av
import av.error
from av.container import InputContainer

from poise.errors import MediaError, NotReadableNowError

FORMATS = "mov,matroska,avi,mpegts,mpeg,mp3,aac,wav,w64,flac,ogg,gif,flv,asf"
"""Demuxers that may open a file, by ffmpeg's names."""

_EXPECTED = "MP4/MOV, Matroska/WebM, AVI, MPEG-TS/PS, WAV, FLAC, Ogg, MP3, AAC, GIF, FLV or ASF"
_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}
_MAGIC = (
    b"\x1a\x45\xdf\xa3",  # EBML: Matroska, WebM
    b"OggS",
    b"fLaC",
    b"ID3",
    b"GIF8",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"riff\x2e\x91\xcf\x11",  # Wave64
)
_TEXT = {*b"\t\n\r\f", *range(0x20, 0x7F), *range(0x80, 0x100)}
_NO_MEDIA = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"%PDF-", b"7z\xbc\xaf\x27\x1c", b"\x7fELF", b"\x89HDF")
_URL = re.compile(r"(^|/)[a-z][a-z0-9+.-]+:/")  # a path has lost the second slash
_PROTOCOLS = {"protocol_whitelist": "file", "format_whitelist": FORMATS}


def check_media_file(path: str | os.PathLike[str]) -> Path:
    """Refuse everything that is not a regular file which begins like a known container.

    Parameters
    ----------
    path : path
        A local file. A URL is taken for the name of a file and never fetched.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    MediaError
        There is no such file, or it is a folder, a pipe or a device, is empty, cannot be read, or is no media file.
    """
    absolute = check_regular_file(path)
    try:
        if not os.stat(absolute).st_size:  # those of /proc say so too, and reading them may never end
            raise MediaError(f"{absolute} is empty (0 bytes). Expected a media file: {_EXPECTED}.")
        with open(absolute, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise _unreadable(absolute, path, error) from error
    if not _is_container(head):
        raise MediaError(
            f"{absolute} is not a media file that poise opens: it begins with {head[:8].decode('latin-1')!r}. "
            f"Expected {_EXPECTED}{_advise(head)}."
        )
    return absolute


def check_regular_file(path: str | os.PathLike[str]) -> Path:
    """Refuse what must not even be opened: a pipe or a device may be waited on for ever.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    MediaError
        There is no such file, or it is a folder, a pipe or a device.
    """
    absolute = Path(os.path.abspath(path))
    try:
        status = os.stat(absolute)
    except (OSError, ValueError) as error:
        raise _unreadable(absolute, path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{absolute} is {_kind(status.st_mode)}. Expected a media file: {_EXPECTED}.")
    return absolute


def _unreadable(absolute: Path, path: str | os.PathLike[str], error: Exception) -> NotReadableNowError:
    hint = " poise reads local files only: download it first." if _URL.search(str(path)) else ""
    reason = getattr(error, "strerror", None) or str(error)
    return NotReadableNowError(f"{absolute} cannot be read: {reason}. Expected a media file on this machine.{hint}")


def open_media(path: Path) -> InputContainer:
    """Open a checked file with PyAV; close it after use.

    Raises
    ------
    MediaError
        ffmpeg cannot make sense of the file.
    NotReadableNowError
        Too many files are open.
    """
    try:
        container = av.open(str(path), options=dict(_PROTOCOLS), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise NotReadableNowError(f"{path} cannot be opened: {reason_of(error)}.") from error
        raise MediaError(
            f"{path} cannot be opened: {reason_of(error)}. Expected a whole {_EXPECTED} file; it may be cut off or "
            "damaged."
        ) from error
    return container


def reason_of(error: BaseException) -> str:
    """What ffmpeg said, without the error number, which misleads (damaged sound is 'Operation not permitted')."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _advise(head: bytes) -> str:
    """What may help: nothing converts a text, an archive or a document into a recording."""
    is_text = not set(head) - _TEXT
    if is_text or head.startswith(_NO_MEDIA):
        return ""
    return "; convert it first, for example with `ffmpeg -i IN OUT.mp4`"


def _is_container(head: bytes) -> bool:
    if head.startswith(_MAGIC) or head[4:8] in _MP4_BOXES:
        return True
    if head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return head[8:12] in (b"WAVE", b"AVI ")
    if len(head) > 196 and (head[0] == head[188] == 0x47 or head[4] == head[196] == 0x47):  # MPEG-TS, M2TS
        return True
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] != 0xFF  # MP3 and AAC frames
