"""Promises about many processes and threads at one store: nobody waits or sees half of anything, nothing is lost."""

import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import h5py
import numpy as np
import pytest

import poise.store.folder
import poise.store.upkeep.compact
from poise.store import FeatureStore, RecordingFeatures
from tests.store.children import CONTEXT, Child, in_child, wait_for
from tests.store.features import make_features, manifest_of
from tests.store.trial_kinds import SPEC, Kind, keys_of, recording, rival, save

NAMES = [f"small-{number}" for number in range(60)]


def version(name: str, number: int) -> RecordingFeatures:
    """What process ``number`` makes of a recording: its own numbers, so that it can be told whose count."""
    made = recording(name)
    return make_features(name, dim=64, embeddings=made.embeddings + number)


def told_in(path: Path) -> frozenset[str]:
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


def write(path: Path, told: Path, names: list[str], number: int) -> None:
    """Write recordings in small segments, reporting each."""
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(keys: list[str]) -> None:
        os.write(descriptor, "".join(f"{key}\n" for key in keys).encode())

    with FeatureStore.create(path).writer(SPEC, tell) as writer:
        for i, name in enumerate(names):
            writer.add(version(name, number))
            if i % 3 == 2:
                writer.flush()


def write_more(path: Path, told: Path, stop: Path, number: int) -> None:
    """Write ever new recordings, and some that another process writes too."""
    count = 0
    while not stop.exists():
        write(path, told, [f"small-{number}-{count}", f"small-{count}"], 0)
        count += 1


def read(path: Path, told: Path, stop: Path, versions: int) -> int:
    """Read all and what is reported until there is nothing more to see; returns how often that went well."""
    known, n_loops = FeatureStore.open(path), 0
    done = False
    while not done:
        done = stop.exists()
        reported = told_in(told)
        for store in (known, FeatureStore.open(path)):
            bags = store.load()
            assert reported <= set(bags.keys), "a reported recording is not there"
            index = store.index(SPEC)
            names = [index[key].paths[0].removesuffix(".mp4") for key in bags.keys]
            for i, name in enumerate(names):
                found = bags[i].values["video"]
                expected = [version(name, number).embeddings.astype(np.float16) for number in range(versions)]
                assert any(np.array_equal(found, values) for values in expected), f"{name} is not what was stored"
            some = store.load(manifest_of(path, *(f"{name}.mp4" for name in names[::7])))
            assert some.modalities["video"].n_clips.tolist() == [3] * len(some)
            assert [feature_set.n_recordings >= len(bags) for feature_set in store.feature_sets()] == [True]
            n_loops += 1
        assert store.verify().problems == ()
    return n_loops


def compact_again_and_again(path: Path, stop: Path) -> int:
    n_loops = 0
    while not stop.exists():
        FeatureStore.open(path).compact()
        n_loops += 1
    return n_loops


def first_versions(path: Path) -> dict[str, bytes]:
    """What the segments say of each recording, read in the order of their names with nothing but h5py."""
    found: dict[str, bytes] = {}
    for segment in sorted(path.glob("*/seg-*.h5")):
        with h5py.File(segment) as file:
            rows = zip(*(file[f"recordings/{name}"] for name in ("key", "offset", "n_clips")), strict=True)
            for key, offset, n_clips in rows:
                found.setdefault(key.decode(), file["embeddings"][offset : offset + n_clips].tobytes())
    return found


def _create(folder: Path) -> None:
    for i in range(40):
        FeatureStore.create(folder / str(i)).writer(SPEC)


def test_many_processes_may_create_one_store(tmp_path: Path) -> None:
    """Processes that make the same store and feature set at the same moment all get it."""
    children = [Child(_create, tmp_path) for _ in range(3)]
    for child in children:
        child.result()
    assert all(FeatureStore.open(tmp_path / str(i)).verify().ok for i in range(40))


