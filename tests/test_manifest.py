"""Promises of the manifest: what it understands, and which line it names when it does not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poise.errors import ManifestError
from poise.manifest import Manifest, read_manifest


def write(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_integer_labels_are_ranks(tmp_path: Path) -> None:
    """Labels 0..K-1 are taken as they are, and relative paths start from the table's folder."""
    manifest = read_manifest(write(tmp_path, "path,label\na.mp4,0\nb/b.mp4,2\nc.mp4,1\n"))
    assert manifest.labels.tolist() == [0, 2, 1]
    assert manifest.label_names == ("0", "1", "2")
    assert manifest.file(1) == tmp_path / "b" / "b.mp4"
    assert not manifest.is_copy.any()


def test_a_table_with_video_filename_score_speaker_works_as_it_is(tmp_path: Path) -> None:
    """The aliases of the origin's tables are understood."""
    manifest = read_manifest(write(tmp_path, "video_filename,score,speaker\na.mp4,0,Ann\nb.mp4,1,Bo\n"))
    assert manifest.paths == ("a.mp4", "b.mp4")
    assert manifest.groups("speaker").tolist() == ["Ann", "Bo"]


def test_named_labels_take_the_given_order(tmp_path: Path) -> None:
    """Names get their rank from the order in which they are given, not from the alphabet."""
    path = write(tmp_path, "path,label\na.mp4,high\nb.mp4,low\nc.mp4,moderate\n")
    manifest = read_manifest(path, label_names=["low", "moderate", "high"])
    assert manifest.labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "bom.csv"])
def test_the_same_table_reads_the_same_from_every_format(tmp_path: Path, suffix: str) -> None:
    """CSV, TSV, JSON Lines and CSV with a byte order mark give the same manifest."""
    table = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "label": [1, 0], "speaker": ["7", "8"]})
    path = tmp_path / f"m.{suffix}"
    if suffix == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        encoding = "utf-8-sig" if suffix == "bom.csv" else "utf-8"
        table.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=False, encoding=encoding)
    manifest = read_manifest(path)
    assert manifest.labels.tolist() == [1, 0]
    assert manifest.groups("speaker").tolist() == ["7", "8"]


def test_a_copy_points_at_its_source_by_path_name_or_stem(tmp_path: Path) -> None:
    """The source column may hold the path as given, the file name, or the stem, if only one row has it."""
    text = "path,label,source\nv/a.mp4,0,\nv/a1.mp4,0,v/a.mp4\nv/a2.mp4,0,a.mp4\nv/a3.mp4,0,a\n"
    manifest = read_manifest(write(tmp_path, text + "b.mp4,1,b\n"))
    assert manifest.sources.tolist() == [0, 0, 0, 0, 4]
    assert manifest.is_copy.tolist() == [False, True, True, True, False]
    assert manifest.groups("source").tolist() == ["v/a.mp4"] * 4 + ["b.mp4"]


def test_a_copy_on_the_fly_has_a_name_of_its_own_and_its_sources_file(tmp_path: Path) -> None:
    """Rows with their source's path are known as path#recipe, whatever order their augmentation is written in."""
    text = "path,label,source,augmentation\nv/a.mp4,0,,\nb.mp4,1,b.mp4,\nv/a.mp4,0,v/a.mp4,gain=-3+flip\n"
    manifest = read_manifest(write(tmp_path, text + "v/a.mp4,0,a,speed=1.05\nr.mp4,1,b,bc_noise\n"))
    assert manifest.paths == ("v/a.mp4", "b.mp4", "v/a.mp4#flip+gain=-3", "v/a.mp4#speed=1.05", "r.mp4")
    assert [manifest.recipe(row) for row in range(5)] == ["", "", "flip+gain=-3", "speed=1.05", ""]
    assert manifest.sources.tolist() == [0, 1, 0, 0, 1]
    assert manifest.is_copy.tolist() == [False, False, True, True, True]
    assert [manifest.file(row).name for row in range(5)] == ["a.mp4", "b.mp4", "a.mp4", "a.mp4", "r.mp4"]
    assert manifest.file(2) == tmp_path / "v" / "a.mp4"
    assert manifest.groups("source").tolist() == ["v/a.mp4", "b.mp4", "v/a.mp4", "v/a.mp4", "b.mp4"]


