"""Promises of the server's folder: private, gone with the server, and if that was killed, with the next one."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poise.app.scratch import PREFIX, remove_abandoned, scratch_folder
from poise.errors import AppError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_goes_with_its_server(temporary: Path) -> None:
    """Nobody else may enter it, and what lies in it is removed with it."""
    with scratch_folder() as folder:
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        (folder / "poise-upload-x").mkdir()
        (folder / "poise-upload-x" / "answer.mp4").write_bytes(b"secret")
    assert not list(temporary.iterdir())


def test_what_a_killed_server_left_goes_with_the_next_one(temporary: Path) -> None:
    """Its folder is known by a lock that nobody holds any more; that of a server which runs is left alone."""
    code = (
        f"import tempfile; tempfile.tempdir = {str(temporary)!r}\n"
        "from poise.app.scratch import scratch_folder\n"
        "with scratch_folder() as folder:\n"
        "    (folder / 'answer.mp4').write_bytes(b'secret')\n"
        "    print(folder, flush=True)\n"
        "    input()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    left = Path(process.stdout.readline().strip())
    with scratch_folder():
        assert (left / "answer.mp4").exists()
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with scratch_folder() as own:
        assert list(temporary.iterdir()) == [own]


def test_only_folders_of_servers_are_removed(temporary: Path) -> None:
    """Not what merely has such a name: a folder without a lock, a link to another folder, a file."""
    (temporary / "kept").mkdir()
    (temporary / "kept" / "in-use").touch()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "kept")
    (temporary / f"{PREFIX}other").mkdir()
    (temporary / f"{PREFIX}file").touch()
    remove_abandoned(temporary)
    assert len(list(temporary.iterdir())) == 4
    assert (temporary / "kept" / "in-use").exists()


def test_a_machine_without_a_place_for_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sentence, with what to set."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(AppError, match="Set TMPDIR"), scratch_folder():
        pass
