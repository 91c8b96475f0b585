"""Promises of importing numpy files: any array of any size by its name, and never more than is safe."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from poise.errors import ImportFormatError
from poise.store import FeatureStore
from poise.store.identity import name_key
from poise.store.importers.items import Found
from poise.store.importers.plan import ImportOptions, ImportPlan
from poise.store.importers.run import run_import
from poise.store.importers.sources import array_files, folder_files
from tests.store.features import manifest_of
from tests.store.imported import assert_says, import_into, only_set, reason_of, stored


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save_npz(folder: Path, name: str, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **arrays)
    return folder


def save_npy(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", array)
    return folder


def test_an_array_of_any_name_and_size_is_imported(tmp_path: Path) -> None:
    """`key` names the array; (dim,) is one clip; the spec says what is known and that the rest is not."""
    source = save_npz(tmp_path / "egemaps", "a", emb=numbers(3, 88), other=numbers(2))
    save_npz(source, "b", emb=numbers(88, seed=1))
    store, report = import_into(tmp_path, source, key="emb", encoder="opensmile", dtype="float16")
    assert (report.n_stored, report.n_clips, report.failed) == (2, 4, ())
    index = only_set(store)
    assert report.feature_sets == (index.name,)
    assert json.loads(json.dumps(report.to_json())) == {
        "stored": 2,
        "already": 0,
        "failed": 0,
        "columns": [],
        "n_clips": 4,
        "feature_sets": [index.name],
        "problems": [],
    }
    assert index.spec == {
        "schema": 1,
        "modality": "audio",
        "encoder": {"name": "opensmile", "dim": 88},
        "imported": {"collection": "egemaps", "layout": "npz", "key": "emb"},
        "dtype": "float16",
    }
    np.testing.assert_array_equal(stored(store, "a"), numbers(3, 88).astype(np.float16))
    np.testing.assert_array_equal(stored(store, "b"), numbers(1, 88, seed=1).astype(np.float16))
    entry = index[name_key("a")]
    assert entry.paths == ("a.npz",)
    assert np.isnan(entry.duration_s)
    assert np.isnan(index.clip_times(name_key("a"))).all()
    (run,) = index.runs()
    assert (run["command"], run["source"], run["layout"], run["key"]) == ("import", "egemaps", "npz", "emb")
    assert store.verify().ok


def test_arrays_of_several_layers_keep_their_layers(tmp_path: Path) -> None:
    """(n_clips, n_layers, dim) becomes a feature set with layers."""
    source = save_npz(tmp_path / "layers", "a", hidden=numbers(4, 3, 8))
    save_npz(source, "flat", hidden=numbers(4, 8))
    store, report = import_into(tmp_path, source, key="hidden")
    assert only_set(store).spec["encoder"] == {"name": "hidden", "dim": 8, "n_layers": 3}
    np.testing.assert_array_equal(stored(store, "a"), numbers(4, 3, 8))
    assert_says(reason_of(report, "flat.npz"), r"shape \(4, 8\), expected \(n_clips, 3, 8\)")


@pytest.mark.parametrize("packed", ["folder", "zip", "npz", "file"])
def test_npy_files_need_only_a_modality(tmp_path: Path, packed: str) -> None:
    """Each .npy of a folder or a ZIP is one recording; an .npz with one array for each recording is such a ZIP."""
    source = save_npy(tmp_path / "ivectors", "a", numbers(3, 5))
    save_npy(source / "more", "b.cut", np.asfortranarray(numbers(2, 5, seed=1)))
    save_npy(source / ".hidden", "c", numbers(2, 5))
    if packed in ("zip", "npz"):
        archive = tmp_path / f"ivectors.{packed}"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in source.rglob("*.npy"):
                file.write(path, path.relative_to(source).as_posix())
        source = archive
    elif packed == "file":
        source = source / "a.npy"
    store, report = import_into(tmp_path, source, modality="video", collection="c")
    assert (report.n_stored, report.failed) == (1 if packed == "file" else 2, ())
    assert only_set(store).spec["encoder"] == {"name": source.stem, "dim": 5}
    np.testing.assert_array_equal(stored(store, "a"), numbers(3, 5))
    if packed != "file":
        np.testing.assert_array_equal(stored(store, "b.cut"), numbers(2, 5, seed=1))
        assert store.load(manifest_of(tmp_path, "b.cut.wav")).modalities["video"].n_clips.tolist() == [2]


def test_one_npz_is_one_recording(tmp_path: Path) -> None:
    """A single .npz is imported as a folder of only this file would be."""
    source = save_npz(tmp_path / "c", "a", clips=numbers(2, 1536), emb=numbers(2, 4)) / "a.npz"
    store, report = import_into(tmp_path, source, key="emb")
    assert report.n_stored == 1
    assert stored(store, "a").shape == (2, 4)
    assert FeatureStore.create(tmp_path / "other").import_npz(source).n_clips == 2


@pytest.mark.parametrize("dtype", ["int16", "uint8", ">f8", "float16", "longdouble"])
def test_numbers_of_every_type_are_imported(tmp_path: Path, dtype: str) -> None:
    """Integers and floats of any size and byte order are stored as the dtype that was chosen."""
    values = np.arange(12).reshape(3, 4).astype(dtype)
    store, _ = import_into(tmp_path, save_npy(tmp_path / "c", "a", values))
    assert stored(store, "a").dtype == np.float32
    np.testing.assert_array_equal(stored(store, "a"), np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (numbers(3, 9), r"shape \(3, 9\), expected \(n_clips, 8\)"),
        (numbers(2, 3, 8), r"shape \(2, 3, 8\), expected \(n_clips, 8\)"),
        (numbers(2, 2, 2, 8), r"\(2, 2, 2, 8\) float32; expected floats or integers of shape \(n_clips, dim\)"),
        (np.float32(3), r"\(\) float32; expected floats or integers"),
        (numbers(0, 8), r"\(0, 8\) float32; expected"),
        (np.ones((3, 8), bool), "bool; expected floats or integers"),
        (np.ones((3, 8), complex), "complex128; expected floats or integers"),
        (np.full((3, 8), "x"), "<U1; expected floats or integers"),
        (np.full((3, 8), np.inf), "^an embedding holds NaN or infinity"),
        (np.full((3, 8), 1e39), "of size 1e.39 does not fit in float32"),
        (np.array([{"a": 1}], dtype=object), "Python objects, which are never loaded"),
    ],
)
def test_an_array_that_does_not_fit_costs_only_itself(tmp_path: Path, array: np.ndarray, message: str) -> None:
    """The first sound array says the size; each other one is refused by name and reason, and the rest goes on."""
    source = save_npy(tmp_path / "c", "a", numbers(3, 8))
    save_npy(source, "b", array)
    save_npy(source, "c", numbers(1, 8))
    store, report = import_into(tmp_path, source)
    assert report.n_stored == 2
    assert_says(reason_of(report, "b.npy"), message)
    assert store.verify().ok


def test_what_is_not_sound_does_not_say_the_size(tmp_path: Path) -> None:
    """A first recording of NaN is refused, and the size is that of the next one."""
    source = save_npy(tmp_path / "c", "a", np.full((3, 9), np.nan))
    save_npy(source, "b", numbers(3, 8))
    store, report = import_into(tmp_path, source)
    assert only_set(store).spec["encoder"]["dim"] == 8
    assert_says(reason_of(report, "a.npy"), "NaN")


def test_an_absent_key_names_what_is_there(tmp_path: Path) -> None:
    """A file without the array is refused with the names, shapes and types of what it holds, pickles unread."""
    source = save_npz(tmp_path / "c", "a", emb=numbers(2, 4))
    save_npz(source, "b", x=numbers(3), y=np.array([{}]), **{f"z{i}": numbers(1) for i in range(8)})
    with zipfile.ZipFile(source / "c.npz", "w") as archive:
        archive.writestr("readme.txt", "text")
    _, report = import_into(tmp_path, source, key="emb")
    assert_says(reason_of(report, "b.npz"), r"`x` \(3,\) float32, `y` \(1,\) object, .*2 more; expected an array `emb`")
    assert_says(reason_of(report, "c.npz"), r"`readme.txt` \(not an array that can be read.*expected an array `emb`")


def test_what_is_too_large_is_not_unpacked(tmp_path: Path) -> None:
    """A member or file that says to be larger than 1 GB, or that would be as float32, is refused unread."""
    source = save_npy(tmp_path / "c", "a", numbers(2, 4))
    with (source / "sparse.npy").open("wb") as file:
        file.truncate((1 << 30) + 1)
    np.lib.format.open_memmap(source / "bytes.npy", mode="w+", dtype=np.int8, shape=(300_000, 1000)).flush()
    _, report = import_into(tmp_path, source)
    assert report.failed == (("bytes.npy", "larger than 1 GB"), ("sparse.npy", "larger than 1 GB"))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(source / "a.npy", "a.npy")
        archive.write(source / "a.npy", "b.npy")
    data = bytearray((tmp_path / "c.zip").read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (1 << 31).to_bytes(4, "little")
    (tmp_path / "c.zip").write_bytes(data)
    _, report = import_into(tmp_path, tmp_path / "c.zip", collection="zip")
    assert report.failed == (("b.npy", "larger than 1 GB"),)


def test_a_file_that_goes_away_costs_only_itself(tmp_path: Path) -> None:
    """What cannot be opened when its turn comes is an error of that file."""
    source = save_npy(tmp_path / "c", "a", numbers(2, 4))
    (file,) = array_files(source, ".npy")
    (source / "a.npy").unlink()
    with pytest.raises(ImportFormatError, match="cannot be read: No such file"):
        file.open()  # type: ignore[union-attr]


def test_a_folder_that_goes_away_costs_only_itself(tmp_path: Path) -> None:
    """What cannot be listed is refused by name, since nobody knows what was in it."""
    save_npy(tmp_path / "c" / "sub", "b", numbers(2, 4))
    files = folder_files(save_npy(tmp_path / "c", "a", numbers(2, 4)), (".npy",))
    assert next(files) == ("a.npy", tmp_path / "c" / "a.npy")
    shutil.rmtree(tmp_path / "c" / "sub")
    (refused,) = files
    assert_says(refused.reason, "cannot be listed: No such file")  # type: ignore[union-attr]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Pipes and broken links are refused by name, links to files are followed, a lone pipe is refused."""
    source = save_npy(tmp_path / "c", "a", numbers(2, 4))
    save_npy(tmp_path / "elsewhere", "b", numbers(1, 4))
    os.mkfifo(source / "pipe.npy")
    (source / "b.npy").symlink_to(tmp_path / "elsewhere" / "b.npy")
    (source / "gone.npy").symlink_to(tmp_path / "nowhere")
    _, report = import_into(tmp_path, source)
    assert report.n_stored == 2
    assert reason_of(report, "pipe.npy") == "not a regular file"
    assert_says(reason_of(report, "gone.npy"), "cannot be read: No such file")
    with pytest.raises(ImportFormatError, match="not a regular file"):
        import_into(tmp_path, source / "pipe.npy")


