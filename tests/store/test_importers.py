"""Promises of importing: two layouts are understood, everything else is refused by name."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from poise.errors import FeaturesMissingError, ImportFormatError
from poise.store import FeatureStore
from poise.store.identity import name_key
from tests.store.features import manifest_of


def save(folder: Path, name: str, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    np.savez(path, **arrays)
    return path


def clips(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 1536)).astype(np.float32)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_clips_are_split_into_video_and_audio(tmp_path: Path, packed: bool) -> None:
    """`clips` (n, 1536) becomes VideoMAE's first 768 numbers and WavLM's last, from a folder or a ZIP."""
    arrays = {"s1_v01": clips(3), "s1_v02.cut": clips(5, 1)}
    for name, array in arrays.items():
        save(tmp_path / "cache", name, clips=array)
    source = tmp_path / "cache"
    if packed:
        with zipfile.ZipFile(tmp_path / "cache.zip", "w") as archive:
            for path in source.iterdir():
                archive.write(path, f"cache/{path.name}")
            archive.writestr("__MACOSX/._s1_v01.npz", b"junk")
        source = tmp_path / "cache.zip"
    store = FeatureStore.create(tmp_path / "s")
    report = store.import_npz(source)
    assert (report.n_stored, report.n_clips, report.failed) == (2, 8, ())
    bags = store.load(manifest_of(tmp_path, "s1_v02.cut.mp4", "s1_v01"))
    for i, name in enumerate(["s1_v02.cut", "s1_v01"]):
        np.testing.assert_array_equal(bags[i].values["video"], arrays[name][:, :768])
        np.testing.assert_array_equal(bags[i].values["audio"], arrays[name][:, 768:])
        assert np.isnan(bags[i].clip_times["video"]).all()
    assert all(feature_set.imported for feature_set in store.feature_sets())
    assert store.verify().ok


def test_means_are_one_clip_and_an_absent_mean_is_missing(tmp_path: Path) -> None:
    """`vmae` and `wavl` (768,) are one clip each; a file with only one of them lacks the other modality."""
    both = save(tmp_path / "c", "a", vmae=np.ones(768), wavl=np.zeros(768)).parent
    save(both, "b", vmae=np.full(768, 2.0))
    store = FeatureStore.create(tmp_path / "s")
    store.import_npz(both)
    bags = store.load(manifest_of(tmp_path, "a.mp4", "b.mp4"))
    assert bags.modalities["video"].n_clips.tolist() == [1, 1]
    assert bags.modalities["audio"].n_clips.tolist() == [1, 0]


def test_importing_again_stores_nothing_and_other_values_are_refused(tmp_path: Path) -> None:
    """The same values are there already; other values under a known name need a collection of their own."""
    source = save(tmp_path / "c", "a", clips=clips(2)).parent
    store = FeatureStore.create(tmp_path / "s")
    store.import_npz(source)
    assert store.import_npz(source).n_already == 1
    save(source, "b", clips=clips(2, 5))
    save(source, "a", clips=clips(2, 9))
    report = store.import_npz(source)
    assert report.n_stored == 1
    assert report.failed[0][0] == "a.npz"
    assert "--collection" in report.failed[0][1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"clips": np.zeros((2, 100), np.float32)},
            r"it holds `clips` \(2, 100\) float32; expected `clips` \(n, 1536\)",
        ),
        ({"x": np.zeros(3)}, r"it holds `x` \(3,\) float64"),
        ({"clips": np.zeros((0, 1536), np.float32)}, r"`clips` \(0, 1536\)"),
        ({"clips": np.zeros((2, 1536), np.int64)}, "int64"),
        ({"clips": np.full((2, 1536), np.nan, np.float32)}, "NaN or infinity"),
        ({"clips": np.array([{"a": 1}], dtype=object)}, "not an .npz that can be read"),
        ({}, "it holds nothing"),
    ],
)
def test_other_layouts_are_refused_by_name(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    """A file that is not understood is named with what it holds and what is expected; the rest is imported."""
    source = save(tmp_path / "c", "good", clips=clips(1)).parent
    save(source, "wrong", **arrays)
    report = FeatureStore.create(tmp_path / "s").import_npz(source)
    assert report.n_stored == 1
    ((name, reason),) = report.failed
    assert name == "wrong.npz"
    with pytest.raises(ImportFormatError, match=message):
        raise ImportFormatError(reason)


def test_nothing_to_import_is_an_error(tmp_path: Path) -> None:
    """An empty folder, a missing path, a text and a folder of only broken files say so."""
    store = FeatureStore.create(tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImportFormatError, match="holds no .npz file"):
        store.import_npz(tmp_path / "empty")
    with pytest.raises(ImportFormatError, match="There is no folder or ZIP"):
        store.import_npz(tmp_path / "nothing")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ImportFormatError, match="neither a folder nor a ZIP"):
        store.import_npz(tmp_path / "text.zip")
    (tmp_path / "empty" / "a.npz").write_bytes(b"not a zip")
    with pytest.raises(ImportFormatError, match="a.npz: not an .npz that can be read"):
        store.import_npz(tmp_path / "empty")


def test_two_recordings_of_one_name_are_not_confused(tmp_path: Path) -> None:
    """Imported features are matched by file name, so the name must be unique on both sides."""
    save(tmp_path / "c" / "x", "a", clips=clips(1))
    save(tmp_path / "c" / "y", "a", clips=clips(1, 3))
    store = FeatureStore.create(tmp_path / "s")
    report = store.import_npz(tmp_path / "c")
    assert report.n_stored == 1
    assert "has the same name" in report.failed[0][1]
    with pytest.raises(FeaturesMissingError, match="have the same file name"):
        store.load(manifest_of(tmp_path, "p/a.mp4", "q/a.mp4"))


def hostile_npz(kind: str) -> bytes:
    """Bytes that are an .npz in name, or a large one."""
    good = io.BytesIO()
    np.savez(good, clips=clips(1))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        match kind:
            case "bomb":
                with archive.open("clips.npy", "w", force_zip64=True) as member:
                    for _ in range(1100):
                        member.write(bytes(1 << 20))
            case "header":
                header = "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 1536), }"
                padded = header.ljust(117) + "\n"
                archive.writestr(
                    "clips.npy", b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()
                )
            case "tokens":
                archive.writestr("clips.npy", zipfile.ZipFile(good).read("clips.npy").replace(b"{'descr'", b"{'des'c'"))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["bomb", "header", "tokens"])
def test_a_hostile_npz_costs_only_itself(tmp_path: Path, kind: str) -> None:
    """A bomb, a header that claims terabytes and a header that is no Python are each one refused file."""
    source = save(tmp_path / "c", "good", clips=clips(1)).parent
    (source / "hostile.npz").write_bytes(hostile_npz(kind))
    os.mkfifo(source / "pipe.npz")
    report = FeatureStore.create(tmp_path / "s").import_npz(source)
    assert report.n_stored == 1
    assert [name for name, _ in report.failed] == ["hostile.npz", "pipe.npz"]
    assert report.failed[1][1] == "not a regular file"


def test_a_damaged_member_of_a_zip_costs_only_itself(tmp_path: Path) -> None:
    """Encrypted or damaged members are named, the rest of the ZIP is imported."""
    for name in ("a", "b"):
        save(tmp_path / "c", name, clips=clips(1))
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name in ("a", "b"):
            archive.write(tmp_path / "c" / f"{name}.npz", f"{name}.npz")
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    report = FeatureStore.create(tmp_path / "s").import_npz(path)
    assert report.n_stored == 1
    assert report.failed[0][0] == "a.npz"


def test_a_modality_may_come_in_a_later_import(tmp_path: Path) -> None:
    """The same recording from another folder adds what was missing, and its name still means one recording."""
    first = save(tmp_path / "x", "r", vmae=np.ones(768)).parent
    second = save(tmp_path / "y" / "sub", "r", vmae=np.ones(768), wavl=np.zeros(768)).parent.parent
    store = FeatureStore.create(tmp_path / "s")
    for source in (first, second):
        store.import_npz(source, collection="c")
    assert store.load(manifest_of(tmp_path, "r.mp4")).modalities["audio"].n_clips.tolist() == [1]


def test_a_name_with_a_dot_is_found_with_and_without_an_ending(tmp_path: Path) -> None:
    """`s1_v02.cut` is the recording of `s1_v02.cut.mp4` and of `s1_v02.cut`, and not of `s1_v02`."""
    source = save(tmp_path / "c", "s1_v02.cut", clips=clips(1)).parent
    store = FeatureStore.create(tmp_path / "s")
    store.import_npz(source)
    for path in ("s1_v02.cut.mp4", "s1_v02.cut", "x/s1_v02.cut.mov"):
        assert len(store.load(manifest_of(tmp_path, path))) == 1
    with pytest.raises(FeaturesMissingError, match="Import them"):
        store.load(manifest_of(tmp_path, "s1_v02.mp4"))


def test_importing_over_damage_says_so(tmp_path: Path) -> None:
    """What the store has is not called other values when it is damaged."""
    for i, name in enumerate("ab"):
        save(tmp_path / "c", name, video=clips(3, seed=i))
    store = FeatureStore.create(tmp_path / "s")
    store.import_features(tmp_path / "c", modality="video", key="video")
    (index,) = store.indexes()
    segment, row = index.contents.segments[0], index.embeddings(name_key("a")).tobytes()
    data = bytearray(segment.path.read_bytes())
    data[data.index(row) + 1] ^= 1
    segment.path.write_bytes(data)
    report = FeatureStore.open(store.path).import_features(tmp_path / "c", modality="video", key="video")
    ((path, reason),) = report.failed
    assert path == "a.npz"
    assert "damaged; run `poise store heal`" in reason


@pytest.mark.parametrize("name", ["a\x00.npy", "../a.npy", "/a.npy", "x/" * 60 + "a.npy"])
def test_a_strange_name_in_a_zip_stops_nothing(tmp_path: Path, name: str) -> None:
    """It is imported under the name it has, or refused; nothing is written anywhere but in the store."""
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "good.npy", clips(2))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / "c" / "good.npy", "good.npy")
        archive.writestr("X" * len(name), (tmp_path / "c" / "good.npy").read_bytes())
    data = (tmp_path / "c.zip").read_bytes().replace(b"X" * len(name), name.encode())
    (tmp_path / "c.zip").write_bytes(data)
    before = {path for path in tmp_path.rglob("*") if "s" not in path.relative_to(tmp_path).parts}
    store = FeatureStore.create(tmp_path / "s")
    report = store.import_features(tmp_path / "c.zip", modality="audio")
    assert report.n_stored + len(report.failed) >= 1
    assert name_key("good") in next(iter(store.indexes()))
    assert {path for path in tmp_path.rglob("*") if "s" not in path.relative_to(tmp_path).parts} == before
