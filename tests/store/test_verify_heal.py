"""Promises about damage: every changed byte is found or harmless, and what is sound is kept."""

import json
import multiprocessing
import os
import resource
import shutil
import tempfile
from multiprocessing.synchronize import Barrier
from pathlib import Path

import h5py
import numpy as np
import pytest

from poise.errors import StoreDamagedError, StoreNotFoundError, StoreReadOnlyError, StoreVersionError
from poise.store import FeatureStore, heal
from tests.store.children import Child
from tests.store.features import make_features, make_key, make_spec

N = 12


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with one segment of twelve recordings, one of them missing."""
    made = FeatureStore.create(tmp_path / "s")
    with made.writer(make_spec()) as writer:
        for i in range(N):
            writer.add(make_features(f"r{i}", n_clips=i % 4))
        writer.add_name(make_key("r1"), "twin.mp4")
    return made


def the_segment(store: FeatureStore) -> Path:
    (path,) = store.path.glob("motion@*/seg-*.h5")
    return path


def flip(path: Path, where: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1 << bit
    path.write_bytes(data)


def values_of(store: FeatureStore) -> dict[str, bytes]:
    bags = store.load()
    return {bag.key: bag.values["video"].tobytes() if bag.values else b"" for bag in bags}


def expected(names: list[str]) -> dict[str, bytes]:
    return {
        make_key(name): make_features(name, n_clips=int(name[1:]) % 4).embeddings.astype(np.float16).tobytes()
        for name in names
    }


def check_flips(path: Path, folder: Path, flips: list[tuple[int, int]]) -> dict[str, int]:
    """Flip one bit at a time; count how it was found."""
    original = path.read_bytes()
    right = expected([f"r{i}" for i in range(N)])
    counts = {"found by verify": 0, "error at reading": 0, "read wrong": 0, "found when digests are checked": 0}
    for where, bit in flips:
        flip(path, where, bit)
        store = FeatureStore.open(folder)
        counts["found by verify"] += not store.verify().ok
        try:
            read = values_of(store)
        except StoreDamagedError:
            counts["error at reading"] += 1
        else:
            if read != right:
                counts["read wrong"] += 1
                with pytest.raises(StoreDamagedError, match="not what was stored"):
                    store.load(verify=True)
                counts["found when digests are checked"] += 1
        path.write_bytes(original)
    return counts


def random_flips(path: Path, n: int, seed: int) -> list[tuple[int, int]]:
    """Bits all over the file, and as many in its first and last pages, where the structure is."""
    rng = np.random.default_rng(seed)
    size = path.stat().st_size
    places = np.concatenate([rng.integers(0, size, n), rng.integers(0, 2048, n), rng.integers(size - 4096, size, n)])
    return [(int(where), int(bit)) for where, bit in zip(places, rng.integers(0, 8, len(places)), strict=True)]


@pytest.mark.parametrize("n", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_verify_finds_every_flipped_bit_of_a_segment(store: FeatureStore, n: int) -> None:
    """In header, index and data; and numbers that are read wrong are found by load(verify=True)."""
    path = the_segment(store)
    flips = random_flips(path, n, seed=0)
    counts = check_flips(path, store.path, flips)
    print(f"{len(flips)} flips in a segment: {counts}")
    assert counts["found by verify"] == len(flips)
    assert counts["found when digests are checked"] == counts["read wrong"]


@pytest.mark.parametrize("n", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_of_an_export_are_found_or_harmless(store: FeatureStore, tmp_path: Path, n: int) -> None:
    """An exported file has no digest in its name: whatever is not found changes no number and no row."""
    path = store.export(tmp_path / "x.h5")
    original, right = path.read_bytes(), expected([f"r{i}" for i in range(N)])
    paths = {key: entry.paths for index in store.indexes() for key, entry in index.items()}
    found = harmless = 0
    for where, bit in random_flips(path, n, seed=1):
        flip(path, where, bit)
        try:
            opened = FeatureStore.open(path)
            ok = opened.verify().ok
        except (StoreDamagedError, StoreVersionError):
            ok = False
        if ok:
            assert values_of(opened) == right
            (index,) = opened.indexes()
            assert {key: entry.paths for key, entry in index.items()} == paths
            harmless += 1
        found += not ok
        path.write_bytes(original)
    print(f"{found + harmless} flips in an export: {found} found, {harmless} harmless")
    assert found > harmless / 10


def test_verify_names_only_the_recordings_that_are_damaged(store: FeatureStore) -> None:
    """A flipped value names its recording; a flipped byte between the data says that all recordings are sound."""
    path = the_segment(store)
    with h5py.File(path) as file:
        data = file["embeddings"].id.get_offset()
    flip(path, data + 2 * 8 * 1)  # the second clip stored is the first of r2
    (problem,) = store.verify().problems
    assert problem.recordings == ("r2.mp4",)
    flip(path, data + 2 * 8 * 1)
    flip(path, path.read_bytes().index(b"twin.mp4"))
    (problem,) = store.verify().problems
    assert problem.recordings == ()
    assert "all its recordings are sound" in problem.what


def test_heal_keeps_what_is_sound_and_only_the_rest_is_lost(store: FeatureStore) -> None:
    """The damaged file goes into quarantine, its sound recordings stay, the next run redoes the others."""
    path = the_segment(store)
    with h5py.File(path) as file:
        data = file["embeddings"].id.get_offset()
    flip(path, data)
    report = heal(store.path)
    assert (report.lost, report.n_kept) == (("r1.mp4",), N - 1)
    assert (store.path / "quarantine" / path.parent.name / path.name).is_file()
    assert store.verify().ok
    assert values_of(store) == expected([f"r{i}" for i in range(N) if i != 1])
    with store.writer(make_spec()) as writer:
        writer.add(make_features("r1", n_clips=1))
    assert values_of(store) == expected([f"r{i}" for i in range(N)])
    assert heal(store.path).put_aside == ()


@pytest.mark.parametrize("made_by", ["remove", "compact", "heal"])
def test_heal_keeps_what_is_sound_in_a_file_that_was_itself_rewritten(store: FeatureStore, made_by: str) -> None:
    """What replaces such a file has the same bytes, and must not be taken to be there already."""
    match made_by:
        case "remove":
            store.remove(store.names()[0], [make_key("r11")])
        case "compact":
            with store.writer(make_spec()) as writer:
                writer.add(make_features("r11", n_clips=3))
            store.compact()
        case "heal":
            flip(the_segment(store), the_segment(store).read_bytes().index(b"twin.mp4"))
            heal(store.path)
    before = values_of(store)
    for _ in range(2):
        path = the_segment(store)
        flip(path, path.stat().st_size - 1)
        report = heal(store.path)
        assert report.put_aside == (f"{path.parent.name}/{path.name}",)
        assert values_of(store) == before
        assert report.n_kept == len(before)
        assert store.verify().ok


def test_heal_keeps_other_names_of_sound_recordings(store: FeatureStore) -> None:
    """A name has a digest too."""
    path = the_segment(store)
    with h5py.File(path) as file:
        flip(path, file["embeddings"].id.get_offset())
    heal(store.path)
    with store.writer(make_spec()) as writer:
        writer.add(make_features("r1", n_clips=1))
    (index,) = store.indexes()
    assert index[make_key("r1")].paths == ("r1.mp4", "twin.mp4")


def test_heal_says_when_it_is_not_known_what_was_lost(store: FeatureStore) -> None:
    """An emptied segment that no copy of the index remembers."""
    the_segment(store).write_bytes(b"")
    report = heal(store.path)
    assert (report.n_kept, report.lost, report.n_unreadable) == (0, (), 1)


def test_heal_takes_no_recording_from_a_foreign_file(store: FeatureStore, tmp_path: Path) -> None:
    """A segment of another store under another name is put aside, and none of its values counts."""
    other = FeatureStore.create(tmp_path / "t")
    with other.writer(make_spec()) as writer:
        writer.add(make_features("r1", embeddings=make_features("r1").embeddings + 1))
    before = values_of(store)
    shutil.copy(the_segment(other), the_segment(store).parent / "copy.h5")
    assert len(heal(store.path).put_aside) == 1
    assert values_of(store) == before


def test_heal_does_not_touch_an_export(store: FeatureStore, tmp_path: Path) -> None:
    """It says where a sound one comes from."""
    with pytest.raises(StoreReadOnlyError, match="Export it again"):
        heal(store.export(tmp_path / "x.h5"))


def test_a_feature_set_without_its_spec_is_an_error_and_not_absent(store: FeatureStore) -> None:
    """Looking at the store says what is gone; healing brings it back."""
    (the_segment(store).parent / "spec.json").unlink()
    with pytest.raises(StoreDamagedError, match=r"spec\.json is gone.*poise store heal"):
        store.feature_sets()
    assert not store.verify().ok
    heal(store.path)
    assert len(store.load()) == N


def test_heal_saves_recordings_of_a_segment_whose_structure_is_gone(tmp_path: Path) -> None:
    """The copy of the index remembers where they lie, and their digests say whether they are still there."""
    store = FeatureStore.create(tmp_path / "s")
    for i in range(16):
        with store.writer(make_spec()) as writer:
            writer.add(make_features(f"r{i}", n_clips=3))
            writer.add(make_features(f"t{i}", n_clips=300))
    store.load()
    path = sorted(store.path.glob("motion@*/seg-*.h5"))[3]
    data = bytearray(path.read_bytes())
    data[:512] = bytes(512)
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError):
        FeatureStore.open(store.path).load()
    (problem,) = store.verify().problems
    assert set(problem.recordings) == {"r3.mp4", "t3.mp4"}
    report = heal(store.path)
    assert (report.n_kept, report.lost) == (2, ())
    assert len(store.load(verify=True)) == 32


def test_heal_restores_spec_and_marker_from_what_is_sound(store: FeatureStore) -> None:
    """Both can be told from the segments."""
    spec = the_segment(store).parent / "spec.json"
    text = spec.read_text()
    spec.write_text("{}")
    (store.path / "poise-store.json").write_text("")
    with pytest.raises(StoreDamagedError, match="poise store heal"):
        FeatureStore.open(store.path)
    report = heal(store.path)
    assert set(report.restored) == {"poise-store.json", f"{spec.parent.name}/spec.json"}
    assert spec.read_text() == text
    assert len(FeatureStore.open(store.path).load()) == N
    (store.path / "poise-store.json").unlink()
    heal(store.path)
    assert len(FeatureStore.open(store.path).load()) == N


def test_heal_puts_foreign_files_aside_and_deletes_nothing(store: FeatureStore) -> None:
    """Notes, folders, and feature sets that cannot be told are in quarantine afterwards, under names of their own."""
    folder = the_segment(store).parent
    for _ in range(2):
        (folder / "notes.txt").write_text("mine")
        (store.path / "backup").mkdir()
        (store.path / "lost@0123456789abcdef").mkdir()
        (store.path / "lost@0123456789abcdef" / "thing").write_text("x")
        assert len(store.verify().problems) == 3
        assert len(heal(store.path).put_aside) == 3
        assert store.verify().ok
    aside = sorted(path.relative_to(store.path / "quarantine").as_posix() for path in (store.path).rglob("notes.txt*"))
    assert aside == [f"{folder.name}/notes.txt", f"{folder.name}/notes.txt.1"]
    assert len(store.load()) == N


def test_heal_leaves_alone_what_is_no_store_and_what_is_newer(tmp_path: Path, store: FeatureStore) -> None:
    """A folder of other things is not touched; a newer format is not damage."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(StoreNotFoundError, match="is not a feature store"):
        heal(tmp_path / "photos")
    with pytest.raises(StoreNotFoundError, match="does not exist"):
        heal(tmp_path / "nothing")
    (store.path / "poise-store.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(StoreVersionError, match="format version 99"):
        heal(store.path)
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_file_cut_while_the_store_is_open_is_an_error(tmp_path: Path) -> None:
    """A mapped file that lost its end would kill the process: its size is compared first."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a", n_clips=300))
    (index,) = store.indexes()
    path = the_segment(store)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(StoreDamagedError, match="its size changed since it was opened"):
        index.embeddings(make_key("a"))


def test_values_that_must_not_be_stored_are_found(store: FeatureStore) -> None:
    """A segment that another program wrote with NaN in it is named, though its digest is right."""
    from poise.store.format.layout import Names, segment_image, segment_name
    from poise.store.format.recordings import table_of

    values = np.full((2, 8), np.nan, np.float16)
    table = table_of([make_features("nan", n_clips=2)], [values], [0], "{}")
    image = segment_image(make_spec(), table, values, np.zeros((2, 2)), names=Names.pack([]), runs=["{}"])
    name = segment_name(image, milliseconds=1, writer="0" * 8, number=0)
    (the_segment(store).parent / name).write_bytes(image)
    (problem,) = store.verify().problems
    assert problem.recordings == ("nan.mp4",)
    assert problem.what == "holds what must not be stored"


def test_a_damaged_name_never_means_another_recording(store: FeatureStore, tmp_path: Path) -> None:
    """Neither when digests are checked, nor in an export, which would give it a sound digest."""
    path = the_segment(store)
    flip(path, path.read_bytes().index(b"twin.mp4"))
    opened = FeatureStore.open(store.path)
    with pytest.raises(StoreDamagedError, match="the name"):
        opened.load(verify=True)
    with pytest.raises(StoreDamagedError, match="the name"):
        opened.export(tmp_path / "x.h5")


def test_heal_saves_what_is_left_of_a_segment_that_was_cut(tmp_path: Path) -> None:
    """Its end holds the index, and the copy of that knows where the numbers lie."""
    store = FeatureStore.create(tmp_path / "s")
    for i in range(16):
        with store.writer(make_spec()) as writer:
            writer.add(make_features(f"r{i}", n_clips=300))
    store.load()
    path = min(store.path.glob("motion@*/seg-*.h5"))
    path.write_bytes(path.read_bytes()[:-100])
    assert heal(store.path).n_kept == 1
    assert len(store.load(verify=True)) == 16


def _heal_as_somebody_else(folder: str) -> tuple[list[str], int]:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    report = heal(Path(folder))
    return list(report.put_aside), len(report.left_alone)


def test_heal_leaves_alone_what_it_may_not_read() -> None:
    """Files of a colleague that only he may read are not damaged; nothing of them moves."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        store = FeatureStore.create(Path(folder) / "s")
        for hop_s in (10.0, 5.0):
            with store.writer(make_spec(hop_s=hop_s)) as writer:
                writer.add(make_features("a"))
        first, second = (store.path / name for name in store.names())
        for path in (*first.iterdir(), *second.glob("seg-*")):
            path.chmod(0o000)
        for path in (store.path, first, second):
            path.chmod(0o777)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply_async(_heal_as_somebody_else, (str(store.path),)).get(timeout=120) == ([], 2)
        assert len(list(store.path.rglob("seg-*"))) == 2


def test_running_out_of_descriptors_is_not_damage(store: FeatureStore) -> None:
    """What the system does not give is left where it is."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [open(os.devnull) for _ in range(20)]  # noqa: SIM115  closed below
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(file.fileno() for file in held) + 1, before[1]))
        try:
            report = heal(store.path)
        except OSError:
            pass
        else:
            assert report.put_aside == ()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for file in held:
            file.close()
    assert store.verify().ok
    assert len(store.load(verify=True)) == N


def test_a_link_to_nowhere_is_named(store: FeatureStore) -> None:
    """A segment that was a link and whose target is gone must not be silently absent."""
    path = the_segment(store)
    path.rename(store.path.parent / "elsewhere.h5")
    path.symlink_to(store.path.parent / "elsewhere.h5")
    assert store.verify().ok
    (store.path.parent / "elsewhere.h5").unlink()
    (problem,) = store.verify().problems
    assert "link to nowhere" in problem.what


def test_heal_restores_a_marker_that_is_a_folder(store: FeatureStore) -> None:
    """It goes aside, with what is in it."""
    marker = store.path / "poise-store.json"
    marker.unlink()
    (marker / "precious").mkdir(parents=True)
    report = heal(str(store.path))
    assert report.restored == ("poise-store.json",)
    assert (store.path / "quarantine" / "poise-store.json" / "precious").is_dir()
    assert len(FeatureStore.open(store.path).load(verify=True)) == N


@pytest.mark.parametrize("kind", ["file", "link"])
def test_heal_puts_nothing_where_the_quarantine_is_none(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    """A file, or a link to elsewhere, in its place is an error, and nothing moves."""
    (tmp_path / "elsewhere").mkdir()
    aside = store.path / "quarantine"
    aside.write_text("") if kind == "file" else aside.symlink_to(tmp_path / "elsewhere")
    (store.path / "foreign.txt").write_text("text")
    with pytest.raises(StoreDamagedError, match="a file or a link to elsewhere"):
        heal(store.path)
    assert (store.path / "foreign.txt").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_heal_reports_only_what_no_other_segment_has(store: FeatureStore) -> None:
    """A damaged duplicate of a sound recording is no loss."""
    with store.writer(make_spec()) as writer:
        writer.add(make_features("r1", path="again.mp4", n_clips=1))
    index = store.index(make_spec())
    assert len(index.contents.segments) == 2
    first = index.contents.segments[0].path
    data = bytearray(first.read_bytes())
    for name in ("r1", "r2"):
        data[data.index(expected([name])[make_key(name)])] ^= 1
    first.write_bytes(data)
    assert heal(store.path).lost == ("r2.mp4",)
    assert make_key("r1") in FeatureStore.open(store.path).index(make_spec())


def _heal(folder: Path, barrier: Barrier) -> list[str]:
    barrier.wait(60)
    return list(heal(folder).put_aside)


def test_two_heals_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both end well, and every sound recording is there once."""
    store = FeatureStore.create(tmp_path / "s")
    for first in range(0, N, 2):
        with store.writer(make_spec()) as writer:
            for i in (first, first + 1):
                writer.add(make_features(f"r{i}", n_clips=i % 4))
    for path in store.path.glob("motion@*/seg-*.h5"):
        flip(path, path.stat().st_size - 1)
        (store.path / f"foreign-{path.name[-9:]}").write_text("x")
    index = store.index(make_spec())
    sound = {key for key in index if index.is_sound(index.row(key))}
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    children = [Child(_heal, store.path, barrier) for _ in range(2)]
    for child in children:
        child.result(120)
    healed = FeatureStore.open(store.path)
    assert healed.verify().ok
    assert set(healed.index(make_spec())) == sound