def test_a_copy_on_the_fly_may_stand_before_its_source(tmp_path: Path) -> None:
    """The recording itself is the row without an augmentation, or else the one without a source."""
    text = "path,label,source,augmentation\na.mp4,0,a,flip\na.mp4,0,,\nb.mp4,1,b,flip\nb.mp4,1,,original\n"
    manifest = read_manifest(write(tmp_path, text))
    assert manifest.sources.tolist() == [1, 1, 3, 3]
    assert manifest.paths == ("a.mp4#flip", "a.mp4", "b.mp4#flip", "b.mp4")


def test_words_about_files_of_their_own_stay_words(tmp_path: Path) -> None:
    """Rendered copies and originals keep whatever stands in `augmentation`, recipe or not."""
    text = "path,label,source,augmentation\na.mp4,0,,none\na1.mp4,0,a,flip\nc.mp4,1,c.mp4,as recorded\n"
    manifest = read_manifest(write(tmp_path, text))
    assert manifest.augmentations == ("none", "flip", "as recorded")
    assert manifest.recipes == ()
    assert manifest.recipe(1) == ""


def test_other_columns_are_kept_for_grouping(tmp_path: Path) -> None:
    """Any column can say what belongs together."""
    manifest = read_manifest(write(tmp_path, "path,label,site\na.mp4,0,x\nb.mp4,1,y\n"))
    assert manifest.groups("site").tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a table: it has no header"),
        ("path,label\n", "has no rows"),
        ("name,label\na,0\n", "no column 'path'.*It has: name, label"),
        ("path,colour\na,0\n", "no column 'label'.*It has: path, colour"),
        ("path,label\na,0\n,1\n", r"line 3 \(\): the path is empty"),
        ("path,label\na,0\nb,\n", r"line 3 \(b\): no label"),
        (
            "path,label\na,low\nb,high\n",
            "not integers from 0 on: 'low' in line 2 .*'high' in line 3.*--labels low,",
        ),
        ("path,label\na,-1\nb,0\n", r"not integers from 0 on: '-1' in line 2 \(a\)"),
        ("path,label\na,0.5\nb,0\n", "not integers from 0 on: '0.5'"),
        ("path,label\na,0\nb,2\n", "the highest is 2, but no row has label 1"),
        ("path,label\na,0\nb,99999999999\n", "not integers from 0 on"),
        ("path,label\na,0\n./a,1\n", r"line 3 \(./a\): the same path as line 2"),
        ("path,label,source\na,0,\nb,0,c\n", r"line 3 \(b\): its source 'c' is not in the table"),
        ("path,label,source\nx/a,0,\ny/a,0,\nb,0,a\n", "its source 'a' is the name of several rows"),
        ("path,label,source\na,0,\nb,0,a\nc,0,b\n", r"line 4 \(c\): its source, line 3 \(b\), is a copy itself"),
        ("path,label,source\na,0,\nb,1,a\n", r"line 3 \(b\): label 1 differs from that of its source, line 2 \(a\): 0"),
        ("path,label,speaker,source\na,0,A,\nb,0,B,a\n", "speaker 'B' differs from that of its source.*'A'"),
        ("path,label\na,0,7\nb,1,8\n", "line 2: 3 fields, more than the header's 2 names"),
        ("path,label,Label\na,0,1\n", "two columns named 'Label'"),
        ("path,label\n\na,0\n\n\nb,x\n", r"'x' in line 6 \(b\)"),
        ('path,label,note\na,0,"two\nlines"\nb,x,\n', r"'x' in line 4 \(b\)"),
        ('path,label\n"a,0\n', "cannot be read as a table"),
        ("path;label\na;0\n", "separated by semicolons. Save it with commas"),
        ("path,label,augmentation\na,0,\na,0,flip\n", r"line 3 \(a\): the same path as line 2.*names it as its source"),
        ("path,label,source\na,0,\na,0,a\n", r"line 3 \(a\): the same path as line 2"),
        ("path,label,source,augmentation\na,0,,\nb,0,,\na,0,b,flip\n", r"line 4 \(a\): the same path as line 2"),
        ("path,label,source,augmentation\na,0,a,flip\n", r"line 2 \(a\): a copy of itself, made by flip"),
        ("path,label,source,augmentation\na,0,a,flip\na,0,a,gain=1\n", "a copy of itself, made by flip"),
        ("path,label,source,augmentation\na,0,,\na,0,a,flop\n", r"line 3 \(a\): .*'flop'.*Did you mean 'flip'"),
        ("path,label,source,augmentation\na,0,,\na,0,a,speed=2\n", r"line 3 \(a\): speed is 2. Expected 0.95 to 1.05"),
        (
            "path,label,source,augmentation\na,0,,\na,0,a,flip\n./a,0,a,flip\n",
            r"line 4 \(./a\): the same copy as line 3 \(a\)",
        ),
        (
            "path,label,source,augmentation\na,0,,\na,0,a,flip+gain=1\na,0,a,gain=1.0+flip\n",
            "line 4.*the same copy as line 3.*One row for each path and augmentation",
        ),
        ("path,label,source,augmentation\na,0,,\na#flip,0,,\na,0,a,flip\n", "the same copy as line 3 .a#flip"),
        ("path,label,source,augmentation\na,0,,\nb,1,,\na,1,a,flip\n", r"line 4 \(a#flip\): label 1 differs from"),
        ("path,label\na,x\nb,x\nc,x\nd,y\n", r"'x' in line 2 \(a\) and 2 other rows; 'y' in line 5"),
    ],
)
def test_a_wrong_table_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    """Every mistake in a table gets an error that names the line and what to do."""
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("path,label\na,low\nb,huge\n", ["low", "high"], r"not in the set low, high: 'huge' in line 3 \(b\)"),
        ("path,label\na,0\nb,2\n", ["low", "high"], r"line 3 \(b\): label 2 is not in the set 0..1 \(low, high\)"),
        ("path,label\na,x\nb,y\n", ["low", "high"], "not in the set low, high: 'x' in line 2.*'y' in line 3"),
        ("path,label\na,0\nb,1\n", ["low", "low"], "expected two or more different names"),
        ("path,label\na,0\nb,1\n", ["1", "1.0"], "expected two or more different names"),
        ("path,label\na,0\nb,1\n", ["1", "2"], "not in the set 1, 2: '0' in line 2"),
    ],
)
def test_a_label_outside_the_given_set_is_refused(tmp_path: Path, text: str, names: list[str], message: str) -> None:
    """With --labels, every label must be one of the names or a rank among them."""
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path, text), label_names=names)