def test_names_tell_recordings_apart(tmp_path: Path) -> None:
    """The second file of a name is refused and names the first; a name that no table could hold is refused."""
    source = save_npy(tmp_path / "c", "a", numbers(2, 4))
    save_npy(source / "sub", "a", numbers(2, 4, seed=1))
    store, report = import_into(tmp_path, source)
    assert_says(reason_of(report, "sub/a.npy"), "^a.npy has the same name")
    np.testing.assert_array_equal(stored(store, "a"), numbers(2, 4))
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as archive:
        archive.write(source / "a.npy", "a.npy")
        archive.write(source / "a.npy", f"{'x' * 5000}.npy")
    _, report = import_into(tmp_path, tmp_path / "long.zip")
    assert report.failed[0][1] == "its name is longer than 4096 characters"


def test_importing_again_compares_in_the_stored_type(tmp_path: Path) -> None:
    """The same numbers are there already, also when they were rounded; others are refused and change nothing."""
    source = save_npy(tmp_path / "c", "a", numbers(2, 4))
    import_into(tmp_path, source, dtype="float16")
    store, report = import_into(tmp_path, source, dtype="float16")
    assert (report.n_stored, report.n_already, report.n_clips) == (0, 1, 0)
    assert report.feature_sets == (only_set(store).name,)
    save_npy(source, "a", numbers(2, 4, seed=1))
    with pytest.raises(ImportFormatError, match="other values under this name; import it as another --collection"):
        import_into(tmp_path, source, dtype="float16")
    np.testing.assert_array_equal(stored(store, "a"), numbers(2, 4).astype(np.float16))
    assert import_into(tmp_path, source, dtype="float16", collection="second")[1].n_stored == 1


