"""Promises of compacting, exporting and removing: nothing is lost or changed, and what goes was asked for."""

import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from poise.errors import (
    FeatureSetNotFoundError,
    FeaturesMissingError,
    OutputError,
    StoreChangedError,
    StoreDamagedError,
    StoreReadOnlyError,
)
from poise.store import Bags, FeatureStore, heal
from poise.store.folder import cache_file
from poise.store.format.cache import save_contents
from poise.store.index import FeatureSetIndex
from poise.store.runs import describe_run
from poise.store.upkeep.export import export
from poise.store.upkeep.removal import matching_keys
from tests.store.features import make_features, make_key, make_spec, manifest_of


def write(store: FeatureStore, *names: str, **changes: object) -> None:
    with store.writer(make_spec()) as writer:
        for name in names:
            writer.add(make_features(name, **changes))
    time.sleep(0.002)  # names of segments are in milliseconds


def only(store: FeatureStore) -> FeatureSetIndex:
    (index,) = store.indexes()
    return index


def same(first: Bags, second: Bags) -> bool:
    rows = [second.keys.index(key) for key in first.keys]
    again = second[np.array(rows)].modalities["video"]
    mine = first.modalities["video"]
    return (
        set(first.keys) == set(second.keys)
        and np.array_equal(mine.values, again.values)
        and np.array_equal(mine.clip_times, again.clip_times)
    )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Many small segments, a duplicate with other values, a failure that was followed by a success."""
    made = FeatureStore.create(tmp_path / "s")
    write(made, "late", n_clips=0, outcome="failed", reason="try 1")
    write(made, "a")
    write(made, "a", embeddings=make_features("a").embeddings + 1, path="other name.mp4")
    write(made, "late")
    write(made, "b", "c")
    write(made, "silent", n_clips=0, reason="no picture")
    write(made, "broken", n_clips=0, outcome="failed", reason="try 1", attempts=1)
    write(made, "broken", n_clips=0, outcome="failed", reason="try 2", attempts=2)
    with made.writer(make_spec()) as writer:
        writer.add_name(make_key("b"), "twin.mp4")
    return made


class TestCompact:
    """`compact`."""

    def test_compacting_changes_no_number_and_drops_what_does_not_count(self, store: FeatureStore) -> None:
        """The same recordings, values, outcomes, attempts and names, in one segment without duplicates."""
        before, entries = store.load(), dict(only(store))
        (report,) = store.compact()
        assert (report.n_segments_before, report.n_segments, report.n_dropped) == (9, 1, 3)
        assert report.n_bytes < report.n_bytes_before
        assert same(before, store.load(verify=True))
        after = only(store)
        assert {key: (e.outcome, e.attempts, e.reason) for key, e in after.items()} == {
            key: (e.outcome, e.attempts, e.reason) for key, e in entries.items()
        }
        assert {key: set(e.paths) for key, e in after.items()} == {key: set(e.paths) for key, e in entries.items()}
        assert after[make_key("b")].paths == ("b.mp4", "twin.mp4")
        assert after[make_key("broken")].attempts == 2
        assert store.verify().ok

    def test_compacting_again_changes_nothing(self, store: FeatureStore) -> None:
        """What is compact stays as it is, to the file."""
        store.compact()
        files = sorted(path.name for path in store.path.glob("motion@*/*"))
        (report,) = store.compact()
        assert report.n_segments_before == report.n_segments == 1
        assert sorted(path.name for path in store.path.glob("motion@*/*")) == files

    def test_a_compacted_recording_still_comes_before_a_later_duplicate(self, store: FeatureStore) -> None:
        """A segment that replaces others stands where the first of them stood."""
        store.compact()
        write(store, "a", embeddings=make_features("a").embeddings + 5)
        expected = make_features("a").embeddings.astype(np.float16)
        np.testing.assert_array_equal(only(store).embeddings(make_key("a")), expected)
        store.compact()
        np.testing.assert_array_equal(only(store).embeddings(make_key("a")), expected)

    def test_large_segments_are_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only what is small is merged, into segments that are not too large."""
        from poise.store.upkeep import compact

        monkeypatch.setattr(compact, "MAX_BYTES", 60_000)
        made = FeatureStore.create(tmp_path / "t")
        write(made, *(f"large{i}" for i in range(100)))
        for i in range(20):
            write(made, *(f"small{i}-{j}" for j in range(10)))
        before = made.load()
        (large,) = [p for p in made.path.glob("motion@*/seg-*") if p.stat().st_size > 30_000]
        (report,) = made.compact()
        assert large.exists()
        assert 3 < report.n_segments < 15
        assert same(before, made.load(verify=True))

    def test_a_damaged_segment_is_not_carried_on(self, store: FeatureStore) -> None:
        """Its bytes would get a sound name: compacting and removing stop, and heal is named."""
        path = sorted(store.path.glob("motion@*/seg-*"))[4]
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(StoreDamagedError, match="poise store heal"):
            store.compact()
        with pytest.raises(StoreDamagedError, match="poise store heal"):
            store.remove(only(store).name, [make_key("b")])
        assert path.exists()

    def test_a_duplicate_is_dropped_only_if_the_one_that_stays_is_sound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the last sound copy of a recording would go."""
        from poise.store.upkeep import compact

        monkeypatch.setattr(compact, "MAX_BYTES", 60_000)
        made = FeatureStore.create(tmp_path / "t")
        write(made, "a", *(f"large{i}" for i in range(100)))
        (large,) = made.path.glob("motion@*/seg-*")
        write(made, "a")
        data = bytearray(large.read_bytes())
        data[large.read_bytes().index(only(made).embeddings(make_key("a")).tobytes())] ^= 1
        large.write_bytes(data)
        with pytest.raises(StoreDamagedError, match="poise store heal"):
            made.compact()
        heal(made.path)
        assert len(made.load(verify=True)) == 101

    def test_names_of_recordings_that_are_still_to_come_are_kept(self, tmp_path: Path) -> None:
        """An extraction notes names before it stores what they name."""
        made = FeatureStore.create(tmp_path / "t")
        for name in ("a", "b"):
            with made.writer(make_spec()) as writer:
                writer.add_name(make_key(name), f"twin of {name}.mp4")
        made.compact()
        write(made, "a")
        assert only(made)[make_key("a")].paths == ("a.mp4", "twin of a.mp4")

    def test_a_snapshot_taken_before_still_reads_or_says_so(self, store: FeatureStore) -> None:
        """An index that was looked at before compacting says that the store changed; a new look finds all."""
        old = only(FeatureStore.open(store.path))
        store.compact()
        with pytest.raises(StoreChangedError, match="compacted"):
            old.embeddings(make_key("b"))
        assert len(only(FeatureStore.open(store.path)).embeddings(make_key("b"))) == 3

    def test_what_is_mapped_stays_readable(self, store: FeatureStore) -> None:
        """Numbers that were loaded before compacting do not change under their reader."""
        index = only(store)
        values = index.embeddings(make_key("b"))
        store.compact()
        np.testing.assert_array_equal(values, make_features("b").embeddings.astype(np.float16))

    def test_runs_are_kept_for_every_recording(self, tmp_path: Path) -> None:
        """After merging, each recording still tells which run stored it."""
        made = FeatureStore.create(tmp_path / "t")
        for name in ("x", "y"):
            with made.writer(make_spec(), run=describe_run(run=f"run-{name}", command="test")) as writer:
                writer.add(make_features(name))
        made.compact()
        index = only(made)
        assert [index.run_of_key(make_key(name))["run"] for name in ("x", "y")] == ["run-x", "run-y"]
        assert sorted(run["n_recordings"] for run in index.runs()) == [1, 1]
        assert index.run_of_key(make_key("x"))["versions"]["h5py"]


class TestExport:
    """`export`."""

    def test_an_export_is_a_store_in_one_file(self, store: FeatureStore, tmp_path: Path) -> None:
        """Feature sets, recordings, values, names and runs are those of the store; h5py alone can read it."""
        import h5py

        with store.writer(make_spec(name="prosody", modality="audio", dim=4, dtype="float32")) as writer:
            writer.add(make_features("a", dim=4))
        path = store.export(tmp_path / "x.h5")
        exported = FeatureStore.open(path)
        assert exported.read_only
        assert exported.feature_sets() == store.feature_sets()
        manifest = manifest_of(tmp_path, "a.mp4")
        for modality in ("video", "audio"):
            np.testing.assert_array_equal(
                exported.load(manifest).modalities[modality].values, store.load(manifest).modalities[modality].values
            )
        for mine, theirs in zip(store.indexes(), exported.indexes(), strict=True):
            assert {key: set(e.paths) for key, e in mine.items()} == {key: set(e.paths) for key, e in theirs.items()}
            assert [mine.run_of_key(key) for key in mine] == [theirs.run_of_key(key) for key in mine]
        assert exported.verify().ok
        with h5py.File(path) as file:
            np.testing.assert_array_equal(
                file[f"{exported.names()[0]}/embeddings"], exported.load(audio="none").modalities["video"].values
            )

    def test_an_export_is_loaded_without_a_copy(self, store: FeatureStore, tmp_path: Path) -> None:
        """All of it, and any piece of it, is a view of the mapped file."""
        exported = FeatureStore.open(store.export(tmp_path / "x.h5"))
        bags = exported.load()
        assert not bags.modalities["video"].values.flags.writeable
        assert np.shares_memory(bags[1:3].modalities["video"].values, bags.modalities["video"].values)

    def test_a_file_is_no_place_for_a_store(self, store: FeatureStore, tmp_path: Path) -> None:
        """Neither an exported one nor any other, nor a folder that is called like one."""
        (tmp_path / "m.csv").touch()
        for name in ("x.h5", "m.csv"):
            store.export(tmp_path / "x.h5", replace=True)
            with pytest.raises(StoreReadOnlyError, match="is a file"):
                FeatureStore.create(tmp_path / name)
        with pytest.raises(StoreReadOnlyError, match="is the name of an exported file"):
            FeatureStore.create(tmp_path / "new.h5")

    def test_an_export_is_only_read(self, store: FeatureStore, tmp_path: Path) -> None:
        """Writing, compacting and removing say so."""
        exported = FeatureStore.open(store.export(tmp_path / "x.h5"))
        for change in (
            lambda: exported.writer(make_spec()),
            exported.compact,
            lambda: exported.remove(exported.names()[0]),
        ):
            with pytest.raises(StoreReadOnlyError, match="is only read"):
                change()

    def test_a_name_that_is_taken_is_not_overwritten(self, store: FeatureStore, tmp_path: Path) -> None:
        """Unless asked; and a name that is no .h5 is refused."""
        (tmp_path / "x.h5").write_text("mine")
        with pytest.raises(OutputError, match="Use --replace"):
            store.export(tmp_path / "x.h5")
        assert (tmp_path / "x.h5").read_text() == "mine"
        store.export(tmp_path / "x.h5", replace=True)
        assert len(FeatureStore.open(tmp_path / "x.h5").load()) == 6
        with pytest.raises(OutputError, match="does not end in .h5"):
            store.export(tmp_path / "x.zip")
        (tmp_path / "folder.h5").mkdir()
        with pytest.raises(OutputError, match="Use --replace"):
            store.export(tmp_path / "folder.h5", replace=True)

    def test_damage_does_not_get_into_an_export(self, store: FeatureStore, tmp_path: Path) -> None:
        """Every recording is held against its digest on the way; no file is left."""
        index = only(store)
        path = store.path / index.name / index.segment_of_key(make_key("b"))
        data = bytearray(path.read_bytes())
        where = data.index(index.embeddings(make_key("b")).tobytes())
        data[where] ^= 1
        path.write_bytes(data)
        with pytest.raises(StoreDamagedError, match=r"b\.mp4"):
            FeatureStore.open(store.path).export(tmp_path / "x.h5")
        assert not list(tmp_path.glob("*.h5"))
        assert not list(tmp_path.glob(".tmp-*"))

    def test_exporting_leaves_other_files_of_the_folder_alone(self, store: FeatureStore, tmp_path: Path) -> None:
        """However old and however named; only what a killed export left goes."""
        for name in (".tmp-thesis", f".tmp-elsewhere.1-{2**22 + 1}-01234567"):
            (tmp_path / name).mkdir()
            os.utime(tmp_path / name, (1e9, 1e9))
        store.export(tmp_path / "x.h5")
        assert [path.name for path in tmp_path.glob(".tmp-*")] == [".tmp-thesis"]

    def test_a_folder_that_is_not_there_is_named(self, store: FeatureStore, tmp_path: Path) -> None:
        """No advice about free space."""
        with pytest.raises(OutputError, match="There is no folder .*nowhere to put x.h5 in"):
            store.export(tmp_path / "nowhere" / "x.h5")

    def test_nothing_to_export_is_an_error(self, tmp_path: Path) -> None:
        """An empty store says so."""
        with pytest.raises(FeatureSetNotFoundError, match="no feature set to export"):
            FeatureStore.create(tmp_path / "t").export(tmp_path / "x.h5")

    def test_an_export_of_failures_alone_is_whole(self, tmp_path: Path) -> None:
        """A feature set without a single clip is exported and read too."""
        made = FeatureStore.create(tmp_path / "t")
        write(made, "broken", n_clips=0, outcome="failed", reason="broken")
        exported = FeatureStore.open(made.export(tmp_path / "x.h5"))
        assert only(exported)[make_key("broken")].reason == "broken"
        assert exported.verify().ok

    def test_a_link_to_nowhere_is_replaced_only_when_asked(self, store: FeatureStore, tmp_path: Path) -> None:
        """It is a name that is taken; nothing is written where it leads."""
        (tmp_path / "all.h5").symlink_to(tmp_path / "nowhere.h5")
        with pytest.raises(OutputError, match="is there already"):
            store.export(tmp_path / "all.h5")
        assert FeatureStore.open(store.export(tmp_path / "all.h5", replace=True)).names() == store.names()
        assert not (tmp_path / "nowhere.h5").exists()

    def test_more_feature_sets_than_an_export_can_name_are_refused(self, store: FeatureStore, tmp_path: Path) -> None:
        """In words, before anything is written."""
        index = only(store)
        with pytest.raises(OutputError, match="3000 feature sets are too many"):
            export([index] * 3000, tmp_path / "all.h5")
        assert not (tmp_path / "all.h5").exists()

    def test_names_may_be_one_and_may_come_twice(self, store: FeatureStore, tmp_path: Path) -> None:
        """Each is exported once."""
        (name,) = store.names()
        for i, names in enumerate([name, [name, name]]):
            exported = FeatureStore.open(store.export(tmp_path / f"{i}.h5", names=names))
            assert exported.names() == [name]


class TestRemove:
    """`remove`."""

    def test_removed_recordings_are_gone_and_the_others_are_not(self, store: FeatureStore) -> None:
        """With their duplicates, failures and names; nothing else changes."""
        before = store.load()
        store.remove(only(store).name, [make_key("a"), make_key("b"), make_key("broken")])
        assert set(only(store)) == {make_key(name) for name in ("late", "c", "silent")}
        kept = [i for i, key in enumerate(before.keys) if key in only(store)]
        assert same(before[kept], store.load(verify=True))
        assert "twin.mp4" not in {path for _, path in only(store).paths()}
        assert store.verify().ok

    def test_a_feature_set_is_removed_whole(self, store: FeatureStore) -> None:
        """Only the one that was named."""
        with store.writer(make_spec(hop_s=5.0)) as writer:
            writer.add(make_features("a"))
        first, second = store.names()
        store.remove(first)
        assert store.names() == [second]
        assert not (store.path / first).exists()
        with pytest.raises(FeatureSetNotFoundError, match="no feature set motion@none"):
            store.remove("motion@none")

    def test_what_a_link_leads_to_is_not_removed(self, store: FeatureStore, tmp_path: Path) -> None:
        """A feature set that lies elsewhere loses its place in the store, not its files."""
        (name,) = store.names()
        (store.path / name).rename(tmp_path / "elsewhere")
        (store.path / name).symlink_to(tmp_path / "elsewhere")
        store.remove(name)
        assert store.names() == []
        assert list((tmp_path / "elsewhere").glob("seg-*.h5"))

    @pytest.mark.parametrize("key", ["", "a", "A" * 64, "0" * 63 + "\n", "a_1.mp4"])
    def test_what_is_no_key_removes_nothing(self, store: FeatureStore, key: str) -> None:
        """One slip among good keys stops the whole; a key that is gone already is no slip."""
        with pytest.raises(FeaturesMissingError, match="is no key: expected 64 hexadecimal digits"):
            store.remove(only(store).name, [make_key("a"), key])
        assert make_key("a") in only(store)
        store.remove(only(store).name, [make_key("nobody")])
        assert len(only(store)) == 6

    def test_recordings_are_chosen_by_every_condition_given(self, store: FeatureStore) -> None:
        """Patterns of paths, beginnings of keys, outcomes, and what is to stay."""
        index = only(store)

        def names(**conditions: object) -> set[str]:
            return {index[key].paths[0].removesuffix(".mp4") for key in matching_keys(index, **conditions)}

        assert names() == {"late", "a", "b", "c", "silent", "broken"}
        assert names(paths=["?.mp4"]) == {"a", "b", "c"}
        assert names(paths=["twin*", "other name.mp4"]) == {"a", "b"}
        assert names(outcomes=["failed", "missing"]) == {"silent", "broken"}
        assert names(keys=[make_key("c")[:10]]) == {"c"}
        assert names(paths=["?.mp4"], keep={make_key("a")}) == {"b", "c"}
        assert names(paths=["*"], outcomes=["stored"], keys=[make_key("a")[:8], make_key("broken")[:8]]) == {"a"}


def test_plain_reads_give_what_mapping_gives(store: FeatureStore, tmp_path: Path) -> None:
    """`mmap=False` reads the same values from folder and export, without mapping."""
    path = store.export(tmp_path / "x.h5")
    for place in (store.path, path):
        mapped, plain = FeatureStore.open(place), FeatureStore.open(place, mmap=False)
        assert same(mapped.load(), plain.load(verify=True))
        manifest = manifest_of(tmp_path, "c.mp4", "a.mp4")
        assert same(mapped.load(manifest), plain.load(manifest))
        np.testing.assert_array_equal(only(plain).embeddings(make_key("c")), only(mapped).embeddings(make_key("c")))


def test_opening_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are known are not read again, in this process or, from the copy of the index, in the next."""
    from poise.store import folder as folder_module

    read: list[str] = []
    real = folder_module.read_segment
    monkeypatch.setattr(
        folder_module,
        "read_segment",
        lambda path, *args, **options: (read.append(path.name), real(path, *args, **options))[1],
    )
    store = FeatureStore.create(tmp_path / "s")
    for i in range(20):
        write(store, f"r{i}")
    assert len(only(store)) == 20
    assert len(read) == 20
    write(store, "new")
    assert len(only(store)) == 21
    assert len(only(FeatureStore.open(store.path))) == 21
    assert len(read) == 22  # the new one, once here and once in the second store: the copy was made before it


