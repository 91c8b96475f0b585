"""Promises about crashes: kill -9 and power loss at any moment lose nothing that was reported stored."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import poise.store.upkeep.compact
from poise.errors import StoreDamagedError
from poise.store import FeatureStore, heal
from poise.store.durable import write_durably
from tests.store.features import make_key, manifest_of
from tests.store.file_steps import Disk, Event, check_order, recorded, states_of
from tests.store.trial_kinds import KINDS, SPEC, Kind, flip, keys_of, recording, save

NAMES = [f"small-{number}" for number in range(6)]


def run_script(what: str, mode: str, n_trials: int) -> str:
    """The script in a process of its own: it forks, and pytest may have threads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.trial_kill", f"--what={what}", f"--mode={mode}", f"--trials={n_trials}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("what", KINDS)
def test_kill_9_at_any_moment_loses_nothing_and_needs_no_repair(what: str) -> None:
    """Reported recordings are there bit for bit, nothing is wrong, and the next run goes on by itself."""
    printed = run_script(what, "both", 5)
    assert f"{what} paced: 5 trials" in printed
    assert f"{what} unpaced: 5 trials" in printed


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["paced", "unpaced"])
@pytest.mark.parametrize("what", KINDS)
def test_hundreds_of_kills_lose_nothing(what: str, mode: str) -> None:
    """The same promise held against many more moments."""
    print(run_script(what, mode, 100))


def test_the_order_is_write_sync_rename_sync_folder(tmp_path: Path) -> None:
    """Only this order survives a power loss: data synced before the name exists, the name synced after."""
    with recorded(tmp_path) as events:
        write_durably(tmp_path / "x.bin", b"data")
    assert [event.what for event in events] == ["create", "write", "sync", "rename", "sync folder"]
    check_order(events)


@dataclass
class Work:
    """Work on a store whose file operations are recorded: what is there before, and what is done."""

    prepare: Callable[[Path], frozenset[str]]
    act: Callable[[Path, Callable[[list[str]], None]], None]
    settle: Callable[[Path], object] = lambda _: None

    def record(self, root: Path) -> tuple[frozenset[str], Disk, list[Event]]:
        """Recordings that are safe before, the disk as it is then, and what happened."""
        root.mkdir()
        safe = self.prepare(root / "store")
        disk = Disk(root)
        with recorded(root) as events:
            self.act(root / "store", lambda keys: events.append(Event("told", "", data=" ".join(keys).encode())))
        return safe, disk, events


def many_segments(path: Path) -> frozenset[str]:
    store = FeatureStore.create(path)
    save(store, NAMES, per_segment=2)
    save(store, NAMES[::3], per_segment=1)
    return keys_of(NAMES)


def damaged_segments(path: Path) -> frozenset[str]:
    safe = many_segments(path)
    first, second, *_ = sorted(path.glob("*/seg-*.h5"))
    (first.parent / "notes.txt").write_text("mine")
    return safe - {flip(first), flip(second)} | keys_of(NAMES[::3])


def write(path: Path, tell: Callable[[list[str]], None]) -> None:
    with FeatureStore.create(path).writer(SPEC, tell) as writer:
        for number, name in enumerate(NAMES[:9]):
            writer.add(recording(name))
            if number % 4 == 3:
                writer.flush()