def test_numbers_that_are_names_are_matched_as_numbers(tmp_path: Path) -> None:
    """With `--labels 1,2,3`, the label 1.0 is the first level, not the second."""
    manifest = read_manifest(write(tmp_path, "path,label\na,1.0\nb,2.0\n"), label_names=["1", "2", "3"])
    assert manifest.labels.tolist() == [0, 1]


def test_a_long_text_column_costs_only_itself(tmp_path: Path) -> None:
    """A transcript in one row does not make every row as large."""
    rows = "".join(f"r{i}.mp4,{i % 2},\n" for i in range(20_000))
    manifest = read_manifest(write(tmp_path, f"path,label,text\n{rows}last.mp4,1,{'word ' * 40_000}\n"))
    assert len(manifest.extra["text"][-1]) == 199_999


def test_json_lines_keep_large_numbers_and_name_their_lines(tmp_path: Path) -> None:
    """Ids beyond 2**53 stay apart beside an empty one; a line that is no object is named."""
    rows = ['{"path": "a", "label": 0, "speaker": 9007199254740993}', "", '{"path": "b", "label": 1, "speaker": null}']
    manifest = read_manifest(write(tmp_path, "\n".join(rows), "m.jsonl"))
    assert manifest.speakers is not None
    assert manifest.speakers.tolist() == ["9007199254740993", ""]
    with pytest.raises(ManifestError, match="line 2: not a JSON object"):
        read_manifest(write(tmp_path, '{"path": "a"}\n[1]', "m.jsonl"))