def test_an_export_that_was_replaced_never_gives_numbers_of_one_by_the_index_of_the_other(tmp_path: Path) -> None:
    """A store object looks again; an index that was taken before says that the file was replaced."""
    for name, order in (("s", "ab"), ("t", "ba")):
        write(FeatureStore.create(tmp_path / name), *order)
    FeatureStore.open(tmp_path / "s").export(tmp_path / "x.h5")
    exported = FeatureStore.open(tmp_path / "x.h5")
    old = only(exported)
    FeatureStore.open(tmp_path / "t").export(tmp_path / "x.h5", replace=True)
    values = exported.load(manifest_of(tmp_path, "a.mp4"))[0].values["video"]
    np.testing.assert_array_equal(values, make_features("a").embeddings.astype(np.float16))
    with pytest.raises(StoreChangedError, match="was replaced"):
        old.embeddings(make_key("a"))
    assert exported.verify().ok


def test_a_copy_of_the_index_that_forgets_recordings_makes_none_vanish(tmp_path: Path) -> None:
    """Compacting and removing read the segments themselves."""
    made = FeatureStore.create(tmp_path / "t")
    for i in range(16):
        write(made, f"r{i}", f"t{i}")
    made.load()
    (cache,) = (made.path / "cache").glob("index-*.npz")
    half = made.folder.index(made.names()[0]).contents
    keep = np.arange(0, 32, 2)
    segments = tuple(replace(segment, n_recordings=1) for segment in half.segments)
    save_contents(cache, replace(half, segments=segments, table=half.table.take(keep)))
    assert len(only(FeatureStore.open(made.path))) == 16
    FeatureStore.open(made.path).compact()
    assert len(FeatureStore.open(made.path).load(verify=True)) == 32


