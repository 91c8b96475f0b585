"""Promises of importing HDF5 files of others: what is theirs comes over, what would do harm is refused by name."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from poise.errors import ImportFormatError
from poise.store import FeatureStore
from poise.store.identity import name_key
from tests.store.features import make_features, make_spec
from tests.store.imported import assert_says, import_into, only_set, reason_of, stored


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_a_dataset_for_each_recording(tmp_path: Path) -> None:
    """Datasets at the top are recordings, however they lie: in one piece, compact, in chunks, compressed."""
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["a"] = numbers(3, 8)
        file.create_dataset("b", data=numbers(70, 8), chunks=(16, 8), compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("c", data=numbers(70, 8), chunks=(16, 3), compression="lzf", fletcher32=True)
        file.create_dataset("d", data=numbers(70, 8).astype(">f8"), chunks=(100, 8), maxshape=(None, 8))
        file["e"] = np.arange(8)
    store, report = import_into(tmp_path, tmp_path / "emb.h5", encoder="hubert")
    assert (report.n_stored, report.n_clips, report.failed) == (5, 3 + 3 * 70 + 1, ())
    index = only_set(store)
    assert index.spec["encoder"] == {"name": "hubert", "dim": 8}
    assert index.spec["imported"] == {"collection": "emb", "layout": "hdf5"}
    assert index[name_key("a")].paths == ("a",)
    for name in "bcd":
        np.testing.assert_array_equal(stored(store, name), numbers(70, 8))
    np.testing.assert_array_equal(stored(store, "e"), np.arange(8)[None])
    assert store.verify().ok


def test_a_group_for_each_recording(tmp_path: Path) -> None:
    """The key is the path of the array in each group; a group without it is refused, also without a key."""
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["a/video/features"] = numbers(3, 2, 8)
        file["b/video/features"] = numbers(1, 2, 8)
        file["c/audio/features"] = numbers(1, 2, 8)
        file["d/video/features/deeper"] = numbers(1, 2, 8)
        file["e/video"] = numbers(1, 2, 8)
    store, report = import_into(tmp_path, tmp_path / "emb.h5", key="video/features", modality="video")
    assert report.n_stored == 2
    assert only_set(store).spec["encoder"] == {"name": "video/features", "dim": 8, "n_layers": 2}
    np.testing.assert_array_equal(stored(store, "a"), numbers(3, 2, 8))
    assert_says(reason_of(report, "c"), "it has no /c/video")
    assert_says(reason_of(report, "d"), "d/video/features is not a dataset")
    assert_says(reason_of(report, "e"), "/e/video is not a group")
    with pytest.raises(ImportFormatError, match="a: it is a group that holds video; say with a key which"):
        import_into(tmp_path, tmp_path / "emb.h5")


def test_a_file_for_each_recording(tmp_path: Path) -> None:
    """In a folder the key names the dataset of each file and the file names the recording; the rest goes on."""
    source = tmp_path / "c"
    source.mkdir()
    for i, name in enumerate(["a.h5", "b.cut.hdf5"]):
        with h5py.File(source / name, "w") as file:
            file["out/features"] = numbers(2, 8, seed=i)
            file["out/times"] = np.arange(2)
    (source / "c.h5").write_bytes(b"not HDF5")
    h5py.File(source / "d.h5", "w").close()
    os.mkfifo(source / "e.h5")
    with h5py.File(source / "f.h5", "w") as file:
        file["out"] = h5py.ExternalLink("a.h5", "/out")
    store, report = import_into(tmp_path, source, key="out/features")
    assert report.n_stored == 2
    np.testing.assert_array_equal(stored(store, "b.cut"), numbers(2, 8, seed=1))
    assert_says(reason_of(report, "c.h5"), "file signature not found")
    assert_says(reason_of(report, "d.h5"), "it holds nothing")
    assert_says(reason_of(report, "e.h5"), "not a regular file")
    assert_says(reason_of(report, "f.h5/out"), "/out is a link to elsewhere")


def test_a_folder_of_files_with_many_recordings(tmp_path: Path) -> None:
    """Files with different names in them are joined; a name that two of them have is refused the second time."""
    source = tmp_path / "c"
    source.mkdir()
    for name, recordings in {"x.h5": "ab", "y.h5": "bc"}.items():
        with h5py.File(source / name, "w") as file:
            for recording in recordings:
                file[recording] = numbers(2, 8)
    store, report = import_into(tmp_path, source)
    assert report.n_stored == 3
    assert_says(reason_of(report, "y.h5/b"), "^x.h5/b has the same name")
    assert only_set(store)[name_key("c")].paths == ("y.h5/c",)


def test_files_that_are_recordings_need_a_key(tmp_path: Path) -> None:
    """Where every file holds the same names, these are not recordings: nothing is stored, and the key is asked for."""
    source = tmp_path / "c"
    source.mkdir()
    (source / "a.h5").write_bytes(b"not HDF5")
    for name in ("b.h5", "c.h5"):
        with h5py.File(source / name, "w") as file:
            file["features"] = numbers(2, 8)
    with pytest.raises(ImportFormatError, match='b.h5 and c.h5 hold the same names: features.*key="features"'):
        import_into(tmp_path, source)
    assert import_into(tmp_path, source, key="features")[1].n_stored == 2


@pytest.mark.parametrize("key", ["", "/", "/features", "features/", "a//b", "../x", "a/./b"])
def test_a_key_is_a_path_of_plain_names(tmp_path: Path, key: str) -> None:
    """What HDF5 would resolve to elsewhere is no key."""
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["a/features"] = numbers(3, 8)
    with pytest.raises(ImportFormatError, match="is no path in an HDF5 file"):
        import_into(tmp_path, tmp_path / "emb.h5", key=key)


def test_what_poise_wrote_is_no_source(tmp_path: Path) -> None:
    """An exported store and a piece of a store are refused with what to do instead."""
    store = FeatureStore.create(tmp_path / "mine")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    (tmp_path / "more").mkdir()
    with pytest.raises(ImportFormatError, match="exported by poise; there is nothing to import: open it as a store"):
        import_into(tmp_path, store.export(tmp_path / "mine.h5"))
    store.export(tmp_path / "more" / "a.h5")
    store.export(tmp_path / "more" / "b.h5")
    with pytest.raises(ImportFormatError, match="a.h5: it was exported by poise.*b.h5: it was exported by poise"):
        import_into(tmp_path, tmp_path / "more")
    (piece,) = (tmp_path / "mine").rglob("seg-*.h5")
    with pytest.raises(ImportFormatError, match="is a piece of a poise store"):
        import_into(tmp_path, piece)


def test_attributes_of_others_mean_nothing(tmp_path: Path) -> None:
    """A file that says of itself what poise files say, in other types, is read as any other."""
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["a"] = numbers(3, 8)
        file.attrs.update({"kind": "poise-features", "spec": np.arange(3), "fingerprint": "x"})
        file.attrs["kind"] = np.bytes_("käse".encode())
    assert import_into(tmp_path, tmp_path / "emb.h5")[1].n_stored == 1


Maker = Callable[[h5py.File, Path], object]


def create(file: h5py.File, filters: Callable[[h5py.h5p.PropDCID], object], chunk: tuple[int, int]) -> h5py.Dataset:
    """A dataset (4, 8) float32 with filters that h5py itself would not put together."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(chunk)
    filters(settings)
    h5py.h5d.create(file.id, b"bad", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((4, 8)), settings)
    return file["bad"]


