"""Promises of the feature store: what was reported stored is there, and nothing is ever mixed."""

import json
import os
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from poise.errors import (
    AmbiguousFeatureSetError,
    FeatureSetNotFoundError,
    FeaturesMissingError,
    InvalidFeaturesError,
    StoreDamagedError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from poise.store import FeatureStore, fingerprint
from poise.store.identity import KeyCache, file_key
from poise.store.writer import MAX_RECORDINGS, SegmentWriter
from tests.store.features import make_features, make_key, make_spec, manifest_of


def test_what_was_written_is_read_back_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    """Embeddings and clip times come back bit for bit, aligned with the manifest's rows."""
    store = FeatureStore.create(tmp_path / "s")
    made = {name: make_features(name, n_clips=n) for name, n in [("a", 2), ("b", 1), ("c", 4)]}
    for group in (["a", "b"], ["c"]):
        with store.writer(make_spec()) as writer:
            for name in group:
                writer.add(made[name])
    bags = FeatureStore.open(tmp_path / "s").load(manifest_of(tmp_path, "c.mp4", "a.mp4", "b.mp4"))
    assert bags.keys == (make_key("c"), make_key("a"), make_key("b"))
    for i, name in enumerate("cab"):
        np.testing.assert_array_equal(bags[i].values["video"], made[name].embeddings.astype(np.float16))
        np.testing.assert_array_equal(bags[i].clip_times["video"], made[name].clip_times)


def test_a_recording_counts_as_stored_only_once_it_is_on_the_disk(tmp_path: Path) -> None:
    """`on_durable` names a key when its segment can be read, and not before."""
    store = FeatureStore.create(tmp_path / "s")
    told: list[str] = []
    writer = store.writer(make_spec(), told.extend)
    writer.add(make_features("a"))
    assert told == []
    writer.flush()
    assert told == [make_key("a")] == list(store.entries(make_spec()))


def test_a_segment_closes_at_its_size(tmp_path: Path) -> None:
    """No more than 256 recordings wait for their segment."""
    store = FeatureStore.create(tmp_path / "s")
    told: list[str] = []
    writer = store.writer(make_spec(), told.extend)
    for i in range(MAX_RECORDINGS):
        writer.add(make_features(f"r{i}", n_clips=1))
    assert len(told) == MAX_RECORDINGS


def test_features_with_other_settings_never_mix(tmp_path: Path) -> None:
    """One changed setting is another feature set; asking by encoder name lists both and how they differ."""
    store = FeatureStore.create(tmp_path / "s")
    for hop_s in (10.0, 5.0):
        with store.writer(make_spec(hop_s=hop_s)) as writer:
            writer.add(make_features("a"))
    assert len(store.feature_sets()) == 2
    with pytest.raises(
        AmbiguousFeatureSetError, match=r"(?s)'motion' names several.*clips.hop_s: (10.0 / 5.0|5.0 / 10.0)"
    ):
        store.find("motion", "video")
    with pytest.raises(AmbiguousFeatureSetError, match="Several video feature sets are there"):
        store.find(None, "video")
    wanted = f"motion@{fingerprint(make_spec(hop_s=5.0))}"
    found = store.find(wanted, "video")
    assert found is not None
    assert found.spec["clips"]["hop_s"] == 5.0


def test_feature_sets_of_several_encoders_are_chosen_by_the_encoders_name(tmp_path: Path) -> None:
    """The shortest name that will do is offered, and settings of different encoders are not compared."""
    store = FeatureStore.create(tmp_path / "s")
    for name in ("plain", "other"):
        with store.writer(make_spec(name=name)) as writer:
            writer.add(make_features("a"))
    with pytest.raises(AmbiguousFeatureSetError) as caught:
        store.find(None, "video")
    assert "differ" not in str(caught.value)
    assert str(caught.value).endswith('Choose one with --video other, in Python video="other".')


def test_a_feature_set_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    """The error lists what could be asked for; `none` asks for nothing."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    with pytest.raises(FeatureSetNotFoundError, match="no video feature set 'videomae'.*It holds: motion@"):
        store.find("videomae", "video")
    assert store.find("none", "video") is None
    assert store.find(None, "audio") is None
    with pytest.raises(FeatureSetNotFoundError, match="no feature set to load"):
        store.load(manifest_of(tmp_path, "a.mp4"), video="none")


def test_a_row_without_features_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    """Nothing is made up for a recording that was never extracted."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    with pytest.raises(
        FeaturesMissingError, match=r"1 of 2 recordings have no features.*line 3 \(b.mp4\).*poise extract"
    ):
        store.load(manifest_of(tmp_path, "a.mp4", "b.mp4"))