def test_removing_again_and_again_changes_no_winner(tmp_path: Path) -> None:
    """What replaces a segment stays where that stood: it does not come before what was before it."""
    made = FeatureStore.create(tmp_path / "t")
    write(made, "k")
    write(made, "k", *(f"j{i}" for i in range(9)), embeddings=make_features("k").embeddings + 1)
    for i in range(8):
        made.remove(only(made).name, [make_key(f"j{i}")])
    expected = make_features("k").embeddings.astype(np.float16)
    np.testing.assert_array_equal(only(made).embeddings(make_key("k")), expected)


def test_more_segments_than_descriptors_are_read(tmp_path: Path) -> None:
    """A mapping holds one: few are kept."""
    made = FeatureStore.create(tmp_path / "t")
    for i in range(400):
        with made.writer(make_spec()) as writer:
            writer.add(make_features(f"r{i}"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (380, before[1]))
        index = only(made)
        assert len(made.load(verify=True)) == 400
        for i in range(400):
            expected = make_features(f"r{i}").embeddings.astype(np.float16)
            np.testing.assert_array_equal(index.embeddings(make_key(f"r{i}")), expected)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_link_in_the_place_of_the_copy_of_the_index_is_not_written_through(tmp_path: Path) -> None:
    """What it leads to is somebody else's."""
    store = FeatureStore.create(tmp_path / "s")
    other = tmp_path / "mine.txt"
    other.write_text("precious")
    for i in range(20):
        write(store, f"r{i}")
    (name,) = store.names()
    cache = cache_file(store.path / name)
    FeatureStore.open(store.path).load()
    cache.unlink()
    cache.symlink_to(other)
    assert len(FeatureStore.open(store.path).load()) == 20
    assert other.read_text() == "precious"


def test_a_segment_removed_while_it_is_opened_is_gone_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some disks say of a file that was removed just after it was opened that it cannot be read."""
    store = FeatureStore.create(tmp_path / "s")
    write(store, "a")
    write(store, "b")
    reader, opened = FeatureStore.open(store.path), h5py.File

    def compacted_meanwhile(path: Path, *arguments: object, **options: object) -> h5py.File:
        monkeypatch.setattr(h5py, "File", opened)
        store.compact()
        assert not Path(path).exists()
        raise OSError("Unable to synchronously open file (can't retrieve stat info for file)")

    monkeypatch.setattr(h5py, "File", compacted_meanwhile)
    assert len(reader.load(verify=True)) == 2
    assert h5py.File is opened
