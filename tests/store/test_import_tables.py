"""Promises of importing tables: OpenFace and openSMILE are understood, bad cells are named, memory is bounded."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from poise.errors import FeaturesMissingError, ImportFormatError, MissingDependencyError
from poise.store import FeatureStore
from poise.store.identity import name_key
from tests.store.features import manifest_of
from tests.store.imported import assert_says, import_into, only_set, reason_of, stored


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def openface(path: Path, n_rows: int, *, seed: int = 0) -> np.ndarray:
    """A table as OpenFace writes it; returns its AU intensities."""
    values = np.random.default_rng(seed).random((n_rows, 4)).round(3)
    lines = ["frame, face_id, timestamp, confidence, success, gaze_0_x, AU01_r, AU02_r, AU45_r, AU01_c"]
    for i, (gaze, *intensities) in enumerate(values):
        cells = ", ".join(f"{value:.3f}" for value in intensities)
        lines.append(f"{i + 1}, 0, {i / 25:.3f}, 0.98, 1, {gaze:.3f}, {cells}, {i % 2}")
    write(path, "\n".join(lines) + "\n")
    return values[:, 1:]


def test_a_folder_of_openface_tables(tmp_path: Path) -> None:
    """One table for each recording, blanks in the header, columns by a pattern, clips from timestamp to timestamp."""
    source = tmp_path / "openface"
    made = {name: openface(source / f"{name}.csv", 3, seed=i) for i, name in enumerate(["s1_v01", "s1_v02.cut"])}
    write(source / "s1_v01_of_details.txt", "not a table")
    store, report = import_into(
        tmp_path, source, modality="video", encoder="openface", columns=["AU*_r"], start_column="timestamp"
    )
    assert (report.n_stored, report.n_clips, report.failed) == (2, 6, ())
    for name, values in made.items():
        np.testing.assert_array_equal(stored(store, name), values.astype(np.float32))
    index = only_set(store)
    times = [[0.0, 0.04], [0.04, 0.08], [0.08, 0.12]]
    np.testing.assert_allclose(index.clip_times(name_key("s1_v01")), times)
    columns = ["AU01_r", "AU02_r", "AU45_r"]
    assert index.spec == {
        "schema": 1,
        "modality": "video",
        "encoder": {"name": "openface", "dim": 3},
        "imported": {
            "collection": "openface",
            "layout": "table",
            "columns_sha256": hashlib.sha256(json.dumps(columns, separators=(",", ":")).encode()).hexdigest(),
        },
        "dtype": "float32",
    }
    (run,) = index.runs()
    assert (run["columns"], run["start_column"], run["source"]) == (columns, "timestamp", "openface")
    assert index[name_key("s1_v01")].paths == ("s1_v01.csv",)
    assert store.verify().ok


def test_all_columns_of_numbers_are_features_by_default(tmp_path: Path) -> None:
    """All but those of times, of texts, of nothing, and those without a name, as pandas writes its row numbers."""
    header = ",start,end,speaker,f0,empty,loudness,note\n"
    write(tmp_path / "c" / "a.csv", header + "0,0,2.5,anna,1e2,,-3,7\n1,1,3.5,anna,nan,,4,x\n2,2,9,anna,3,,5,y\n")
    write(tmp_path / "c" / "b.csv", header + "0,0,2.5,anna,1e2,,-3,7\n1,1,3.5,anna,2,,4,x\n\n2,2,9,anna,3,,5,y\n")
    store, report = import_into(tmp_path, tmp_path / "c", start_column="start", end_column="end")
    np.testing.assert_array_equal(stored(store, "b"), [[100, -3], [2, 4], [3, 5]])
    assert only_set(store).clip_times(name_key("b")).tolist() == [[0, 2.5], [1, 3.5], [2, 9]]
    assert reason_of(report, "a.csv") == "line 3: the column 'f0' holds nan, no finite number"
    assert only_set(store).runs()[0]["columns"] == ["f0", "loudness"]


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_a_table_of_opensmile(tmp_path: Path, quote: str) -> None:
    """Semicolons, quoted names, names of columns with brackets; one row for each recording."""
    lines = ["name;frameTime;F0_sma;pcm_fftMag_mfcc[1]_mean;text"]
    lines += [f"{quote}rec {i}{quote};0.0;{i}.5;-{i};x" for i in range(3)]
    source = write(tmp_path / "egemaps.csv", "\n".join(lines))
    store, report = import_into(
        tmp_path, source, id_column="name", columns=["pcm_fftMag_mfcc[1]_mean", "F0*", "F?_sma", "pcm*"]
    )
    assert (report.n_stored, report.n_clips) == (3, 3)
    for i in range(3):
        np.testing.assert_array_equal(stored(store, f"rec {i}"), [[-i, i + 0.5]])
    assert only_set(store)[name_key("rec 0")].paths == ("rec 0",)
    assert only_set(store).spec["encoder"]["name"] == "egemaps"


def test_a_table_of_clips(tmp_path: Path) -> None:
    """The rows of a recording stand together and are its clips, with their times, however many blocks they fill."""
    rng = np.random.default_rng(0)
    counts = {"a": 1, "b": 15_000, "c": 2, "007": 3}
    rows = [(name, clip, *rng.random(20)) for name, n in counts.items() for clip in range(n)]
    text = "\n".join("\t".join(map(str, row)) for row in rows)
    source = write(tmp_path / "clips.tsv", "\ufeffid\tstart\t" + "\t".join(f"x{i}" for i in range(20)) + f"\n{text}\n")
    store, report = import_into(tmp_path, source, id_column="id", start_column="start")
    assert (report.n_stored, report.n_clips, report.failed) == (4, len(rows), ())
    for name in counts:
        mine = [row for row in rows if row[0] == name]
        np.testing.assert_array_equal(stored(store, name), np.array([row[2:] for row in mine], np.float32))
    times = only_set(store).clip_times(name_key("c"))
    assert times.tolist() == [[0, 1], [1, 2]]
    assert np.array_equal(only_set(store).clip_times(name_key("a")), [[0, np.nan]], equal_nan=True)


def test_ids_that_come_back_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    """A recording whose rows do not stand together is named once with the line, and no part of it is stored."""
    rows = "a,1\nb,2\na,3\na,4\nc,5\nb,6\n,7\nd,8\n,9\nlong,0,1\n"
    source = write(tmp_path / "clips.csv", f"id,x\n{rows}short\ne,1\n")
    store, report = import_into(tmp_path, source, id_column="id")
    assert report.n_stored == 3
    assert sorted(only_set(store)) == sorted(map(name_key, "cde"))
    assert_says(reason_of(report, "a"), "do not stand together: it comes back at line 4. Sort the table by id")
    assert_says(reason_of(report, "b"), "comes back at line 7")
    assert_says(reason_of(report, "clips.csv"), "line 8 has no id in the column 'id'")
    assert_says(reason_of(report, "long"), "line 11: it has 3 fields, the header has 2")
    assert_says(reason_of(report, "short"), "line 12: it has 1 fields, the header has 2")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("abc", "line 3: the column 'y' holds 'abc', no number"),
        ("", "line 3: the column 'y' is empty"),
        ("NaN", "line 3: the column 'y' holds nan, no finite number"),
        ("-inf", "line 3: the column 'y' holds -inf, no finite number"),
        ("1e999", "line 3: the column 'y' holds inf"),
        ("1_000", "holds '1_000', no number"),
        ("True", "holds 'True', no number"),
        ("1e300", "an embedding of size 1e.300 does not fit in float32"),
    ],
)
def test_a_bad_cell_refuses_its_recording_and_names_the_column(tmp_path: Path, cell: str, message: str) -> None:
    """Nothing is guessed in the place of what is no number, and the other recordings are imported."""
    source = write(tmp_path / "clips.csv", f"id,x,y\na,1,2\nb,1,{cell}\nb,1,1\nc,1,2\n")
    store, report = import_into(tmp_path, source, id_column="id")
    assert report.n_stored == 2
    assert_says(reason_of(report, "b"), message)
    assert store.verify().ok


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ("2,3,1\n1,2,1\n", {"start_column": "t"}, "clip 2 starts at 1.0 s, not after the one before, at 2.0 s"),
        ("2,3,1\n2,4,1\n", {"start_column": "t"}, "sort by start, or give an end_column too"),
        ("2,3,1\n3,1,1\n", {"start_column": "t", "end_column": "u"}, "clip 2 ends at 1.0 s, before it begins at 3.0 s"),
        ("2,,1\n", {"start_column": "t", "end_column": "u"}, "line 2: the column 'u' is empty"),
    ],
)
def test_times_that_cannot_be_are_refused(tmp_path: Path, rows: str, settings: dict[str, str], message: str) -> None:
    """A clip does not end before it begins, and starts alone ascend."""
    write(tmp_path / "c" / "a.csv", f"t,u,x\n{rows}")
    write(tmp_path / "c" / "b.csv", "t,u,x\n1,1,1\n")
    _, report = import_into(tmp_path, tmp_path / "c", columns=["x"], **settings)
    assert report.n_stored == 1
    assert_says(reason_of(report, "a.csv"), message)


def test_other_times_are_other_features(tmp_path: Path) -> None:
    """Importing again with times that were not known before does not pass for the same."""
    source = write(tmp_path / "clips.csv", "id,t,x\na,1,2\n")
    import_into(tmp_path, source, id_column="id", columns=["x"])
    assert import_into(tmp_path, source, id_column="id", columns=["x"])[1].n_already == 1
    with pytest.raises(ImportFormatError, match="other clip times under this name"):
        import_into(tmp_path, source, id_column="id", columns=["x"], start_column="t")


def test_tables_of_a_folder_have_the_same_columns(tmp_path: Path) -> None:
    """The first table says which; another order is the same, fewer or more are refused by name."""
    source = tmp_path / "c"
    write(source / "a.csv", "\n")
    write(source / "b.csv", "x,y\n1,2\n")
    write(source / "c.tsv", "y\tx\n2\t1\n3\t4\n")
    write(source / "d.csv", "x,z\n1,2\n")
    write(source / "e.csv", "x,y,z\n1,2,3\n")
    write(source / "f.csv", "x,y\n")
    write(source / "g.csv", "x,y\n1,?\n")
    (source / "h.csv").write_bytes(b"x,y\n1,\xff\n")
    write(source / "i.csv", 'x,y\n"1,2\n')
    write(source / "j.csv", "x,x\n1,2\n")
    write(source / "sub" / "b.csv", "x,y\n1,2\n")
    store, report = import_into(tmp_path, source)
    assert report.n_stored == 2
    np.testing.assert_array_equal(stored(store, "c"), [[1, 2], [4, 3]])
    for name, message in {
        "a.csv": "a.csv has no header",
        "d.csv": "it lacks 'y' of the first table",
        "e.csv": "it has 'z', which the first table has not; say with columns",
        "f.csv": "There is no column of numbers to take as features. It has 'x', 'y'",
        "g.csv": "it lacks 'y' of the first table, or they hold no numbers",
        "h.csv": "h.csv is not UTF-8 text",
        "i.csv": "i.csv cannot be read as a table: unexpected end of data",
        "j.csv": "j.csv has two columns named 'x'",
        "sub/b.csv": "^b.csv has the same name",
    }.items():
        assert_says(reason_of(report, name), message)
    _, report = import_into(tmp_path, source, columns=["x", "y"], collection="two")
    assert report.n_stored == 3
    assert reason_of(report, "f.csv") == "it has no rows"
    assert_says(reason_of(report, "d.csv"), "There is no column 'y'. It has 'x', 'z'")
    assert_says(reason_of(report, "g.csv"), "line 2: the column 'y' holds '[?]', no number")


def test_a_folder_of_broken_tables_says_why(tmp_path: Path) -> None:
    """If nothing can be imported, the first reasons are the error."""
    write(tmp_path / "c" / "a.csv", "")
    with pytest.raises(ImportFormatError, match=r"Nothing in .*a.csv: a.csv has no header.*Understood are tables"):
        import_into(tmp_path, tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("id,x\na,1\n", {}, "is one table.*Give the id_column .--id.; its columns are 'id', 'x'"),
        ("id,x\na,1\n", {"id_column": "name"}, "clips.csv: There is no column 'name'. It has 'id', 'x'"),
        ("id,x\na,1\n", {"id_column": "id", "start_column": "t"}, "There is no column 't'"),
        ("id,x\na,1\n", {"id_column": "id", "columns": ["AU*"]}, "There is no column 'AU[*]'"),
        ("id,x\na,b\n", {"id_column": "id"}, "no column of numbers"),
        ("id,x\n", {"id_column": "id", "columns": ["x"]}, "it has no rows"),
        ("id,x\na,1\n" + '"', {"id_column": "id"}, "unexpected end of data"),
        ("id,x\na,1\n" + "b" * 200_000, {"id_column": "id"}, "field larger than field limit"),
        ("id,x\na,1\n" + "b," * (1 << 23), {"id_column": "id"}, "a line is longer than 16777216"),
        (f"id,{','.join(f'x{i}' for i in range(30))}\n", {"id_column": "i"}, "'x18' and 11 more"),
        ("id,x\n\0,1\n", {"id_column": "id"}, "is no name of a recording"),
    ],
)
def test_a_table_that_cannot_be_imported_stores_nothing(
    tmp_path: Path, text: str, settings: dict[str, object], message: str
) -> None:
    """A table is read to its end before its first recording is stored."""
    with pytest.raises(ImportFormatError, match=message):
        import_into(tmp_path, write(tmp_path / "clips.csv", text), **settings)
    assert not list((tmp_path / "store").rglob("seg-*"))


def test_a_column_named_by_hand_is_taken_as_it_is(tmp_path: Path) -> None:
    """A column of times can be a feature too if it is asked for by its name; a pattern does not take it."""
    source = write(tmp_path / "clips.csv", "id,t,x\na,1,2\n")
    store, _ = import_into(tmp_path, source, id_column="id", start_column="t", columns=["t", "x"])
    np.testing.assert_array_equal(stored(store, "a"), [[1, 2]])
    _, report = import_into(tmp_path, source, id_column="id", start_column="t", columns="*", collection="b")
    assert report.n_stored == 1
    assert sorted(s.dim for s in store.feature_sets()) == [1, 2]


def test_a_recording_of_more_than_1_gb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a recording are gathered up to a bound, and beyond it only the reason is kept."""
    from poise.store.importers import tables

    monkeypatch.setattr(tables, "MAX_BYTES", 100)
    source = write(tmp_path / "clips.csv", "id,x\n" + "a,1\n" * 12 + "b,1\n" * 13 + "c,1\n")
    _, report = import_into(tmp_path, source, id_column="id")
    assert report.failed == (("b", "larger than 1 GB"),)
    assert report.n_stored == 2