def virtual(file: h5py.File, folder: Path) -> None:
    # the other file is a pipe: whoever opens it waits for ever
    os.mkfifo(folder / "pipe")
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    spaces = [h5py.h5s.create_simple((4, 8), (h5py.h5s.UNLIMITED, 8)) for _ in range(2)]
    for space in spaces:
        space.select_hyperslab((0, 0), (1, 1), (1, 1), (h5py.h5s.UNLIMITED, 8))
    settings.set_virtual(spaces[0], os.fsencode(folder / "pipe"), b"/x", spaces[1])
    h5py.h5d.create(file.id, b"bad", h5py.h5t.IEEE_F32LE, spaces[0], settings)


def packed_chunk(data: bytes) -> Maker:
    """One chunk whose bytes are whatever they are."""

    def make(file: h5py.File, folder: Path) -> None:
        create(file, lambda settings: settings.set_deflate(4), (4, 8)).id.write_direct_chunk((0, 0), data)

    return make


def compressed_by(*filters: str) -> Maker:
    def make(file: h5py.File, folder: Path) -> None:
        create(file, lambda settings: [getattr(settings, name)() for name in filters], (4, 8))[...] = 1.0

    return make


def lzf_bomb(file: h5py.File, folder: Path) -> None:
    dataset = file.create_dataset("bad", (700_000, 1), "f4", chunks=(700_000, 1), compression="lzf")
    # references backwards of 264 bytes each
    dataset.id.write_direct_chunk((0, 0), b"\x00x" + b"\xe0\xff\x00" * 800_000)