def test_three_writers_of_the_same_recordings_lose_nothing_and_the_first_counts(tmp_path: Path) -> None:
    """One is killed and started again, others read meanwhile; of duplicates that of the first segment's name counts."""
    path, told, stop = tmp_path / "s", tmp_path / "told", tmp_path / "stop"
    save(FeatureStore.create(path), ["small-first"], per_segment=1)
    readers = [Child(read, path, told, stop, 3) for _ in range(2)]
    orders = [NAMES, NAMES[::-1], NAMES[20:] + NAMES[:20]]
    with Child(write, path, told, orders[0], 0) as killed:
        writers = [Child(write, path, told, orders[number], number) for number in (1, 2)]
        wait_for(lambda: len(told_in(told)) > 6)
        killed.kill()
    writers.append(Child(write, path, told, orders[0], 0))
    for writer in writers:
        writer.result()
    stop.touch()
    assert min(reader.result() for reader in readers) > 0
    expected = first_versions(path)
    assert expected.keys() == keys_of([*NAMES, "small-first"]) >= told_in(told)
    for _ in range(2):
        store = FeatureStore.open(path)
        assert store.verify().problems == ()
        index = store.index(SPEC)
        assert {key: index.embeddings(key).tobytes() for key in index} == expected
        (report,) = store.compact()
    assert report.n_dropped == 0
    assert len(index.contents.table) == len(index) == len(expected)
    assert not list(path.rglob(".tmp-*"))


def check_compacting_with_others_at_work(folder: Path, seconds: float) -> None:
    path, told, stop = folder / "s", folder / "told", folder / "stop"
    write(path, told, NAMES[:30], 0)
    children = [
        *(Child(write_more, path, told, stop, number) for number in range(2)),
        *(Child(read, path, told, stop, 1) for _ in range(2)),
        Child(compact_again_and_again, path, stop),
    ]
    threading.Event().wait(seconds)
    stop.touch()
    _, _, *n_loops = [child.result() for child in children]
    assert min(n_loops) > 1
    store = FeatureStore.open(path)
    assert told_in(told) <= store.entries(SPEC).keys()
    store.compact()
    index = store.index(SPEC)
    assert len(index.contents.table) == len(index)
    assert all(Kind().is_right(index, key) for key in index)
    assert store.verify().problems == ()


def test_compacting_disturbs_neither_writers_nor_readers(tmp_path: Path) -> None:
    """A compaction in a loop while two processes write and two read: no error in anybody, and all is there."""
    check_compacting_with_others_at_work(tmp_path, 2.0)


@pytest.mark.slow
def test_compacting_for_long_disturbs_neither_writers_nor_readers(tmp_path: Path) -> None:
    """The same for half a minute."""
    check_compacting_with_others_at_work(tmp_path, 30.0)


LARGE = [f"large-{number}" for number in range(8)]
GOING = LARGE[1:2]


def make_template(folder: Path) -> Path:
    """A store with segments so large that one new one does not hold all, with duplicates and rivals."""
    store = FeatureStore.create(folder / "template")
    save(store, LARGE, per_segment=2)
    save(store, LARGE[:2], per_segment=2)
    threading.Event().wait(0.002)  # segments count in the order of milliseconds
    with store.writer(SPEC) as writer:
        writer.add(rival(LARGE[3]))
    for segment in store.path.glob("*/seg-*.h5"):  # a writer's name is random: let it be the smallest
        segment.rename(re.sub(r"-[0-9a-f]{8}-(\d{6}-)", r"-00000000-\1", str(segment)))
    return store.path


def copy_store(template: Path, path: Path) -> Path:
    return Path(shutil.copytree(template, path, copy_function=os.link))


def compact(path: Path) -> None:
    poise.store.upkeep.compact.MAX_BYTES = 1_300_000  # two of the segments
    FeatureStore.open(path).compact()


def remove(path: Path) -> None:
    store = FeatureStore.open(path)
    store.remove(store.names()[0], keys_of(GOING))


def export(path: Path) -> None:
    store = FeatureStore.open(FeatureStore.open(path).export(path.with_suffix(".h5"), replace=True))
    assert keys_of(LARGE) <= store.entries(SPEC).keys()
    assert store.verify().ok


def compact_together(folder: Path, n_rounds: int, barrier: Barrier) -> None:
    for number in range(n_rounds):
        barrier.wait(60)
        compact(folder / f"{number}")


def check_two_compactions(folder: Path, n_rounds: int) -> None:
    template, barrier = make_template(folder), CONTEXT.Barrier(2)
    for number in range(n_rounds):
        copy_store(template, folder / f"{number}")
    children = [Child(compact_together, folder, n_rounds, barrier) for _ in range(2)]
    for child in children:
        child.result(600)
    for number in range(n_rounds):
        store = FeatureStore.open(folder / f"{number}")
        index = store.index(SPEC)
        assert index.keys() == keys_of(LARGE)
        assert all(Kind().is_right(index, key) for key in index)
        in_child(compact, store.path)
        assert len(store.index(SPEC).contents.table) == len(LARGE)


def test_two_compactions_at_once_lose_nothing(tmp_path: Path) -> None:
    """All is there, and compacting again leaves no duplicates."""
    check_two_compactions(tmp_path, 8)