def test_what_is_missing_later_takes_nothing_away(tmp_path: Path) -> None:
    """A file with one modality less than before is there already: nothing is stored over what is known."""
    store = FeatureStore.create(tmp_path / "s")
    store.import_npz(save_npz(tmp_path / "c", "a", vmae=numbers(768), wavl=numbers(768)))
    report = store.import_npz(save_npz(tmp_path / "c", "a", vmae=numbers(768)))
    assert (report.n_stored, report.n_already) == (0, 1)
    assert store.load(manifest_of(tmp_path, "a.mp4")).modalities["audio"].n_clips.tolist() == [1]


def test_both_modalities_are_of_one_run(tmp_path: Path) -> None:
    """What one command imports is one run, in however many feature sets."""
    store = FeatureStore.create(tmp_path / "s")
    store.import_npz(save_npz(tmp_path / "c", "a", clips=numbers(2, 1536)))
    runs = [run["run"] for index in store.indexes() for run in index.runs()]
    assert len(runs) == 2
    assert runs[0] == runs[1]


def test_a_store_that_is_compacted_meanwhile_is_read_again(tmp_path: Path) -> None:
    """What is there already is found also when another process compacts the store during an import."""
    source = tmp_path / "c"
    for name in ("a", "b"):
        store, _ = import_into(tmp_path, save_npy(source, name, numbers(2, 4)))
    options = ImportOptions(modality="audio")
    plan = ImportPlan(
        source=source, options=options, layout="npy", encoders={"audio": "c"}, expected="", nothing="nothing"
    )

    def items():
        for name in ("a", "b"):
            yield Found(path=f"{name}.npy", name=name, arrays={"audio": numbers(2, 4)})
            store.compact()

    assert run_import(store.folder, plan, items()).n_already == 2


