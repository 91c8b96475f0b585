"""The files of a source: a folder, a ZIP or a single file. Nothing that is not a regular file is ever opened."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from poise.errors import ImportFormatError
from poise.store.format.hdf5 import first_line
from poise.store.importers.arrays import check_member
from poise.store.importers.items import Refused


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceFile:
    """A file in a source.

    Attributes
    ----------
    name : str
        Its path inside the source, with slashes.
    open : callable
        Opens it for reading, with random access; raises ImportFormatError if that cannot be.
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    @property
    def stem(self) -> str:
        """Its name without folders and ending."""
        return PurePosixPath(self.name).stem


def array_files(source: Path, ending: str) -> Iterator[SourceFile | Refused]:
    """Every file of that ending in a folder or a ZIP, or the source itself if it has that ending.

    Raises
    ------
    ImportFormatError
        A ZIP cannot be read as one.
    """
    if source.is_dir():
        for item in folder_files(source, (ending,)):
            yield item if isinstance(item, Refused) else SourceFile(name=item[0], open=_opener(item[1]))
    elif source.suffix.lower() == ending:
        yield SourceFile(name=source.name, open=_opener(source))
    else:
        yield from _zip_files(source, ending)


def folder_files(source: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, Path] | Refused]:
    """Path inside a folder, and path, of every file with one of some endings; hidden ones are left out.

    A folder in it that cannot be listed, and what is no regular file, is refused.
    """
    unlisted: list[OSError] = []
    for folder, folders, files in os.walk(source, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            path = Path(folder, name)
            inside = path.relative_to(source).as_posix()
            if path.suffix.lower() in endings and not is_hidden(name):
                reason = irregular(path)
                yield (inside, path) if reason is None else Refused(path=inside, reason=reason)
    for error in unlisted:
        yield Refused(path=os.fspath(error.filename), reason=f"cannot be listed: {error.strerror}")


def irregular(path: Path) -> str | None:
    """Why a path must not be opened: a pipe would be waited on for ever. None if it is a regular file."""
    try:
        return None if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that people do not mean: hidden, or what macOS puts into ZIPs."""
    return name.startswith((".", "__MACOSX"))


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    def open_regular() -> IO[bytes]:
        try:
            return path.open("rb")
        except OSError as error:
            raise ImportFormatError(f"cannot be read: {error.strerror}") from error

    return open_regular


def _zip_files(source: Path, ending: str) -> Iterator[SourceFile]:
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                parts = PurePosixPath(info.filename).parts
                if info.filename.lower().endswith(ending) and not any(map(is_hidden, parts)):
                    yield SourceFile(name=info.filename, open=_member_opener(archive, info))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ImportFormatError(f"{source} is neither a folder nor a ZIP that can be read: {error}.") from error


def _member_opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def unpack() -> IO[bytes]:
        check_member(info)
        try:
            return io.BytesIO(archive.read(info))
        except Exception as error:  # each way of compressing has errors of its own
            raise ImportFormatError(f"cannot be unpacked: {first_line(error)}") from error

    return unpack