@pytest.mark.slow
def test_two_compactions_at_once_lose_nothing_many_times(tmp_path: Path) -> None:
    """The same many times, since it is a matter of moments."""
    check_two_compactions(tmp_path, 300)


def stand_still(work: Callable[[Path], None], other: Callable[[Path], None], path: Path, moment: int) -> int:
    """Let all of ``other`` happen before one of the steps that ``work`` does to files; returns how many there are."""
    n_steps = 0
    is_other = False

    def wrapped(name: str) -> None:
        real = getattr(os, name)

        def step(*arguments: object, **options: object) -> object:
            nonlocal n_steps, is_other
            if not is_other:
                n_steps += 1
                if n_steps == moment:
                    is_other = True
                    other(path)
                    is_other = False
            return real(*arguments, **options)

        setattr(os, name, step)

    for name in ("scandir", "posix_fallocate", "fsync", "rename", "unlink"):
        wrapped(name)
    work(path)
    return n_steps


def check_every_moment(work: Callable[[Path], None], other: Callable[[Path], None], folder: Path) -> None:
    """What was not to be removed is there, whichever moment the one work stands still at while the other is done."""
    template = make_template(folder)
    going = keys_of(GOING) if remove in (work, other) else frozenset()
    n_steps = in_child(stand_still, work, other, copy_store(template, folder / "undisturbed"), 0)
    assert n_steps > 3
    for moment in range(1, n_steps + 1):
        path = copy_store(template, folder / f"{moment}")
        in_child(stand_still, work, other, path, moment)
        index = FeatureStore.open(path).index(SPEC)
        lost = keys_of(LARGE) - going - index.keys()
        assert not lost, f"{len(lost)} lost when {work.__name__} stood still before step {moment} of {n_steps}"
        assert all(Kind().is_right(index, key) for key in index), f"other values count after step {moment}"


@pytest.mark.parametrize(
    ("work", "other"), [(compact, compact), (compact, remove), (remove, compact), (remove, remove), (export, compact)]
)
def test_work_that_stands_still_while_other_work_is_done_loses_nothing(
    tmp_path: Path, work: Callable[[Path], None], other: Callable[[Path], None]
) -> None:
    """Compacting, removing and exporting may overlap at any moment: what was not to go is there, with its values."""
    check_every_moment(work, other, tmp_path)


def test_one_store_may_be_read_from_many_threads(tmp_path: Path) -> None:
    """Threads that share a store all get the right values, also while it grows."""
    save(FeatureStore.create(tmp_path / "s"), NAMES[:20], per_segment=3)
    store = FeatureStore.open(tmp_path / "s")

    def look(number: int) -> bool:
        bags, index = store.load(), store.index(SPEC)
        some = store.load(manifest_of(tmp_path, f"{NAMES[number % 20]}.mp4"))
        right = np.array_equal(some[0].values["video"], recording(NAMES[number % 20]).embeddings.astype(np.float16))
        return right and set(bags.keys) <= index.keys() and all(Kind().is_right(index, key) for key in index)

    with ThreadPoolExecutor(8) as pool:
        looks = pool.map(look, range(80))
        save(FeatureStore.open(tmp_path / "s"), NAMES[20:], per_segment=3)
        assert all(looks)
    assert store.entries(SPEC).keys() == keys_of(NAMES)


def test_a_thread_sees_what_was_reported_before_it_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow thread that looked at the folder earlier does not put its older view before a faster one."""
    save(FeatureStore.create(tmp_path / "s"), NAMES[:1], per_segment=1)
    store = FeatureStore.open(tmp_path / "s")
    real, slow_looked, slow_goes_on = poise.store.folder.list_segments, threading.Event(), threading.Event()
    is_known = False

    def list_segments(folder: Path) -> object:
        found = real(folder)
        if threading.current_thread() is slow:
            slow_looked.set()
            slow_goes_on.wait(60)
        elif is_known:
            slow_goes_on.set()
            slow.join(60)
        return found

    monkeypatch.setattr(poise.store.folder, "list_segments", list_segments)
    slow = threading.Thread(target=store.index, args=(SPEC,))
    slow.start()
    slow_looked.wait(60)
    save(FeatureStore.open(tmp_path / "s"), NAMES[1:2], per_segment=1)
    for is_known in (False, True):  # noqa: B007  the slow thread ends while this one asks for the second time
        assert store.index(SPEC).keys() == keys_of(NAMES[:2])
