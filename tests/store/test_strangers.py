"""Promises about files of strangers: nothing outside the file is read, nothing absurd is allocated, one clear error."""

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from poise.errors import StoreDamagedError, StoreNotFoundError, StoreVersionError
from poise.store import FeatureStore, heal
from tests.store.features import make_features, make_spec, manifest_of

SECRET = "the secret of another file"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A sound export, beside a file with a secret."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec(dtype="float32")) as writer:
        writer.add(make_features("a", n_clips=40))
        writer.add(make_features("b"))
    (tmp_path / "secret.txt").write_text(SECRET * 1000)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["values"] = np.full((43, 8), 7.0, np.float32)
        file["texts"] = np.array([SECRET.encode()] * 2)
    return store.export(tmp_path / "x.h5")


def group_name(path: Path) -> str:
    with h5py.File(path) as file:
        return next(name for name in file if "@" in name)


def replace_dataset(group: h5py.Group, name: str, make: Callable[[h5py.Group, str], None]) -> None:
    del group[name]
    make(group, name)


def virtual(group: h5py.Group, name: str) -> None:
    layout = h5py.VirtualLayout(shape=(43, 8), dtype="f4")
    layout[:] = h5py.VirtualSource("secret.h5", "values", shape=(43, 8))
    group.create_virtual_dataset(name, layout)


def external_raw(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (43, 8), "f4", external=[("secret.txt", 0, 43 * 8 * 4)])


def absurd(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (1 << 44, 8), "f4")


def absurd_chunks(group: h5py.Group, name: str) -> None:
    group.create_dataset(name, (1 << 40, 8), "f4", chunks=(1 << 24, 8), compression="gzip")


def repeat_rows(group: h5py.Group, n_clips: list[int]) -> None:
    """As many recordings as there are counts, whose offsets fit as far as 64 bits can tell."""
    counts = np.array(n_clips, dtype=np.int64)
    for name in list(group["recordings"]):
        column = np.resize(group["recordings"][name][:1], len(counts))
        del group["recordings"][name]
        group["recordings"][name] = column
    group["recordings/n_clips"][...] = counts
    group["recordings/offset"][...] = np.cumsum(counts) - counts


