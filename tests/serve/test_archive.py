"""Promises of reading a ZIP: only what tools make is read, and what hostile ones claim costs nothing."""

from __future__ import annotations

import io
import os
import stat
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.errors import BundleError
from poise.serve.archive import MAX_BYTES, MAX_FILES, Archive, read_bytes
from tests.serve.bundles import Entry, hand_made

GOOD = {"a.txt": b"some text " * 200, "folder/b.bin": bytes(range(256)) * 40, "empty": b""}


def made(compression: int = zipfile.ZIP_DEFLATED, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, **options) as archive:
        archive.writestr("folder/", b"")
        for name, content in GOOD.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_a_tool_packed_is_read(compression: int) -> None:
    """Files come back as they were, in their order; folders are none."""
    archive = Archive.of_bytes(made(compression))
    assert {name: archive.read(name) for name in archive.files} == GOOD


def test_a_zip_written_to_a_pipe_is_read() -> None:
    """Sizes behind the content, where the writer could not go back, are those of the list."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("a.txt", b"text")
    assert Archive.of_bytes(pipe.data).read("a.txt") == b"text"


def test_hand_made_archives_are_read_where_they_are_sound() -> None:
    """What the hostile ones of these tests are changed from is accepted."""
    archive = Archive.of_bytes(hand_made([Entry("a", b"one"), Entry("b", b"two" * 50, deflate=True)], comment=b"hello"))
    assert {name: archive.read(name) for name in archive.files} == {"a": b"one", "b": b"two" * 50}


BOMB = b"\0" * 3_000_000
FOLDER, LINK, DEVICE, PIPE = (
    kind << 16 | 0o777 << 16 for kind in (stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO)
)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([Entry("../up.txt")], "would lie elsewhere: '../up.txt'"),
        ([Entry("a/../../up.txt")], "would lie elsewhere"),
        ([Entry("/etc/passwd")], "would lie elsewhere"),
        ([Entry("C:/up.txt")], "would lie elsewhere"),
        ([Entry("a\\..\\up.txt")], "would lie elsewhere"),
        ([Entry("a//b")], "would lie elsewhere"),
        ([Entry("./a")], "would lie elsewhere"),
        ([Entry("")], "would lie elsewhere: ''"),
        ([Entry("a\x00.txt")], "would lie elsewhere"),
        ([Entry("a\n.txt")], "would lie elsewhere"),
        ([Entry("txt.\u202ezip")], "would lie elsewhere"),
        ([Entry("link", b"/etc/passwd", attributes=LINK)], "link is a link or a device"),
        ([Entry("device", attributes=DEVICE)], "device is a link or a device"),
        ([Entry("pipe", attributes=PIPE)], "pipe is a link or a device"),
        ([Entry("a/", attributes=LINK)], "a/ is a link or a device"),
        ([Entry("a"), Entry("a", b"y")], "the name 'a' stands twice"),
        ([Entry("a"), Entry("A")], "the name 'A' stands twice"),
        ([Entry("\u00e9"), Entry("e\u0301")], "stands twice"),
        ([Entry("a"), Entry("a/", attributes=FOLDER)], "stands twice"),
        ([Entry("secret", flags=1)], "secret is encrypted"),
        ([Entry("secret", flags=0x40)], "secret is encrypted"),
        ([Entry("a", method=14)], "a is compressed in an unusual way"),
        ([Entry("a", method=99)], "a is compressed in an unusual way"),
        ([Entry("bomb", BOMB, deflate=True)], "bomb would unpack to 3,000,000 bytes from"),
        ([Entry("claim", size=4_000_000_000)], "claim would unpack to 4,000,000,000 bytes"),
        ([Entry("a", b"x" * 10, packed_size=10_000)], "a lies on top of what follows it"),
        ([Entry("a", b"x" * 100), Entry("b", b"x" * 100, offset=0)], "the list and the header of b differ|on top of"),
        ([Entry("a", b"x" * 100), Entry("a2", offset=120)], "a lies on top of what follows it"),
        ([Entry("a", offset=4_000_000)], "a is not where the list says|does not stand at its beginning"),
        ([Entry("a", local_name="b")], "the list and the header of a differ"),
        ([], "a ZIP without any file"),
    ],
)
def test_a_list_that_no_tool_writes_is_refused(entries: list[Entry], message: str) -> None:
    """Names that lead outside, links, doubles, secrets, bombs, claims and overlaps are one clear error each."""
    with pytest.raises(BundleError, match=message):
        Archive.of_bytes(hand_made(entries))


def test_overlapping_files_are_not_read_many_times() -> None:
    """A thousand entries that share one content, a bomb without any nesting, are refused before anything is read."""
    content = b"\0" * 900_000
    shared = [Entry(str(n), content, deflate=True, offset=0) for n in range(1, 200)]
    bomb = hand_made([Entry("0", content, deflate=True), *shared])
    assert len(bomb) < 20_000
    with pytest.raises(BundleError, match="lies on top of what follows it|differ"):
        Archive.of_bytes(bomb)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("a", b"text", crc=1), "a is not what was packed"),
        (Entry("a", b"text" * 9, deflate=True, crc=1), "a is not what was packed"),
        (Entry("a", b"text" * 9, deflate=True, size=35), "a is not what was packed"),
        (Entry("a", b"text" * 9, deflate=True, size=37), "a is not what was packed"),
        (Entry("a", b"text", size=3), "a is not what was packed"),
        (Entry("a", b"text", deflate=True, packed=b"\xff\xff\xff\xff"), "a cannot be unpacked"),
        (Entry("a", b"text", deflate=True, packed=b""), "a unpacks to another length"),
        (Entry("a", b"text", deflate=True, packed=zlib.compress(b"text")[2:-4] + b"more"), "another length"),
        (Entry("a", b"\0" * 900_000, deflate=True, size=4), "a unpacks to another length"),
    ],
)
def test_a_content_that_is_not_what_the_list_says_is_refused(entry: Entry, message: str) -> None:
    """Lengths and checksums are those of what was really unpacked, to the last byte."""
    archive = Archive.of_bytes(hand_made([entry]))
    with pytest.raises(BundleError, match=message):
        archive.read("a")


def test_a_small_claim_of_a_large_content_takes_no_memory() -> None:
    """Unpacking stops where the list's length is passed, however much more would come."""
    bomb = hand_made([Entry("a", b"\0" * 200_000_000, deflate=True, size=1000)])
    archive = Archive.of_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(BundleError, match="another length"):
        archive.read("a")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_what_is_no_whole_zip_is_refused() -> None:
    """Text, nothing, and a ZIP that is cut anywhere or has something in front."""
    whole = made()
    for content in (b"", b"text", b"PK", b"PK\x05\x06" + b"\0" * 18, b"Rar!\x1a\x07\x00" + whole[7:]):
        with pytest.raises(BundleError, match="not a whole ZIP|without any file|is not where|does not stand"):
            Archive.of_bytes(content)
    for length in range(0, len(whole), 37):
        with pytest.raises(BundleError):
            Archive.of_bytes(whole[:length])
    with pytest.raises(BundleError, match="first file does not stand at its beginning"):
        Archive.of_bytes(b"#!/bin/sh\n" + whole)


