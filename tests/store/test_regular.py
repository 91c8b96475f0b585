"""Promises of reading small files: nothing that never ends is waited on, and nothing is read beyond its limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from poise.store.regular import open_regular, read_regular


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    """Up to its limit and no further; what is not there, or no path, is an error of the system."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, max_bytes=5) == b"12345"
    with open_regular(path, max_bytes=5) as file:
        assert file.read() == b"12345"
    for place, number in [
        (path, errno.EFBIG),
        (tmp_path, errno.EINVAL),
        (Path("/dev/zero"), errno.EINVAL),
        (Path("a\0b"), errno.EINVAL),
        (tmp_path / "nothing", errno.ENOENT),
        (tmp_path / ("x" * 300), errno.ENAMETOOLONG),
    ]:
        with pytest.raises(OSError, match=rf"^\[Errno {number}\] "):
            read_regular(place, max_bytes=4)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="no /proc")
def test_what_says_that_it_has_no_bytes_is_taken_at_its_word() -> None:
    """/proc/kmsg is a regular file of no bytes that waits for news, /proc/cpuinfo one that has many."""
    for name in ("/proc/cpuinfo", *(["/proc/kmsg"] if os.access("/proc/kmsg", os.R_OK) else [])):
        try:
            assert read_regular(Path(name)) == b""
        except PermissionError:  # the system may forbid to open it
            assert name == "/proc/kmsg"


def test_a_file_that_grows_while_it_is_read_is_read_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is not what is read."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    look = os.fstat

    def look_and_grow(descriptor: int) -> os.stat_result:
        found = look(descriptor)
        with path.open("ab") as file:
            file.write(b"6")
        return found

    monkeypatch.setattr(os, "fstat", look_and_grow)
    assert read_regular(path, max_bytes=100).startswith(b"123456")
    path.write_bytes(b"12345")
    with pytest.raises(OSError, match="larger than 6 bytes"):
        read_regular(path, max_bytes=6)


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and opening."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    look = os.stat

    def look_and_replace(place: Any, **options: Any) -> os.stat_result:
        found = look(place, **options)
        if stat.S_ISREG(found.st_mode):
            path.unlink()
            os.mkfifo(path)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", look_and_replace)
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path)