def test_import_features_takes_a_path_relative_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection of `.` is the name of the folder it is."""
    monkeypatch.chdir(save_npy(tmp_path / "here", "a", numbers(2, 4)))
    store = FeatureStore.create(tmp_path / "s")
    store.import_features(Path(), modality="video")
    assert only_set(store).spec["imported"] == {"collection": "here", "layout": "npy"}


def test_a_zip_that_unpacks_to_far_more_than_numbers_do_is_not_unpacked(tmp_path: Path) -> None:
    """50 MB of zeros in 50 kB; as a member and in an .npz. A small array of zeros is no bomb."""
    buffer, small = io.BytesIO(), io.BytesIO()
    np.save(buffer, np.zeros((125_000, 100), np.float32))
    np.save(small, np.zeros((1000, 100), np.float32))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", buffer.getvalue())
        archive.writestr("silence.npy", small.getvalue())
    _, report = import_into(tmp_path, tmp_path / "c.zip")
    assert_says(reason_of(report, "bomb.npy"), "unpacks to more than 200 times its size")
    assert report.n_stored == 1
    save_npz(tmp_path / "c", "silence", x=np.zeros((1000, 100), np.float32))
    with zipfile.ZipFile(tmp_path / "c" / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", buffer.getvalue())
    _, report = import_into(tmp_path, tmp_path / "c", key="x")
    assert_says(reason_of(report, "bomb.npz"), "unpacks to more than 200 times its size")
    assert report.n_stored == 1