def test_any_changed_byte_is_noticed_or_changes_nothing() -> None:
    """Flipped anywhere: an error of ours, or the very same files."""
    whole = made()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        try:
            archive = Archive.of_bytes(bytes(changed))
            found = {name: archive.read(name) for name in archive.files}
        except BundleError:
            continue
        assert {name: content for name, content in found.items() if name in GOOD} == {
            name: GOOD[name] for name in found if name in GOOD
        }


def test_random_bytes_behind_a_signature_are_one_error() -> None:
    """Whatever stands where the list should be, no other error than ours leaves."""
    rng = np.random.default_rng(0)
    whole = made()
    start = whole.rindex(b"PK\x05\x06")
    for _ in range(300):
        noise = rng.bytes(18)
        for content in (whole[: start + 4] + noise, whole[:-60] + rng.bytes(38) + whole[-22:], rng.bytes(200) + noise):
            try:
                archive = Archive.of_bytes(content)
                _ = [archive.read(name) for name in archive.files]
            except BundleError:
                continue


def test_too_many_files_are_refused_before_they_are_listed() -> None:
    """The list itself may be a bomb: a million names take more than the file."""
    with pytest.raises(BundleError, match=f"holds {MAX_FILES + 1} files"):
        Archive.of_bytes(hand_made([Entry(str(n), b"") for n in range(MAX_FILES + 1)]))
    listed = hand_made([Entry(str(n), b"", offset=0) for n in range(5 * MAX_FILES)])
    tracemalloc.start()
    with pytest.raises(BundleError, match=f"lists more than {MAX_FILES} files"):
        Archive.of_bytes(listed)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_many_files_together_may_not_be_too_large() -> None:
    """Each is below the limit; what counts is what all would unpack to."""
    entries = [Entry(str(n), b"x", size=MAX_BYTES // 4, packed_size=MAX_BYTES // 8) for n in range(5)]
    with pytest.raises(BundleError, match="would unpack to"):
        Archive.of_bytes(hand_made(entries))


def test_only_files_of_a_bounded_length_are_read(tmp_path: Path) -> None:
    """A folder, a pipe that nobody writes into, a device and a sparse giant are errors at once."""
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "giant", "wb") as file:
        file.truncate(1 << 36)
    for place, reason in [
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "giant", "longer than 268,435,456 bytes. Give a ZIP of a model and nothing else"),
        (tmp_path / "nothing", "No such file"),
    ]:
        with pytest.raises(BundleError, match=reason):
            read_bytes(place)
    with pytest.raises(BundleError, match="expected at most"):
        Archive.of_bytes(bytes(MAX_BYTES + 1))
