"""Promises about bad disks: full, read-only or gone, they cost one clear error and nothing that was stored."""

import errno
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from poise.errors import StoreWriteError
from poise.store import FeatureStore, heal
from tests.store.children import in_child
from tests.store.features import make_features, make_key, make_spec
from tests.store.trial_kinds import SPEC, Kind, flip, keys_of, recording, save

KEPT = [f"large-{number}" for number in range(8)]  # two megabytes
NOBODY = 65534


def check_kept(path: Path, *more: str) -> None:
    """All that was stored is there bit for bit, nothing else is, and no temporary file is left."""
    store = FeatureStore.open(path)
    index = store.index(SPEC)
    assert index is not None
    assert index.keys() == keys_of([*KEPT, *more])
    assert all(Kind().is_right(index, key) for key in index)
    assert store.verify().problems == ()
    assert not list(path.parent.rglob(".tmp-*"))


def refusal(work: Callable[[], object]) -> tuple[int | None, str]:
    """Number and text of the error that a work ends with."""
    with pytest.raises(StoreWriteError) as caught:
        work()
    return caught.value.errno, str(caught.value)


class Quota:
    """A disk that takes no file beyond some bytes, for this process."""

    errno = errno.EFBIG

    def __init__(self, _: Path) -> None:
        self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def fill(self, free: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, self._hard))

    def clear(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._hard, self._hard))


