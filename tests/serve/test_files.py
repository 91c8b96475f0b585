"""Promises of lists of files: a stable order, each once, folders gone through, and nothing passed over in silence."""

import os
from pathlib import Path

import pytest

from poise.serve.files import Listed, list_recordings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MOV", "notes.txt", "B/c.wav", "B/table.csv", ".hidden/x.mp4", "._a.mp4", "z.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_stands_for_its_media_files_in_order(folder: Path) -> None:
    """Also below it; what else is there is told once, and what begins with a dot is passed over."""
    found = list_recordings([folder])
    assert [os.path.relpath(entry.path, folder) for entry in found.entries] == ["a.MOV", "b.mp4", "z.webm", "B/c.wav"]
    assert not any(entry.error for entry in found.entries)
    (note,) = found.notes
    assert note.endswith("left out: notes.txt, B/table.csv")
    assert list_recordings([folder]) == found


def test_files_keep_the_order_in_which_they_are_given(folder: Path) -> None:
    """Whatever their endings, and whether they exist or not."""
    given = [folder / "z.webm", folder / "notes.txt", "nowhere.mp4", folder / "b.mp4"]
    assert [entry.path for entry in list_recordings(given).entries] == [str(path) for path in given]


def test_the_same_file_is_looked_at_once(folder: Path) -> None:
    """Under whatever name, at its first place; the others are told."""
    (folder / "link.mp4").symlink_to(folder / "b.mp4")
    found = list_recordings([folder / "b.mp4", folder / "B" / ".." / "b.mp4", folder])
    names = [Path(entry.path).name for entry in found.entries]
    assert names == ["b.mp4", "a.MOV", "z.webm", "c.wav"]
    assert found.notes[-1].startswith("named more than once")
    assert found.notes[-1].endswith("link.mp4")
    assert list_recordings(["nowhere.mp4", "nowhere.mp4"]).entries == (Listed(path="nowhere.mp4"),)


def test_a_folder_without_media_is_an_entry_with_its_reason(tmp_path: Path) -> None:
    """So that nobody takes silence for success."""
    (tmp_path / "a.txt").touch()
    found = list_recordings([tmp_path])
    assert found.entries[0].path == str(tmp_path)
    assert "no media file" in found.entries[0].error
    assert "a.txt" in found.notes[0]


def test_a_folder_that_cannot_be_read_is_an_entry_with_its_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the tree is gone through all the same."""
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("B"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list_recordings([folder])
    assert [Path(entry.path).name for entry in found.entries] == ["a.MOV", "b.mp4", "z.webm", "B"]
    assert "cannot be listed: Permission denied" in found.entries[-1].error


def test_an_empty_name_is_not_the_current_folder() -> None:
    """As of a variable of the shell that is not set."""
    (entry,) = list_recordings([""]).entries
    assert "without a name" in entry.error


def test_links_to_folders_are_named_and_not_followed(folder: Path) -> None:
    """A tree that holds itself ends; a link that is given itself is gone through."""
    (folder / "B" / "up").symlink_to(folder)
    found = list_recordings([folder / "B"])
    assert [Path(entry.path).name for entry in found.entries] == ["c.wav"]
    assert "up/" in found.notes[0]
    assert len(list_recordings([folder / "B" / "up"]).entries) == 4


def test_many_strangers_are_counted(tmp_path: Path) -> None:
    """Five are named."""
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    assert list_recordings([tmp_path]).notes[0].endswith("0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more")


def test_nothing_is_opened(tmp_path: Path) -> None:
    """A pipe would be waited on for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    assert [entry.path for entry in list_recordings([tmp_path]).entries] == [str(tmp_path / "pipe.mp4")]