def test_a_missing_modality_has_no_clips(tmp_path: Path) -> None:
    """Missing and failed recordings are known to the store and have no clips: never zeros."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
        writer.add(make_features("b", n_clips=0, reason="no picture"))
        writer.add(make_features("c", n_clips=0, outcome="failed", reason="MediaError: broken"))
    bags = store.load(manifest_of(tmp_path, "c.mp4", "a.mp4", "b.mp4"))
    assert bags.modalities["video"].present.tolist() == [False, True, False]
    assert bags[0].values == {}
    feature_set = store.feature_sets()[0]
    assert (feature_set.n_recordings, feature_set.n_missing, feature_set.n_failed) == (1, 1, 1)


def test_features_win_over_failures_and_the_first_over_the_second(tmp_path: Path) -> None:
    """A later success replaces a failure; a duplicate changes nothing; failures keep the last attempt."""
    store = FeatureStore.create(tmp_path / "s")
    first = make_features("a")
    other = make_features("a", embeddings=first.embeddings + 1)
    failed = [make_features("a", n_clips=0, outcome="failed", reason=f"try {i}", attempts=i) for i in (1, 2)]
    for features in failed:
        with store.writer(make_spec()) as writer:
            writer.add(features)
        time.sleep(0.002)
    assert store.entries(make_spec())[make_key("a")].attempts == 2
    for features in (first, other, failed[0]):
        with store.writer(make_spec()) as writer:
            writer.add(features)
        time.sleep(0.002)
    entry = store.entries(make_spec())[make_key("a")]
    assert (entry.outcome, entry.n_clips) == ("stored", 3)
    bags = store.load(manifest_of(tmp_path, "a.mp4"))
    np.testing.assert_array_equal(bags[0].values["video"], first.embeddings.astype(np.float16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embeddings": np.full((3, 8), np.nan, np.float32)}, "NaN or infinity"),
        ({"embeddings": np.full((3, 8), np.inf, np.float32)}, "NaN or infinity"),
        ({"embeddings": np.full((3, 8), 7e4, np.float32)}, "does not fit in float16. Use --dtype float32"),
        ({"clip_times": np.zeros((2, 2))}, "clip times of shape"),
        (
            {"embeddings": np.zeros((0, 8), np.float32), "clip_times": np.zeros((0, 2))},
            "0 clips with the outcome stored",
        ),
        ({"key": "short"}, "not 64 hexadecimal digits"),
        ({"duration_s": np.inf}, "a time is infinite"),
        ({"duration_s": -1.0}, "the duration negative"),
        ({"clip_times": np.full((3, 2), np.inf)}, "a time is infinite"),
        ({"attempts": 2**70}, "it was tried"),
        ({"path": "\ud800"}, "are no text"),
        ({"embeddings": np.full((3, 8), -(2**63))}, "of type int64. Expected floats"),
        ({"embeddings": np.ones((3, 8), complex)}, "of type complex128"),
    ],
)
def test_what_must_not_be_stored_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """A value that is not finite or does not fit never reaches the disk, and the writer goes on."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        with pytest.raises(InvalidFeaturesError, match=message):
            writer.add(make_features("a", **changes))
        writer.add(make_features("b"))
    assert list(store.entries(make_spec())) == [make_key("b")]