class FullDisk:
    """A small disk, filled."""

    errno = errno.ENOSPC

    def __init__(self, path: Path) -> None:
        self._filler = path / "filler"

    def fill(self, free: int) -> None:
        with suppress(OSError), open(self._filler, "wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        os.truncate(self._filler, max(self._filler.stat().st_size - free, 0))

    def clear(self) -> None:
        self._filler.unlink()


Disk = Quota | FullDisk


def write_segment(path: Path, disk: Disk) -> tuple[int | None, str]:
    """A writer that meets a full disk, and goes on when there is space."""
    told: list[str] = []
    writer = FeatureStore.open(path).writer(SPEC, told.extend)
    names = ["large-new-0", "large-new-1"]
    for name in names:
        writer.add(recording(name))
    disk.fill(300_000)
    found = refusal(writer.flush)
    assert refusal(writer.flush)[0] == found[0]
    assert told == []
    check_kept(path)
    disk.clear()
    writer.flush()
    writer.add(recording("small-new"))
    writer.close()
    assert set(told) == keys_of([*names, "small-new"])
    check_kept(path, *names, "small-new")
    return found


def make_set(path: Path, disk: Disk) -> tuple[int | None, str]:
    """A new feature set whose spec.json does not fit."""
    store, spec = FeatureStore.open(path), make_spec(dim=4)
    disk.fill(0)
    found = refusal(lambda: store.writer(spec))
    check_kept(path)
    disk.clear()
    with store.writer(spec) as writer:
        writer.add(make_features("a", dim=4))
    assert len(store.entries(spec)) == 1
    return found


def make_store(path: Path, disk: Disk) -> tuple[int | None, str]:
    """A new store whose marker does not fit."""
    new = path.with_name("new")
    disk.fill(0)
    found = refusal(lambda: FeatureStore.create(new))
    disk.clear()
    assert not list(new.glob("*"))
    FeatureStore.create(new)
    assert FeatureStore.open(new).verify().ok
    return found


def compact(path: Path, disk: Disk) -> tuple[int | None, str]:
    store = FeatureStore.open(path)
    disk.fill(300_000)
    found = refusal(store.compact)
    check_kept(path)
    disk.clear()
    assert [report.n_segments for report in store.compact()] == [1]
    return found


def remove(path: Path, disk: Disk) -> tuple[int | None, str]:
    store = FeatureStore.open(path)
    disk.fill(100_000)
    found = refusal(lambda: store.remove(store.names()[0], keys_of(KEPT[:1])))
    check_kept(path)
    disk.clear()
    return found


def mend(path: Path, disk: Disk) -> tuple[int | None, str]:
    """Healing copies what is sound in a damaged segment; until it can, the segment stays where it is."""
    names = ["large-new-0", "large-new-1"]
    save(FeatureStore.open(path), names, per_segment=2)
    damaged = max(path.glob("*/seg-*.h5"))
    lost = flip(damaged)
    disk.fill(100_000)
    found = refusal(lambda: heal(path))
    assert damaged.exists()
    disk.clear()
    assert heal(path).n_kept == 1
    check_kept(path, *(name for name in names if make_key(name) != lost))
    return found


def take_in(path: Path, disk: Disk) -> tuple[int | None, str]:
    """An import that meets a full disk is run again."""
    source = path.with_name("source")
    source.mkdir()
    clips = make_features("i", n_clips=60, dim=1536).embeddings
    np.savez(source / "i.npz", clips=clips)
    store = FeatureStore.open(path)
    disk.fill(100_000)
    found = refusal(lambda: store.import_features(source))
    disk.clear()
    store.import_features(source)
    np.testing.assert_array_equal(
        store.load(video="videomae-base", audio="none").modalities["video"].values, clips[:, :768]
    )
    return found


def export(path: Path, disk: Disk) -> tuple[int | None, str]:
    """An export leaves the one before as it was."""
    store, target = FeatureStore.open(path), path.with_name("features.h5")
    store.export(target, replace=True)
    before = target.read_bytes()
    disk.fill(1_000_000)
    found = refusal(lambda: store.export(target, replace=True))
    assert refusal(lambda: store.export(target.with_name("other.h5")))[0] == found[0]
    assert not target.with_name("other.h5").exists()
    assert target.read_bytes() == before
    check_kept(path)
    disk.clear()
    store.export(target, replace=True)
    assert FeatureStore.open(target).verify().ok
    return found


def export_unclaimed(path: Path, disk: Disk) -> tuple[int | None, str]:
    """An export where space cannot be claimed before: HDF5 itself writes into the full disk, and lives."""
    os.posix_fallocate = lambda *_: None
    return export(path, disk)


WORKS = [write_segment, make_set, make_store, compact, remove, mend, take_in, export, export_unclaimed]


def meet_full_disk(work: Callable[[Path, Disk], tuple[int | None, str]], kind: type[Disk], path: Path) -> None:
    """Runs in a process of its own: HDF5 would take it down."""
    disk = kind(path.parent)
    number, message = work(path, disk)
    assert number == disk.errno
    assert re.match(rf"Cannot write {path.parent}/.* \([\d,]+ MB free\). Everything reported stored is safe", message)
    FeatureStore.open(path)


@pytest.mark.parametrize("work", WORKS)
def test_a_quota_is_a_clear_error_that_loses_nothing(tmp_path: Path, work: Callable[..., object]) -> None:
    """Whatever does not fit: the process lives, what was stored is intact, no half file is left, and work goes on."""
    save(FeatureStore.create(tmp_path / "s"), KEPT, per_segment=3)
    in_child(meet_full_disk, work, Quota, tmp_path / "s")


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk of 8 MB; the test is skipped where none can be mounted."""
    folder = tempfile.mkdtemp(prefix="poise-disk-")
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "poise", folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True, check=False)
        os.rmdir(folder)


@pytest.mark.parametrize("work", WORKS)
def test_a_full_disk_is_a_clear_error_that_loses_nothing(work: Callable[..., object]) -> None:
    """The same on a real disk that is really full."""
    with small_disk() as disk:
        save(FeatureStore.create(disk / "s"), KEPT, per_segment=3)
        in_child(meet_full_disk, work, FullDisk, disk / "s")


@contextmanager
def place_for_nobody() -> Iterator[Path]:
    """A folder that is reached without the rights of root, which no permission binds."""
    folder = Path(tempfile.mkdtemp(prefix="poise-nobody-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def become_nobody() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def write_while_forbidden(path: Path) -> None:
    become_nobody()
    save(FeatureStore.create(path), KEPT, per_segment=3)
    writer = FeatureStore.open(path).writer(SPEC)
    for name, closed, mode in (("small-1", writer.folder, 0o555), ("small-2", path, 0o000)):
        writer.add(recording(name))
        closed.chmod(mode)
        number, message = refusal(writer.flush)
        assert number == errno.EACCES
        assert f"Cannot write {writer.folder}/seg-" in message
        closed.chmod(0o755)
        writer.flush()
    check_kept(path, "small-1", "small-2")


def test_a_permission_that_is_taken_away_stops_a_writer_until_it_is_given_back() -> None:
    """The error names the file; what the writer holds is written as soon as it may be."""
    with place_for_nobody() as place:
        if os.getuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        in_child(write_while_forbidden, place / "s")


def many_segments(path: Path) -> None:
    """So many that a reader would like to keep a copy of the index."""
    store = FeatureStore.create(path)
    for names in (KEPT, KEPT, KEPT[:2]):
        save(store, names, per_segment=1)


def use_read_only(path: Path, reason: int, elsewhere: Path) -> None:
    if reason == errno.EACCES:
        become_nobody()
    check_kept(path)
    store = FeatureStore.open(path)
    (name,) = store.names()
    writer = store.writer(SPEC)
    writer.add(recording("small"))
    works: list[Callable[[], object]] = [
        writer.flush,
        store.compact,
        lambda: store.remove(name),
        lambda: store.remove(name, keys_of(KEPT[:1])),
        lambda: store.writer(make_spec(dim=4)),
        lambda: store.export(path / "features.h5"),
        lambda: FeatureStore.create(path.parent / "other"),
    ]
    for work in works:
        number, message = refusal(work)
        assert number == reason
        assert f"Cannot write {path.parent}/" in message
    store.keys.key(__file__)
    store.keys.save()
    assert heal(path).put_aside == ()
    exported = FeatureStore.open(store.export(elsewhere / "features.h5"))
    assert exported.verify().ok
    assert exported.load().keys == store.load().keys
    check_kept(path)


def test_a_store_without_permission_to_write_is_read_and_never_harmed() -> None:
    """Loading, checking and exporting work; whatever would write is refused with the path."""
    with place_for_nobody() as place, tempfile.TemporaryDirectory() as elsewhere:
        os.chmod(elsewhere, 0o777)
        many_segments(place / "s")
        for path in (place, *place.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        in_child(use_read_only, place / "s", errno.EACCES, Path(elsewhere))
        assert not (place / "s" / "cache").exists()
        for path in (place, *place.rglob("*")):
            path.chmod(0o755)


def test_a_store_on_a_read_only_disk_is_read_and_never_harmed(tmp_path: Path) -> None:
    """The same on a disk that is mounted read-only."""
    with small_disk() as disk:
        many_segments(disk / "s")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        in_child(use_read_only, disk / "s", errno.EROFS, tmp_path)


def test_a_disk_that_turns_read_only_stops_a_writer_until_it_is_writable() -> None:
    """As happens when a file system finds an error in itself."""
    with small_disk() as disk:
        save(FeatureStore.create(disk / "s"), KEPT, per_segment=3)
        writer = FeatureStore.open(disk / "s").writer(SPEC)
        writer.add(recording("small"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        number, message = refusal(writer.flush)
        assert number == errno.EROFS
        assert f"Cannot write {writer.folder}/seg-" in message
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        writer.close()
        check_kept(disk / "s", "small")


@pytest.mark.parametrize("what", ["store", "feature set"])
def test_a_folder_that_goes_away_stops_a_writer_until_it_is_back(tmp_path: Path, what: str) -> None:
    """The error names the file that could not be written; nothing that the writer holds is lost."""
    save(FeatureStore.create(tmp_path / "s"), KEPT, per_segment=3)
    writer = FeatureStore.open(tmp_path / "s").writer(SPEC)
    writer.add(recording("small"))
    folder = writer.folder if what == "feature set" else tmp_path / "s"
    folder.rename(tmp_path / "away")
    number, message = refusal(writer.flush)
    assert number == errno.ENOENT
    assert f"Cannot write {writer.folder}/seg-" in message
    (tmp_path / "away").rename(folder)
    writer.close()
    check_kept(tmp_path / "s", "small")


def test_a_folder_that_is_deleted_stops_a_writer_until_there_is_one_again(tmp_path: Path) -> None:
    """What was stored is gone with the folder, what the writer holds is not."""
    writer = FeatureStore.create(tmp_path / "s").writer(SPEC)
    writer.add(recording("small"))
    shutil.rmtree(tmp_path / "s")
    for _ in range(2):
        assert f"Cannot write {writer.folder}/seg-" in refusal(writer.flush)[1]
    FeatureStore.create(tmp_path / "s").writer(SPEC)
    writer.close()
    assert FeatureStore.open(tmp_path / "s").entries(SPEC).keys() == keys_of(["small"])


def test_a_disk_that_is_unmounted_stops_a_writer() -> None:
    """The error names the file; nothing is written where the disk was."""
    with small_disk() as disk:
        writer = FeatureStore.create(disk / "s").writer(SPEC)
        writer.add(recording("small"))
        subprocess.run(["umount", "-l", disk], check=True)
        number, message = refusal(writer.flush)
        assert number == errno.ENOENT
        assert f"Cannot write {writer.folder}/seg-" in message
        assert list(disk.iterdir()) == []