HOSTILE: dict[str, tuple[Maker, str]] = {
    "external link": (lambda f, _: f.__setitem__("bad", h5py.ExternalLink("/etc/other.h5", "/x")), "link to elsewhere"),
    "soft link": (lambda f, _: f.__setitem__("bad", h5py.SoftLink("/good")), "link to elsewhere"),
    "virtual": (virtual, "its numbers lie in other files"),
    "external storage": (
        lambda f, _: f.create_dataset("bad", (4, 8), "f4", external=[("/etc/passwd", 0, 128)]),
        "its numbers lie in other files",
    ),
    "named type": (lambda f, _: f.__setitem__("bad", np.dtype("f4")), "neither a group nor a dataset"),
    "objects": (lambda f, _: f.create_dataset("bad", (4, 8), h5py.vlen_dtype(np.float32)), "object; expected floats"),
    "texts": (lambda f, _: f.create_dataset("bad", (4, 8), h5py.string_dtype()), "object; expected floats"),
    "references": (lambda f, _: f.create_dataset("bad", (4, 8), h5py.ref_dtype), "object; expected floats"),
    "compound": (lambda f, _: f.create_dataset("bad", (4, 8), [("x", "f4")]), "expected floats or integers"),
    "no space": (lambda f, _: f.create_dataset("bad", data=h5py.Empty("f4")), r"\(\) float32; expected"),
    "scalar": (lambda f, _: f.create_dataset("bad", data=1.0), r"\(\) float64; expected"),
    "absurd shape": (lambda f, _: f.create_dataset("bad", (1 << 40, 8), "f4", chunks=(1, 8)), "larger than 1 GB"),
    "never written": (lambda f, _: f.create_dataset("bad", (4, 8), "f4"), "more than the file holds"),
    "partly written": (
        lambda f, _: f.create_dataset("bad", (4, 8), "f4", chunks=(2, 8)).__setitem__(slice(0, 2), 1.0),
        "a part of it was never written",
    ),
    "large chunks": (
        lambda f, _: f.create_dataset("bad", (4, 8), "f4", chunks=(3_000_000, 8), maxshape=(None, 8)),
        "chunks of 96000000 bytes, at most 64000000",
    ),
    "bomb of zeros": (
        lambda f, _: f.create_dataset(
            "bad", data=np.zeros((1_000_000, 8), "f4"), chunks=(1_000_000, 8), compression="gzip", compression_opts=9
        ),
        "unpacks 31.* bytes to 32000000, more than 1000 times",
    ),
    "bomb in a chunk": (packed_chunk(zlib.compress(bytes(500_000))), "does not unpack to the 128 bytes"),
    "lzf bomb": (lzf_bomb, "does not unpack to the 2800000 bytes"),
    "chunk too long": (packed_chunk(os.urandom(5000)), "a chunk of 5000 bytes that can hold 128"),
    "damaged chunk": (packed_chunk(b"no gzip"), "it is damaged: Error -3"),
    "unknown filter": (
        lambda f, _: f.create_dataset("bad", data=np.ones((4, 8), int), scaleoffset=0),
        r"needs the filters \[6\]; gzip, lzf, shuffle",
    ),
    "compressed twice": (compressed_by("set_deflate", "set_deflate"), r"needs the filters \[1, 1\] in this order"),
    "shuffled afterwards": (compressed_by("set_deflate", "set_shuffle"), r"needs the filters \[1, 2\] in this order"),
    "not finite": (lambda f, _: f.__setitem__("bad", np.full((4, 8), np.nan)), "^an embedding holds NaN"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_dataset_costs_only_itself(tmp_path: Path, kind: str) -> None:
    """No link is followed, no other file opened, nothing unpacked beyond what is safe; the rest is imported."""
    make, message = HOSTILE[kind]
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        file["a"] = file["z"] = numbers(4, 8)
        make(file, tmp_path)
    _, report = import_into(tmp_path, tmp_path / "emb.h5")
    assert report.n_stored == 2
    assert_says(reason_of(report, "bad"), message)


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Change some bytes of a file that are in it once."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def test_chunks_that_claim_to_lie_beyond_the_file_are_not_read(tmp_path: Path) -> None:
    """An address in the file's own index is held against the file's size."""
    path = tmp_path / "emb.h5"
    with h5py.File(path, "w") as file:
        file["a"] = numbers(4, 8)
        chunks = file.create_dataset("bad", data=numbers(4, 8), chunks=(4, 8))
        address = chunks.id.get_chunk_info_by_coord((0, 0)).byte_offset
    replaced(path, struct.pack("<Q", address), struct.pack("<Q", path.stat().st_size - 100))
    _, report = import_into(tmp_path, path)
    assert_says(reason_of(report, "bad"), "claims more than the file holds")


def test_lzf_that_asks_for_much_memory_is_not_read(tmp_path: Path) -> None:
    """The filter's own setting says how much it allocates, and a file can say anything."""
    path = tmp_path / "emb.h5"
    with h5py.File(path, "w") as file:
        file["a"] = numbers(4, 8)
        file.create_dataset("bad", data=np.ones((4, 8), "f4"), chunks=(4, 8), compression="lzf")
    replaced(path, struct.pack("<3I", 4, 261, 128), struct.pack("<3I", 4, 261, 1 << 31))
    _, report = import_into(tmp_path, path)
    assert_says(reason_of(report, "bad"), "chunks that claim to be larger than they are")


def test_large_chunks_of_lzf_are_measured_right(tmp_path: Path) -> None:
    """What LZF packs honestly is imported, also where its length has to be counted, or where it was left out."""
    repeated = np.repeat(np.arange(80_000, dtype=np.float32), 10).reshape(-1, 8)
    random = np.frombuffer(np.random.default_rng(0).bytes(2_400_000), np.uint16).reshape(-1, 8).astype(np.uint16)
    with h5py.File(tmp_path / "emb.h5", "w") as file:
        for name, array in {"a": np.tile(repeated, (5, 1)), "b": random}.items():
            dataset = file.create_dataset(name, data=array, chunks=array.shape, compression="lzf")
            assert dataset.id.get_chunk_info_by_coord((0, 0)).size > 2_000_000
    store, report = import_into(tmp_path, tmp_path / "emb.h5")
    assert report.failed == ()
    np.testing.assert_array_equal(stored(store, "a"), np.tile(repeated, (5, 1)))
    np.testing.assert_array_equal(stored(store, "b"), random)


@pytest.mark.parametrize(
    ("options", "chunk", "mask"),
    [
        ({"compression": "gzip"}, zlib.compress(bytes(64)), 0),
        ({"compression": "gzip"}, bytes(64), 1),
        ({"compression": "gzip"}, zlib.compress(bytes(4000))[:-8], 0),
        ({"compression": "lzf"}, bytes([31]) + bytes(32), 0),
        ({"compression": "lzf"}, bytes(64), 1),
        ({"fletcher32": True}, bytes(12), 0),
        ({"shuffle": True}, bytes(64), 0),
        ({}, bytes(64), 0),
    ],
    ids=["gzip", "gzip left out", "gzip cut off", "lzf", "lzf left out", "checksum", "shuffle", "no filter"],
)
def test_a_chunk_that_is_too_short_never_gives_what_lies_behind_it(
    tmp_path: Path, options: dict[str, object], chunk: bytes, mask: int
) -> None:
    """HDF5 would read on in the memory of the process; the recording is refused and the others are imported."""
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["good"] = np.ones((2, 4), np.float32)
        short = file.create_dataset("short", (2000, 4), "u1", chunks=(1000, 4), **options)
        short[:1000] = 1
        short.id.write_direct_chunk((1000, 0), chunk, mask)
    store = FeatureStore.create(tmp_path / "s")
    report = store.import_features(tmp_path / "f.h5", modality="audio")
    assert report.n_stored == 1
    ((path, reason),) = report.failed
    assert path.endswith("short")
    assert "does not unpack to the 4000 bytes" in reason or "damaged" in reason


def test_many_small_chunks_are_read_in_time(tmp_path: Path) -> None:
    """A dataset that was written row by row takes seconds and not minutes."""
    values = np.arange(240_000, dtype=np.float32).reshape(60_000, 4)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("rows", data=values, chunks=(1, 4))
    store = FeatureStore.create(tmp_path / "s")
    assert store.import_features(tmp_path / "f.h5", modality="audio").n_clips == 60_000
    np.testing.assert_array_equal(store.load().modalities["audio"].values, values)