HOSTILE: dict[str, Callable[[h5py.Group], None]] = {
    "external link": lambda g: replace_dataset(
        g, "embeddings", lambda h, n: h.__setitem__(n, h5py.ExternalLink("secret.h5", "values"))
    ),
    "soft link": lambda g: replace_dataset(g, "embeddings", lambda h, n: h.__setitem__(n, h5py.SoftLink("/elsewhere"))),
    "soft link in a circle": lambda g: replace_dataset(
        g, "recordings", lambda h, n: h.__setitem__(n, h5py.SoftLink(f"{h.name}/recordings"))
    ),
    "group in a circle": lambda g: replace_dataset(g, "recordings", lambda h, n: h.__setitem__(n, h)),
    "external link of a column": lambda g: replace_dataset(
        g["recordings"], "path", lambda h, n: h.__setitem__(n, h5py.ExternalLink("secret.h5", "texts"))
    ),
    "external storage": lambda g: replace_dataset(g, "embeddings", external_raw),
    "virtual dataset": lambda g: replace_dataset(g, "embeddings", virtual),
    "absurd shape": lambda g: replace_dataset(g, "embeddings", absurd),
    "absurd chunks": lambda g: replace_dataset(g, "embeddings", absurd_chunks),
    "absurd column": lambda g: replace_dataset(
        g["recordings"], "n_clips", lambda h, n: h.create_dataset(n, (1 << 44,), "i8")
    ),
    "compressed column": lambda g: replace_dataset(
        g["recordings"],
        "n_clips",
        lambda h, n: h.create_dataset(n, data=np.array([40, 3]), chunks=(2,), compression="gzip"),
    ),
    "texts of any length": lambda g: replace_dataset(
        g["recordings"], "path", lambda h, n: h.create_dataset(n, data=["a", "b"], dtype=h5py.string_dtype())
    ),
    "references": lambda g: replace_dataset(
        g["recordings"], "offset", lambda h, n: h.create_dataset(n, (2,), dtype=h5py.ref_dtype)
    ),
    "compound type": lambda g: replace_dataset(
        g["recordings"], "key", lambda h, n: h.create_dataset(n, (2,), dtype=[("a", "S64"), ("b", "O")][:1])
    ),
    "object type": lambda g: replace_dataset(
        g["recordings"], "key", lambda h, n: h.create_dataset(n, (2,), dtype=h5py.vlen_dtype(np.uint8))
    ),
    "big-endian numbers": lambda g: replace_dataset(
        g, "embeddings", lambda h, n: h.create_dataset(n, data=np.zeros((43, 8), ">f4"))
    ),
    "integers": lambda g: replace_dataset(
        g, "embeddings", lambda h, n: h.create_dataset(n, data=np.zeros((43, 8), "<i4"))
    ),
    "other shape": lambda g: replace_dataset(
        g, "embeddings", lambda h, n: h.create_dataset(n, data=np.zeros((43, 9), "<f4"))
    ),
    "fewer clip times": lambda g: replace_dataset(
        g, "clip_times", lambda h, n: h.create_dataset(n, data=np.zeros((42, 2)))
    ),
    "a group where a dataset should be": lambda g: replace_dataset(g, "clip_times", lambda h, n: h.create_group(n)),
    "a dataset where a group should be": lambda g: replace_dataset(
        g, "names", lambda h, n: h.create_dataset(n, (2,), "f4")
    ),
    "a missing part": lambda g: g.__delitem__("runs"),
    "offsets outside": lambda g: g["recordings/offset"].__setitem__(..., [0, 1 << 40]),
    "negative clips": lambda g: g["recordings/n_clips"].__setitem__(..., [44, -1]),
    "clips that wrap around": lambda g: g["recordings/n_clips"].__setitem__(..., [1 << 62, 43 - (1 << 62)]),
    "clips that wrap around to the right sum": lambda g: repeat_rows(g, [1 << 62] * 4 + [43]),
    "a time that is none": lambda g: g["recordings/stored_ms"].__setitem__(..., [1 << 62, 0]),
    "an infinite duration": lambda g: g["recordings/duration_s"].__setitem__(..., [np.inf, 1.0]),
    "an unknown outcome": lambda g: g["recordings/outcome"].__setitem__(..., [b"stored", b"magic"]),
    "a run that is not there": lambda g: g["recordings/run"].__setitem__(..., [0, 5]),
    "a column too short": lambda g: replace_dataset(
        g["recordings"], "attempts", lambda h, n: h.create_dataset(n, data=np.array([1]))
    ),
    "keys that are none": lambda g: g["recordings/key"].__setitem__(..., [b"x" * 64, b"y" * 64]),
    "names of different lengths": lambda g: replace_dataset(
        g["names"], "path", lambda h, n: h.create_dataset(n, data=np.array([b"a", b"b", b"c"]))
    ),
    "another format": lambda g: g.attrs.__setitem__("format_version", 99),
    "a format that is no number": lambda g: g.attrs.__setitem__("format_version", "one"),
    "another fingerprint": lambda g: g.attrs.__setitem__("fingerprint", np.bytes_(b"0" * 16)),
    "a spec of any length": lambda g: g.attrs.__setitem__("spec", "text"),
    "a spec that is no JSON": lambda g: g.attrs.__setitem__("spec", np.bytes_(b"{")),
    "a spec of another set": lambda g: g.attrs.__setitem__(
        "spec", np.bytes_(json.dumps(make_spec(), sort_keys=True, separators=(",", ":")).encode())
    ),
    "a spec without end": lambda g: g.attrs.__setitem__("spec", np.bytes_(b"[" * 50_000)),
    "no spec": lambda g: g.attrs.__delitem__("spec"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_export_is_refused_and_nothing_outside_it_is_read(exported: Path, kind: str) -> None:
    """One clear error that names the file; no number and no text of another file comes in."""
    with h5py.File(exported, "r+") as file:
        HOSTILE[kind](file[group_name(exported)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreDamagedError, match=r"x\.h5.*export") as caught:
        FeatureStore.open(exported).load()
    assert SECRET not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_segment_is_refused_and_named_by_verify(tmp_path: Path, exported: Path, kind: str) -> None:
    """The same in the folder of a store: loading is an error, and verify names the file."""
    store = FeatureStore.open(tmp_path / "s")
    (segment,) = (tmp_path / "s").glob("motion@*/seg-*.h5")
    with h5py.File(segment, "r+") as file:
        HOSTILE[kind](file)
    if kind in (
        "a spec of any length",
        "a spec that is no JSON",
        "a spec of another set",
        "a spec without end",
        "no spec",
    ):
        assert not store.verify().ok  # the folder's own spec is read, a segment's is not
        return
    with pytest.raises(StoreDamagedError, match="poise store verify"):
        store.load()
    (problem,) = store.verify().problems
    assert problem.segment.endswith(segment.name)


def test_other_groups_in_an_export_are_never_looked_into(exported: Path) -> None:
    """Whatever else a file holds under other names does no harm."""
    with h5py.File(exported, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("secret.h5", "values")
        file["loop"] = h5py.SoftLink("/loop")
        file.create_group("notes")["self"] = file
    assert len(FeatureStore.open(exported).load()) == 2


def test_a_set_that_is_a_link_is_refused(exported: Path) -> None:
    """A feature set must lie in the file itself."""
    name = group_name(exported)
    with h5py.File(exported, "r+") as file:
        file.move(name, "kept")
        file[name] = h5py.SoftLink("/kept")
    with pytest.raises(StoreDamagedError, match="is a link to elsewhere"):
        FeatureStore.open(exported).load()


def test_files_that_are_no_export_are_refused(tmp_path: Path) -> None:
    """A text, a foreign HDF5 file, an empty file, a pipe and a newer format each get one clear error."""
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "empty.h5").touch()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["features"] = np.zeros((2, 3))
    with h5py.File(tmp_path / "kind.h5", "w") as file:
        file.attrs["kind"] = np.bytes_(b"photographs")
    for name in ("text", "empty", "foreign", "kind"):
        with pytest.raises(StoreDamagedError, match=f"{name}.h5 is not a store that poise exported.*store import"):
            FeatureStore.open(tmp_path / f"{name}.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(StoreDamagedError, match="not a regular file"):
        FeatureStore.open(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "newer.h5", "w") as file:
        file.attrs["kind"], file.attrs["format_version"] = np.bytes_(b"poise-features"), 99
    with pytest.raises(StoreVersionError, match="format version 99"):
        FeatureStore.open(tmp_path / "newer.h5")
    for names, message in ((b"[", "is no JSON"), (b'{"a":1}', "other things"), (b'["../x"]', "other things")):
        with h5py.File(tmp_path / "list.h5", "w") as file:
            file.attrs["kind"], file.attrs["format_version"] = np.bytes_(b"poise-features"), 1
            file.attrs["feature_sets"] = np.bytes_(names)
        with pytest.raises(StoreDamagedError, match=message):
            FeatureStore.open(tmp_path / "list.h5")
    with pytest.raises(StoreNotFoundError, match="nothing.h5 does not exist"):
        FeatureStore.open(tmp_path / "nothing.h5")


@pytest.mark.parametrize("kind", ["flipped", "other arrays", "other types", "outside", "compressed", "pickle", "text"])
def test_a_cache_that_cannot_be_believed_is_no_cache(tmp_path: Path, kind: str) -> None:
    """A copy of the index that is damaged, of other files, or points outside never gives a number."""
    store = FeatureStore.create(tmp_path / "s")
    for i in range(16):
        with store.writer(make_spec()) as writer:
            writer.add(make_features(f"r{i}"))
    expected = store.load()
    (cache,) = (tmp_path / "s" / "cache").glob("index-*.npz")
    with np.load(cache) as file:
        arrays = {name: file[name] for name in file.files}
    match kind:
        case "flipped":
            data = bytearray(cache.read_bytes())
            where = data.index(arrays["table.offsets"].tobytes())
            data[where + 8] ^= 1
            cache.write_bytes(data)
        case "other arrays":
            np.savez(cache, **{name: array for name, array in arrays.items() if name != "table.keys"})
        case "other types":
            np.savez(cache, **{**arrays, "table.offsets": arrays["table.offsets"].astype(float)})
        case "compressed":
            np.savez_compressed(cache, **arrays)
        case "outside":
            np.savez(cache, **{**arrays, "segments.data_offset": arrays["segments.data_offset"] + (1 << 40)})
        case "pickle":
            np.savez(cache, **{**arrays, "table.attempts": np.array([{"a": 1}] * 16, dtype=object)}, allow_pickle=True)
        case "text":
            cache.write_text("no archive")
    found = FeatureStore.open(tmp_path / "s").load()
    assert found.keys == expected.keys
    np.testing.assert_array_equal(found.modalities["video"].values, expected.modalities["video"].values)


@pytest.mark.parametrize("name", ["poise-store.json", "spec.json", "keys.json", "index"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_never_waited_for(tmp_path: Path, name: str, kind: str) -> None:
    """A pipe, an endless device or a folder in the place of a small file of a store: an error, or no cache."""
    store = FeatureStore.create(tmp_path / "s")
    for i in range(16):
        with store.writer(make_spec()) as writer:
            writer.add(make_features(f"r{i}"))
    manifest = manifest_of(tmp_path, *(f"r{i}.mp4" for i in range(16)))
    store.load(manifest)
    (tmp_path / "s" / "cache" / "keys.json").touch()
    (place,) = [path for path in (tmp_path / "s").rglob("*") if path.is_file() and path.name.startswith(name)]
    place.unlink()
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](place)
    if name.startswith("poise"):
        with pytest.raises((StoreDamagedError, StoreNotFoundError)):
            FeatureStore.open(tmp_path / "s")
    elif name == "spec.json":
        with pytest.raises(StoreDamagedError, match="poise store heal"):
            FeatureStore.open(tmp_path / "s").load(manifest)
        heal(tmp_path / "s")
        assert len(FeatureStore.open(tmp_path / "s").load(manifest)) == 16
    else:
        assert len(FeatureStore.open(tmp_path / "s").load(manifest)) == 16


def test_a_cache_of_another_store_is_no_cache(tmp_path: Path) -> None:
    """Names, sizes and times of every segment must agree, or it is read itself."""
    for name in ("s", "t"):
        store = FeatureStore.create(tmp_path / name)
        for i in range(16):
            with store.writer(make_spec()) as writer:
                writer.add(make_features(f"{name}{i}"))
        store.load()
    (cache,) = (tmp_path / "s" / "cache").glob("index-*.npz")
    shutil.copy(cache, tmp_path / "t" / "cache" / cache.name)
    bags = FeatureStore.open(tmp_path / "t").load(manifest_of(tmp_path, *(f"t{i}.mp4" for i in range(16))))
    for i in range(16):
        np.testing.assert_array_equal(bags[i].values["video"], make_features(f"t{i}").embeddings.astype(np.float16))
