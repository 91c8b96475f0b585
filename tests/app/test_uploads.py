"""Promises of uploads: what is no recording is refused, and what is one leaves nothing behind."""

import os
import resource
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from poise.app.uploads import MAX_MODEL_MB, MB, find_suffix, private_file, private_folder
from poise.errors import MediaError, NotReadableNowError
from poise.serve.archive import MAX_BYTES
from tests.media import tone, write_sound, write_video


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.mp4", ".mp4"), ("a.mov", ".mp4"), ("a.mkv", ".mkv"), ("a.avi", ".avi")]
)
def test_the_ending_comes_from_what_is_in_the_file(tmp_path: Path, name: str, suffix: str) -> None:
    """Each container is known by its first bytes, whatever it is called."""
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_video(tmp_path / name, seconds=0.5, sound=None, codec=codec)
    assert find_suffix(path.read_bytes()) == suffix


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"#EXTM3U\n/etc/passwd", "no recording that the app takes.*#EXTM3U"),
        (b"ffconcat version 1.0", "begins with 'ffconcat'"),
        (b"PK\x03\x04" + b"\0" * 20, "no recording"),
        (b"RIFF\0\0\0\0WAVE", "no recording"),
    ],
)
def test_what_is_no_recording_is_refused(data: bytes, message: str) -> None:
    """An empty file, a playlist, a list of files, a ZIP and a sound are told apart from recordings."""
    with pytest.raises(MediaError, match=message):
        find_suffix(data)


def test_a_sound_is_no_upload(tmp_path: Path) -> None:
    """The app takes films, as it says."""
    with pytest.raises(MediaError, match="Expected MP4"):
        find_suffix(write_sound(tmp_path / "a.flac", tone(0.5), codec="flac").read_bytes())


def test_an_upload_lies_where_nobody_else_can_look_and_is_gone_afterwards() -> None:
    """Its folder is open to its owner alone, its name tells nothing, and an error removes it as well."""
    with private_file(b"secret", ".mp4", max_mb=1) as file:
        assert file.read_bytes() == b"secret"
        assert file.suffix == ".mp4"
        assert stat.S_IMODE(os.stat(file.parent).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        first = file
    assert not first.parent.exists()
    with suppress(ZeroDivisionError), private_file(b"x", ".mp4", max_mb=1) as second:
        raise ZeroDivisionError
    assert second != first
    assert not second.parent.exists()


def test_an_upload_that_is_too_large_is_refused_before_it_is_written() -> None:
    """The limit is the server's, whatever the browser was told."""
    with (
        pytest.raises(MediaError, match="has 2 MB, and the app takes at most 1"),
        private_file(b"\0" * 2 * MB, "", max_mb=1),
    ):
        pass


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file cannot be written, or not even a folder be made, a sentence says so and nothing stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(NotReadableNowError, match="no room"), private_file(b"\0" * 1000, ".mp4", max_mb=1):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(NotReadableNowError, match="no place for uploads"), private_folder():
        pass


def test_the_largest_model_is_the_largest_bundle() -> None:
    """A number for those that start the server without anything else of bundles."""
    assert MAX_MODEL_MB * MB == MAX_BYTES