def compact(path: Path, tell: Callable[[list[str]], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poise.store.upkeep.compact, "MAX_BYTES", 40_000)  # several new segments
        FeatureStore.open(path).compact()


class Stopped(BaseException):
    """Stands for the end of a process."""


def compact_after_a_stop(path: Path, tell: Callable[[list[str]], None]) -> None:
    """A compaction that ends when its first segment has its name, and is begun anew."""
    real = os.fsync

    def stop_at_folder(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") and "@" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise Stopped
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", stop_at_folder)
        with pytest.raises(Stopped):
            compact(path, tell)
    compact(path, tell)


def remove(path: Path, tell: Callable[[list[str]], None]) -> None:
    store = FeatureStore.open(path)
    store.remove(store.names()[0], keys_of(NAMES[1::3]))


WORKS = {
    "write": Work(lambda _: frozenset(), write),
    "compact": Work(many_segments, compact),
    "compact after a stop": Work(many_segments, compact_after_a_stop),
    "remove": Work(lambda path: many_segments(path) - keys_of(NAMES[1::3]), remove),
    "heal": Work(damaged_segments, lambda path, _: heal(path), heal),
}


@pytest.mark.parametrize("what", WORKS)
def test_nothing_goes_before_what_replaces_it_is_durable(tmp_path: Path, what: str) -> None:
    """New segments and folders are synced by name before an old one is removed or put aside, or a key is reported."""
    _, _, events = WORKS[what].record(tmp_path / "disk")
    assert sum(event.what == "rename" for event in events) >= 2
    check_order(events)


def test_an_export_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    """HDF5's bytes are synced, then the old export is replaced in one step, then the folder is synced."""
    many_segments(tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    (tmp_path / "out").mkdir()
    for replace in (False, True):
        with recorded(tmp_path / "out") as events:
            store.export(tmp_path / "out" / "f.h5", replace=replace)
        check_order(events)
        assert [event.what for event in events if event.what != "write"] == ["create", "sync", "rename", "sync folder"]


def lost_in(place: Path, state: dict[str, bytes | None], must: frozenset[str], work: Work) -> frozenset[str]:
    """Lay out the files of a disk and say which recordings are not there bit for bit."""
    place.mkdir()
    for name, data in sorted(state.items()):
        (place / name).mkdir() if data is None else (place / name).write_bytes(data)
    if not (place / "store" / "poise-store.json").exists():
        return must
    work.settle(place / "store")
    store = FeatureStore.open(place / "store")
    found = {key: Kind().is_right(index, key) for index in store.indexes() for key in index}
    assert all(found.values()), "the store gives numbers that were never stored"
    assert store.verify().problems == ()
    return must - found.keys()


@pytest.mark.parametrize("what", WORKS)
def test_a_power_loss_at_any_moment_loses_nothing(tmp_path: Path, what: str) -> None:
    """Whatever of the unsynced names and bytes is lost, all that was safe or reported is there bit for bit."""
    safe, disk, events = WORKS[what].record(tmp_path / "disk")
    deleted = {event.path for event in events if event.what == "unlink"}
    kept = {inode.data for name, inode in disk.now.items() if inode.data and name not in deleted}
    n_states = 0
    for told, state in states_of(disk, events):
        n_states += 1
        assert not lost_in(tmp_path / f"{n_states}", state, safe | told, WORKS[what])
        assert kept <= set(state.values()), "a file is neither in its place nor in quarantine"
    assert n_states > 8


@pytest.mark.parametrize("forgotten", ["sync", "sync folder"])
def test_the_simulated_power_loss_would_find_a_forgotten_sync(tmp_path: Path, forgotten: str) -> None:
    """The same trial over the same writer finds losses when a kind of sync is left out of the record."""
    safe, disk, events = WORKS["write"].record(tmp_path / "disk")
    states = states_of(disk, [event for event in events if event.what != forgotten])
    lost = set()
    for number, (told, state) in enumerate(states):
        try:
            lost |= lost_in(tmp_path / f"{number}", state, safe | told, WORKS["write"])
        except (StoreDamagedError, AssertionError):
            lost |= told
    assert lost


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99], ids=["nothing", "half", "nearly all"])
def test_a_segment_that_lost_its_bytes_is_never_data(tmp_path: Path, left: float) -> None:
    """A file system that renames before it writes leaves an empty or cut segment: an error, and known to verify."""
    many_segments(tmp_path / "store")
    segment = min(tmp_path.glob("store/*/seg-*.h5"))
    os.truncate(segment, int(segment.stat().st_size * left))
    store = FeatureStore.open(tmp_path / "store")
    with pytest.raises(StoreDamagedError, match=segment.name):
        store.load(manifest_of(tmp_path, f"{NAMES[0]}.mp4"))
    assert [problem.segment.rpartition("/")[2] for problem in store.verify().problems] == [segment.name]
    heal(tmp_path / "store")
    assert keys_of(NAMES[2:]) <= store.entries(SPEC).keys()
    assert make_key(NAMES[1]) not in store.entries(SPEC)
