"""Reading a ZIP that anybody may have made: its files into memory, under limits. Nothing is written to the disk.

What the files mean does not live here. `zipfile` reads the list of files alone: it unpacks what a list claims, however
much that is, lets files lie on top of each other, and takes the last of two with one name.
"""

from __future__ import annotations

import errno
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from poise.errors import BundleError
from poise.store.regular import read_regular

MAX_BYTES = 1 << 28
"""No archive is larger, and no archive unpacks to more: a head of 4096 units on 3072 columns takes a fifth of it."""

MAX_FILES = 1000
MAX_RATIO = 200
"""How many times its packed size a file may have, if it is larger than :data:`SMALL_BYTES`."""

SMALL_BYTES = 1 << 20

_LISTED = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_REFUSED_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000  # encrypted, a patch, strongly encrypted, masked
_BROKEN = (
    zipfile.BadZipFile,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive:
    """The files of a ZIP, whose list was checked; each is checked in full when it is read.

    Attributes
    ----------
    files : mapping of str to ZipInfo
        By name, in the order of the list, without folders.
    data : bytes
        The whole archive.
    """

    files: Mapping[str, zipfile.ZipInfo]
    data: bytes

    @classmethod
    def of_bytes(cls, data: bytes) -> Archive:
        """The archive of these bytes.

        Raises
        ------
        BundleError
            They are no ZIP, or one that is not made as tools make them: its list names files that lie outside, on top
            of each other, twice, encrypted, packed in an unusual way, are links, or would unpack to too much.
        """
        if len(data) > MAX_BYTES:
            raise BundleError(f"it is {len(data):,} bytes long, expected at most {MAX_BYTES:,}. It is not read")
        # every entry of the list begins so: there cannot be more of them
        if data.count(_LISTED) > 4 * MAX_FILES:
            raise BundleError(f"it lists more than {MAX_FILES} files. It is not read")
        try:
            with zipfile.ZipFile(BytesIO(data)) as opened:
                infos, list_start = opened.infolist(), opened.start_dir
        except _BROKEN as error:
            raise BundleError("it is not a whole ZIP: it is damaged, cut off, or of another kind") from error
        _check_list(infos)
        _check_places(data, infos, list_start)
        return cls(files={info.filename: info for info in infos if not info.is_dir()}, data=data)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Parameters
        ----------
        name : str
            One of ``files``.

        Raises
        ------
        BundleError
            Its content is not as long as the list says, or not what was packed.
        """
        info = self.files[name]
        start = _content_start(self.data, info)
        packed = memoryview(self.data)[start : start + info.compress_size]
        content = bytes(packed) if info.compress_type == zipfile.ZIP_STORED else _inflate(packed, info)
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise BundleError(f"{name} is not what was packed: its length or its checksum differs. It is damaged")
        return content


def read_bytes(path: Path) -> bytes:
    """The content of a file that is at most :data:`MAX_BYTES` long.

    Raises
    ------
    BundleError
        It is a folder, a pipe or a device, cannot be read, or is longer.
    """
    try:
        return read_regular(path, max_bytes=MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise BundleError(
                f"it is longer than {MAX_BYTES:,} bytes. Give a ZIP of a model and nothing else"
            ) from error
        raise BundleError(f"it cannot be read: {error.strerror or error}. Give a ZIP") from error


def _check_list(infos: list[zipfile.ZipInfo]) -> None:
    """Refuse what the list says of single files, and of all of them."""
    if len(infos) > MAX_FILES:
        raise BundleError(f"it holds {len(infos)} files, expected at most {MAX_FILES}. It is not read")
    seen: set[str] = set()
    for info in infos:
        _check_name(info)
        _check_kind(info)
        # names that differ in the case of letters or in how an accent is written are one on other machines
        alike = unicodedata.normalize("NFC", unicodedata.normalize("NFC", info.filename).casefold()).rstrip("/")
        if alike in seen:
            raise BundleError(f"the name {info.filename!r} stands twice in it. It is not read")
        seen.add(alike)
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES:
        raise BundleError(f"it would unpack to {total:,} bytes, expected at most {MAX_BYTES:,}. It is not read")


def _check_name(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    outside = name.startswith("/") or "\\" in name or name[1:2] == ":" or not {"", ".", ".."}.isdisjoint(parts)
    if outside or not name.isprintable() or name != info.filename:
        raise BundleError(f"it holds a file that would lie elsewhere: {name[:100]!r}. It is not read")


def _check_kind(info: zipfile.ZipInfo) -> None:
    name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise BundleError(f"{name} is a link or a device, expected a file. It is not read")
    if info.flag_bits & _REFUSED_FLAGS:
        raise BundleError(f"{name} is encrypted. Pack it again without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(f"{name} is compressed in an unusual way. Pack it again as a plain ZIP")
    if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise BundleError(
            f"{name} would unpack to {info.file_size:,} bytes from {info.compress_size:,}, more than {MAX_RATIO} times "
            "as many. It is not read"
        )


def _check_places(data: bytes, infos: list[zipfile.ZipInfo], list_start: int) -> None:
    """Refuse files that lie on top of each other, and anything in front of the first."""
    if not infos:
        raise BundleError("it is a ZIP without any file")
    ordered = sorted(infos, key=lambda info: info.header_offset)
    if ordered[0].header_offset:
        raise BundleError("its first file does not stand at its beginning. It is not read")
    starts = [info.header_offset for info in ordered[1:]] + [list_start]
    for info, limit in zip(ordered, starts, strict=True):
        if _content_start(data, info) + info.compress_size > limit:
            raise BundleError(f"{info.filename} lies on top of what follows it. It is not read")


def _content_start(data: bytes, info: zipfile.ZipInfo) -> int:
    """Where the content of a file begins: behind a header that says the same as the list."""
    header = data[info.header_offset : info.header_offset + _LOCAL.size]
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_SIGNATURE):
        raise BundleError(f"{info.filename} is not where the list says. It is damaged")
    _, _, flags, method, *_, name_length, extra_length = _LOCAL.unpack(header)
    start = info.header_offset + _LOCAL.size
    name = data[start : start + name_length].decode("utf-8" if flags & 0x800 else "cp437", "replace")
    if name != info.orig_filename or method != info.compress_type or flags & _REFUSED_FLAGS:
        raise BundleError(f"the list and the header of {info.filename} differ. It is damaged")
    return int(start + name_length + extra_length)


def _inflate(packed: memoryview, info: zipfile.ZipInfo) -> bytes:
    """Unpack one whole stream, and stop where it has become longer than it may be."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(packed, info.file_size + 1)
    except zlib.error as error:
        raise BundleError(f"{info.filename} cannot be unpacked. It is damaged") from error
    if not stream.eof or stream.unused_data:
        raise BundleError(f"{info.filename} unpacks to another length than the list says. It is damaged")
    return content