def test_a_table_of_60_mb_takes_little_memory(tmp_path: Path) -> None:
    """A table is read in blocks: memory grows neither with its length nor with the number of recordings."""
    cells = ",".join(["0.123456"] * 120)
    with (tmp_path / "clips.csv").open("w", encoding="utf-8") as file:
        file.write("id," + ",".join(f"x{i}" for i in range(120)) + "\n")
        for recording in range(280):
            file.write(f"r{recording},{cells}\n" * 200)
    assert (tmp_path / "clips.csv").stat().st_size > 60_000_000
    code = f"""
import resource
from pathlib import Path
from poise.store import FeatureStore
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store, before = FeatureStore.create({str(tmp_path / "s")!r}), peak()
report = store.import_features(Path({str(tmp_path / "clips.csv")!r}), modality="audio", id_column="id")
print(report.n_stored, report.n_clips, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    n_stored, n_clips, grown_kb = map(int, done.stdout.split())

    assert (n_stored, n_clips) == (280, 56_000)
    # 27 MB of numbers are collected for one segment, which is built in memory
    assert grown_kb < 120_000


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is optional; a table that needs it is not skipped in silence."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(tmp_path / "c" / "0.csv", "x\n1\n")
    source = write(tmp_path / "c" / "a.parquet", "PAR1").parent
    for table in (source, source / "a.parquet"):
        with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
            import_into(tmp_path, table, columns=["x"])
    assert not list((tmp_path / "store").rglob("seg-*"))


@pytest.fixture
def arrow():
    pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    return pa


def save_parquet(path: Path, columns: dict[str, object]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=1000)
    return path


def test_a_parquet_table(tmp_path: Path, arrow) -> None:
    """Ids are texts, categories or integers; features integers, floats and decimals; over many batches."""
    n = 150_000
    rng = np.random.default_rng(0)
    columns = {
        " id ": arrow.array([f"r{i // 50_000}" for i in range(n)]).dictionary_encode(),
        "number": np.arange(n) // 50_000,
        "start": np.arange(n) / 2,
        "F0.mean": rng.random(n),
        "count": np.arange(n, dtype=np.int16) % 7,
        "text": ["x"] * n,
        "flag": [True] * n,
    }
    source = save_parquet(tmp_path / "clips.parquet", columns)
    store, report = import_into(tmp_path, source, id_column="id", start_column="start", columns=["F0.mean", "count"])
    assert (report.n_stored, report.n_clips, report.failed) == (3, n, ())
    expected = np.stack([columns["F0.mean"], columns["count"]], axis=1).astype(np.float32)
    for i in range(3):
        np.testing.assert_array_equal(stored(store, f"r{i}"), expected[50_000 * i : 50_000 * (i + 1)])
    assert only_set(store).clip_times(name_key("r1"))[0].tolist() == [25_000, 25_000.5]
    _, report = import_into(tmp_path, source, id_column="number", collection="numbers")
    assert report.n_stored == 3
    (index,) = [index for index in store.indexes() if index.spec["imported"]["collection"] == "numbers"]
    assert index.runs()[0]["columns"] == ["start", "F0.mean", "count"]
    assert name_key("2") in index


def test_the_same_table_is_the_same_features_in_any_format(tmp_path: Path, arrow) -> None:
    """A CSV and a Parquet of one name and content go into one feature set."""
    import_into(tmp_path, write(tmp_path / "clips.csv", "id,x,y\na,1,2\nb,3,4\n"), id_column="id")
    source = save_parquet(tmp_path / "clips.pq", {"id": ["a", "b"], "x": [1, 3], "y": [2.0, 4.0]})
    assert import_into(tmp_path, source, id_column="id")[1].n_already == 2


def test_bad_parquet_is_named(tmp_path: Path, arrow) -> None:
    """Nulls, NaN, columns that are no numbers, ids that are neither texts nor integers, and damaged files."""
    columns = {"id": ["a", "b", "b", "c", None], "x": [1.0, 2.0, None, np.nan, 5.0], "n": [[1.0]] * 5}
    source = save_parquet(tmp_path / "clips.parquet", columns)
    _, report = import_into(tmp_path, source, id_column="id")
    assert report.n_stored == 1
    assert reason_of(report, "b") == "row 3: the column 'x' holds nan, no finite number"
    assert_says(reason_of(report, "c"), "row 4: the column 'x'")
    assert_says(reason_of(report, "clips.parquet"), "row 5 has no id")
    with pytest.raises(ImportFormatError, match="the column 'n' is list<.*which is no number. Choose others"):
        import_into(tmp_path, source, id_column="id", columns=["n"])
    with pytest.raises(ImportFormatError, match="the id column 'x' is double. Expected texts or integers"):
        import_into(tmp_path, source, id_column="x", columns=["x"])
    with pytest.raises(ImportFormatError, match="broken.parquet cannot be read as Parquet"):
        import_into(tmp_path, write(tmp_path / "broken.parquet", "PAR1 no"), id_column="id")


def test_a_table_damaged_in_its_middle_keeps_what_came_before(tmp_path: Path, arrow) -> None:
    """Recordings before the damage are whole, the one in it is refused, and it is said that nothing after is there."""
    n = 6000
    rng = np.random.default_rng(0)
    columns = {"id": [f"r{i // 1500}" for i in range(n)], **{f"x{i}": rng.random(n) for i in range(100)}}
    source = save_parquet(tmp_path / "clips.parquet", columns)
    from pyarrow import parquet

    place = parquet.ParquetFile(source).metadata.row_group(3).column(1).data_page_offset
    data = bytearray(source.read_bytes())
    data[place : place + 40] = b"\xff" * 40
    source.write_bytes(data)
    store, report = import_into(tmp_path, source, id_column="id")
    assert list(only_set(store)) == [name_key("r0")]
    ((name, reason),) = report.failed
    assert name == "r1"
    assert_says(reason, "cannot be read as Parquet.*Nothing after is imported")


def test_a_folder_of_parquet_tables(tmp_path: Path, arrow) -> None:
    """One table for each recording, also of different formats."""
    save_parquet(tmp_path / "c" / "a.parquet", {"x": [1, 2], "y": [3, 4]})
    write(tmp_path / "c" / "b.csv", "x,y\n5,6\n")
    store, report = import_into(tmp_path, tmp_path / "c")
    assert report.n_stored == 2
    np.testing.assert_array_equal(stored(store, "a"), [[1, 3], [2, 4]])


def test_an_id_that_is_a_path_is_called_as_a_file_would_be(tmp_path: Path) -> None:
    """Folders and the ending of a media file are no part of a recording's name; openSMILE writes both."""
    table = tmp_path / "smile.csv"
    table.write_text("name;f0\n'/data/wav/s1_v01.wav';1\n'C:\\wav\\s1_v02.WAV';2\n's1_v03.cut';3\n")
    store = FeatureStore.create(tmp_path / "s")
    store.import_features(table, id_column="name", modality="audio")
    bags = store.load(manifest_of(tmp_path, "s1_v01.mp4", "s1_v02", "s1_v03.cut.mov"))
    assert bags.modalities["audio"].values.ravel().tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(FeaturesMissingError, match=r"the set holds '/data/wav/s1_v01.wav'"):
        store.load(manifest_of(tmp_path, "s1_v03.mp4"))