def test_a_segment_is_plain_hdf5_with_aligned_data(tmp_path: Path) -> None:
    """h5py alone reads a segment, and the embeddings start on a page boundary."""
    store = FeatureStore.create(tmp_path / "s")
    made = make_features("a", n_clips=400)
    with store.writer(make_spec()) as writer:
        writer.add(made)
    (path,) = (tmp_path / "s").glob("motion@*/seg-*.h5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["embeddings"][:], made.embeddings.astype(np.float16))
        assert file["embeddings"].id.get_offset() % 4096 == 0
        assert json.loads(file.attrs["spec"]) == make_spec()
        assert file["recordings/path"][0] == b"a.mp4"


def test_a_file_is_found_by_its_bytes_under_any_name(tmp_path: Path) -> None:
    """A renamed file is the same recording; a changed file is not."""
    media = tmp_path / "a.mp4"
    media.write_bytes(b"one")
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a", key=file_key(media)))
    media.rename(tmp_path / "b.mp4")
    assert len(store.load(manifest_of(tmp_path, "b.mp4"))) == 1
    assert len(store.load(manifest_of(tmp_path, "a.mp4"))) == 1  # not on this machine: its path counts
    (tmp_path / "b.mp4").write_bytes(b"two")
    with pytest.raises(FeaturesMissingError, match="its file changed since"):
        store.load(manifest_of(tmp_path, "b.mp4"))


def test_the_same_path_in_two_folders_is_never_mixed_up(tmp_path: Path) -> None:
    """Files that are here are known by their bytes; where they are not, a path that means two of them is refused."""
    store = FeatureStore.create(tmp_path / "s")
    for folder in ("d1", "d2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_bytes(folder.encode())
        with store.writer(make_spec()) as writer:
            writer.add(make_features(folder, path="a.mp4", key=file_key(tmp_path / folder / "a.mp4")))
    for folder in ("d1", "d2"):
        bags = store.load(manifest_of(tmp_path / folder, "a.mp4"))
        expected = make_features(folder).embeddings.astype(np.float16)
        np.testing.assert_array_equal(bags[0].values["video"], expected)
    with pytest.raises(
        FeaturesMissingError, match=r"line 2 \(a.mp4\): 2 different files were extracted under this path"
    ):
        store.load(manifest_of(tmp_path / "elsewhere", "a.mp4"))


def test_a_pipe_is_not_waited_on(tmp_path: Path) -> None:
    """What is no regular file is never opened to be hashed."""
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(OSError, match="not a regular file"):
        file_key(tmp_path / "a.mp4")


def test_an_empty_feature_set_is_no_choice(tmp_path: Path) -> None:
    """A feature set that a run opened and never filled does not make a request ambiguous."""
    store = FeatureStore.create(tmp_path / "s")
    store.writer(make_spec(hop_s=5.0)).close()
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    found = store.find(None, "video")
    assert found is not None
    assert found.spec == make_spec()
    assert len(store.feature_sets()) == 1


def test_another_name_of_the_same_bytes_is_remembered(tmp_path: Path) -> None:
    """Two names for the same bytes share one set of features, also where the files are not."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
        writer.add_name(make_key("a"), "twin.mp4")
    bags = store.load(manifest_of(tmp_path, "twin.mp4", "a.mp4"))
    assert bags.keys == (make_key("a"),) * 2
    assert store.entries(make_spec())[make_key("a")].paths == ("a.mp4", "twin.mp4")


def test_keys_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    """An unchanged file is not read again in a later run; a broken cache is no cache."""
    media = tmp_path / "a.mp4"
    media.write_bytes(b"one")
    os.utime(media, (1e9, 1e9))
    time.sleep(2.1)
    cache = KeyCache(tmp_path / "cache")
    assert cache.key(media) == file_key(media)
    cache.save()
    right = json.loads((tmp_path / "cache" / "keys.json").read_text())
    marked = {path: [*stamp, "0" * 64] for path, (*stamp, _) in right.items()}
    (tmp_path / "cache" / "keys.json").write_text(json.dumps(marked))
    assert KeyCache(tmp_path / "cache").key(media) == "0" * 64  # remembered, not read
    (tmp_path / "cache" / "keys.json").write_text("{broken")
    assert KeyCache(tmp_path / "cache").key(media) == file_key(media)


@pytest.mark.parametrize("damage", ["flip", "truncate", "foreign", "spec", "strange folder"])
def test_verify_finds_and_names_damage(tmp_path: Path, damage: str) -> None:
    """A changed byte, a cut file, a file that is not of the store and a changed spec are all found."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    assert store.verify().ok
    (path,) = (tmp_path / "s").glob("motion@*/seg-*.h5")
    match damage:
        case "flip":
            data = bytearray(path.read_bytes())
            with h5py.File(path) as file:
                data[file["embeddings"].id.get_offset()] ^= 1
            path.write_bytes(data)
        case "truncate":
            path.write_bytes(path.read_bytes()[:-100])
        case "foreign":
            (path.parent / "notes.txt").write_text("mine")
        case "spec":
            (path.parent / "spec.json").write_text("{}")
        case "strange folder":
            (path.parent.parent / "backup").mkdir()
    report = store.verify()
    assert not report.ok
    assert report.problems[0].segment.startswith("backup" if damage == "strange folder" else "motion@")
    if damage == "flip":
        assert report.problems[0].recordings == ("a.mp4",)


def test_structural_damage_is_an_error_at_reading(tmp_path: Path) -> None:
    """A cut segment never gives numbers."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    (path,) = (tmp_path / "s").glob("motion@*/seg-*.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StoreDamagedError, match="poise store verify"):
        store.load(manifest_of(tmp_path, "a.mp4"))


def test_a_store_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    """A missing folder, a folder of other things and a newer format each get one clear error."""
    with pytest.raises(StoreNotFoundError, match="does not exist. Make one with `poise extract"):
        FeatureStore.open(tmp_path / "nothing")
    (tmp_path / "file.txt").touch()
    with pytest.raises(StoreNotFoundError, match="is not a feature store"):
        FeatureStore.open(tmp_path)
    with pytest.raises(StoreDamagedError, match="holds other files"):
        FeatureStore.create(tmp_path)
    FeatureStore.create(tmp_path / "s")
    (tmp_path / "s" / "poise-store.json").write_text('{"format_version": 99}')
    with pytest.raises(StoreVersionError, match="format version 99, this poise reads 1"):
        FeatureStore.open(tmp_path / "s")
    (tmp_path / "s" / "poise-store.json").write_text("[]")
    with pytest.raises(StoreDamagedError, match="cannot be read"):
        FeatureStore.open(tmp_path / "s")


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """A file where the folder should be gives the path and the free space, not a traceback from below."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreWriteError, match=r"Cannot write .*file/s.*MB free"):
        FeatureStore.create(tmp_path / "file" / "s")


def test_a_name_that_cannot_be_stored_is_refused_at_once(tmp_path: Path) -> None:
    """It would stop every recording that comes after it."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        for key, path in (("zz", "a"), ("ab", "a"), (make_key("a"), "\ud800")):
            with pytest.raises(InvalidFeaturesError):
                writer.add_name(key, path)
        writer.add(make_features("a"))
    assert len(store.load()) == 1


def test_a_spec_that_cannot_be_stored_leaves_nothing_behind(tmp_path: Path) -> None:
    """No folder of a feature set that verify would complain of."""
    store = FeatureStore.create(tmp_path / "s")
    with pytest.raises(InvalidFeaturesError, match="cannot be stored"):
        store.writer({**make_spec(), "dtype": "int8"})
    with pytest.raises(InvalidFeaturesError, match="has 1.* characters, at most 60000"):
        store.writer({**make_spec(), "long": "x" * 100_000})
    assert store.verify().ok
    assert [path.name for path in store.path.iterdir()] == ["poise-store.json"]


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    """Into two feature sets, and with one writer for several threads; all of it arrives."""
    store = FeatureStore.create(tmp_path / "s")
    errors: list[BaseException] = []

    def write(writer: SegmentWriter, thread: int) -> None:
        try:
            for i in range(150):
                writer.add(make_features(f"{thread}-{i}"))
                if i % 5 == 0:
                    writer.flush()
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            errors.append(error)

    shared, other = store.writer(make_spec()), store.writer(make_spec(hop_s=5.0))
    threads = [threading.Thread(target=write, args=(shared, i)) for i in range(3)]
    threads.append(threading.Thread(target=write, args=(other, 9)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    other.close()
    assert not errors
    assert sorted(len(index) for index in store.indexes()) == [150, 450]
    assert store.verify().ok