def test_a_level_may_stay_empty_when_all_levels_are_named(tmp_path: Path) -> None:
    """With names given, a rank that no row has is allowed."""
    manifest = read_manifest(write(tmp_path, "path,label\na,0\nb,2\n"), label_names=["low", "moderate", "high"])
    assert manifest.n_classes == 3


def test_missing_files_are_named_by_line(tmp_path: Path) -> None:
    """Before extraction every path must lead somewhere; all that do not are named at once."""
    (tmp_path / "a.mp4").touch()
    path = write(tmp_path, "path,label\na.mp4,0\nb.mp4,1\nc.mp4,1\n")
    with pytest.raises(ManifestError, match=r"2 of 3 files are missing: line 3 \(b.mp4\), line 4 \(c.mp4\).*--root"):
        read_manifest(path, files="must exist")
    assert len(read_manifest(path)) == 3


def test_extraction_needs_no_labels(tmp_path: Path) -> None:
    """Without labels, with names that nobody ordered, with empty cells: extraction does not look."""
    for text in ("path\na.mp4\n", "path,label\na.mp4,high\n", "path,label\na.mp4,\n"):
        assert read_manifest(write(tmp_path, text), labels="ignored").labels.tolist() == [-1]


def test_grouping_by_what_is_not_there_says_what_is(tmp_path: Path) -> None:
    """An unknown column and an empty cell are errors that name what could be used."""
    manifest = read_manifest(write(tmp_path, "path,label,speaker\na,0,A\nb,1,\n"))
    with pytest.raises(ManifestError, match="no column 'site'.*It has: speaker, source"):
        manifest.groups("site")
    with pytest.raises(ManifestError, match=r"line 3 \(b\): no speaker given"):
        manifest.groups("speaker")


def test_a_path_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """A folder, a missing file and bytes that are no text each get one clear error."""
    with pytest.raises(ManifestError, match="There is no manifest at"):
        read_manifest(tmp_path / "nothing.csv")
    with pytest.raises(ManifestError, match="is a folder or a device"):
        read_manifest(tmp_path)
    (tmp_path / "bytes.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ManifestError, match="cannot be read as a table|is not UTF-8"):
        read_manifest(tmp_path / "bytes.csv")
    (tmp_path / "latin.csv").write_bytes("path,label\nä.mp4,0\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="is not UTF-8 text.*'CSV UTF-8'"):
        read_manifest(tmp_path / "latin.csv")


def test_a_manifest_can_be_made_without_a_table() -> None:
    """Code can state its recordings directly."""
    manifest = Manifest(
        table_path=None,
        root=Path(),
        paths=("a", "b"),
        labels=np.array([0, 1]),
        label_names=("low", "high"),
        speakers=None,
        sources=np.arange(2),
        augmentations=("", ""),
    )
    assert manifest.n_classes == 2
    assert repr(manifest) == "Manifest(2 recordings, 0 of them copies, levels ('low', 'high'))"


def test_ranks_are_those_of_the_label_names(tmp_path: Path) -> None:
    """A manifest made by hand cannot hold a level that has no name."""
    manifest = read_manifest(write(tmp_path, "path,label\na,0\nb,1\n"))
    with pytest.raises(ManifestError, match="the rank 1, but there are 1 label names"):
        replace(manifest, label_names=("0",))