def test_an_id_of_parquet_is_a_short_text(tmp_path: Path, arrow) -> None:
    """A text of megabytes may stand in a million rows of a dictionary; bytes that are no text are an error too."""
    one = arrow.DictionaryArray.from_arrays([0] * 1000, ["x" * 5_000_000])
    source = save_parquet(tmp_path / "long.parquet", {"id": one, "x": [1.0] * 1000})
    with pytest.raises(ImportFormatError, match="an id in 'id' has 5000000 bytes, at most 4096"):
        import_into(tmp_path, source, id_column="id")
    raw = arrow.Array.from_buffers(
        arrow.string(), 1, [None, arrow.py_buffer(np.array([0, 2], np.int32)), arrow.py_buffer(b"\xff\xfe")]
    )
    source = save_parquet(tmp_path / "raw.parquet", {"id": raw, "x": [1.0]})
    with pytest.raises(ImportFormatError, match="raw.parquet cannot be read as Parquet"):
        import_into(tmp_path, source, id_column="id")


def test_a_table_of_many_columns_is_read_in_time(tmp_path: Path) -> None:
    """30,000 columns in two tables: looking each up in a list takes minutes."""
    header, row = ",".join(f"c{i}" for i in range(30_000)), ",".join(["1.5"] * 30_000)
    for name in ("a", "b"):
        write(tmp_path / "c" / f"{name}.csv", f"{header}\n{row}\n{row}\n")
    began = time.process_time()
    _, report = import_into(tmp_path, tmp_path / "c")
    assert report.n_stored == 2
    assert time.process_time() - began < 20
