"""Promises of `poise predict`: results as they come, no file stops another, what is written is whole, exit codes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from poise.cli import app
from poise.extract import ClipSettings, extract
from poise.heads import Strategy
from poise.heads.splits import Protocol
from poise.manifest import read_manifest
from poise.serve.training import train
from poise.store import FeatureStore
from tests.media import tone, write_video

HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored below a background shell
MAIN = [sys.executable, "-c", f"{HEARD}; from poise.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings of two speakers in `media`, a text beside them, and a model that learnt from them."""
    folder = tmp_path_factory.mktemp("predict")
    media = folder / "media"
    media.mkdir()
    rows = ["path,label,speaker"]
    for i in range(4):
        sound = tone(3.5, hz=120 + 40 * i) * np.linspace(0.2, 1, 168_000, dtype=np.float32)
        write_video(media / f"r{i}.mp4", seconds=3.5, fps=12, sound=sound)
        rows.append(f"media/r{i}.mp4,{('low', 'high')[i % 2]},{i // 2}")
    (media / "notes.txt").write_text("read me")
    (folder / "manifest.csv").write_text("\n".join(rows))
    manifest = read_manifest(folder / "manifest.csv", label_names=["low", "high"])
    store = FeatureStore.create(folder / "features")
    clips = ClipSettings(window_s=2.0, hop_s=2.0, min_tail_s=1.0)
    extract(manifest, store, video="motion", audio="prosody", clips=clips)
    specs = {index.spec["modality"]: index.spec for index in store.indexes()}
    protocols = [Protocol.parse("stratified:2")]
    strategy = Strategy.parse("mean/early/ridge")
    train(store.load(manifest), manifest, specs, folder / "model.zip", strategy=strategy, protocols=protocols)
    return folder


def predict(folder: Path, *files: object, options: tuple[object, ...] = ()) -> Result:
    arguments = ["predict", *files, "--model", folder / "model.zip", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_and_files_make_one_document_and_one_table(folder: Path, tmp_path: Path) -> None:
    """In order, each once; a bad file among them costs only itself, and exits with 3."""
    (tmp_path / "bad.mp4").write_text("no film")
    table = tmp_path / "out.csv"
    files = (folder / "media", tmp_path / "bad.mp4", folder / "media" / "r2.mp4", tmp_path / "nowhere.mp4")
    result = predict(folder, *files, options=("--json", "--csv", table))
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    names = [Path(one["path"]).name for one in found]
    assert names == ["r0.mp4", "r1.mp4", "r2.mp4", "r3.mp4", "bad.mp4", "nowhere.mp4"]
    assert [one["label"] is None for one in found] == [False] * 4 + [True] * 2
    assert found[0].keys() | {"error"} == found[4].keys()
    for one in found[:4]:
        assert sum(one["proba"].values()) == pytest.approx(1)
        assert sum(clip["attention"] for clip in one["clips"]) == pytest.approx(1)
    for note in ("left out: notes.txt", "named more than once", "bad.mp4 is not a media file", "nowhere.mp4 cannot"):
        assert result.stderr.count(note) == 1
    rows = rows_of(table)
    assert [row["path"] for row in rows] == [one["path"] for one in found]
    assert [row["label"] for row in rows] == [one["label"] or "" for one in found]
    assert float(rows[0]["proba_low"]) == found[0]["proba"]["low"]
    assert "nowhere.mp4" in rows[5]["error"]


def test_exit_codes_tell_how_it_went(folder: Path, tmp_path: Path) -> None:
    """0 all, 1 none, 2 nothing asked for; a folder without media is a failure like another, and JSON stays one list."""
    assert predict(folder, folder / "media" / "r0.mp4").exit_code == 0
    (tmp_path / "empty").mkdir()
    none = predict(folder, tmp_path / "empty", options=("--json",))
    assert none.exit_code == 1
    assert "no media file in this folder" in json.loads(none.stdout)[0]["error"]
    assert predict(folder).exit_code == 2
    assert predict(folder, folder / "media", options=("--stall", 0)).exit_code == 2
    gone = CliRunner().invoke(
        app, ["predict", str(folder / "media"), "--model", "no.zip", "--csv", str(tmp_path / "t")]
    )
    assert gone.exit_code == 1
    assert not (tmp_path / "t").exists()


def test_what_is_drawn_says_when_not_to_believe_it(folder: Path, tmp_path: Path) -> None:
    """The level, its clips, and with every prediction what speaks against the model; no level where it abstains."""
    shown = predict(folder, folder / "media" / "r0.mp4").stdout
    assert "r0.mp4: " in shown
    assert "0.0 to   2.0 s" in shown
    assert "Do not rely on this: the model's audit does not support it. Too little data" in shown
    write_video(tmp_path / "short.mp4", seconds=0.6, fps=12, sound=tone(0.6))
    both = predict(folder, folder / "media" / "r0.mp4", tmp_path / "short.mp4").stdout
    assert "short.mp4: no level; the best guess would be" in both
    assert "No level, because it is shorter than the shortest clip" in both
    assert both.count("Do not rely on this: the model's audit") == 2
    assert " s  " not in both  # the clips of many files are left to --json


def test_a_name_cannot_look_like_another_result(folder: Path, tmp_path: Path) -> None:
    """Ends of lines and what a terminal would act on are written out."""
    for name in ("a\nb.mp4: high", "a\nb.mp4", "c\x1b[2J.mp4"):
        shutil.copy(folder / "media" / "r0.mp4", tmp_path / name)
    result = predict(folder, tmp_path / "a\nb.mp4", tmp_path / "c\x1b[2J.mp4", tmp_path / "none\n.mp4", tmp_path)
    assert "a\\nb.mp4: " in result.stdout
    assert not any(line.startswith("b.mp4") for line in (result.stdout + result.stderr).splitlines())
    assert "none\\n.mp4 cannot be read" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_an_encoder_that_cannot_run_is_told_before_any_work(folder: Path, tmp_path: Path) -> None:
    """No table is begun."""
    result = predict(folder, folder / "media", options=("--video", "no-such-encoder", "--csv", tmp_path / "t.csv"))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no video encoder 'no-such-encoder'" in result.stderr
    assert not (tmp_path / "t.csv").exists()


def test_a_table_that_cannot_be_written_is_told_before_any_work(folder: Path, tmp_path: Path) -> None:
    """What stands there is left as it is."""
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\na.mp4,low\n")
    result = predict(folder, folder / "media", options=("--csv", labels))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "is not a table of predictions" in result.stderr
    assert labels.read_text() == "path,label\na.mp4,low\n"


def start(folder: Path, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [*MAIN, "predict", *map(str, arguments), "--model", str(folder / "model.zip")]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)


@pytest.fixture
def many(folder: Path, tmp_path: Path) -> Path:
    """A folder with forty recordings."""
    (tmp_path / "many").mkdir()
    for number in range(40):
        shutil.copy(folder / "media" / "r0.mp4", tmp_path / "many" / f"{number:02}.mp4")
    return tmp_path / "many"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_results_come_one_by_one_and_a_signal_keeps_them(
    folder: Path, tmp_path: Path, many: Path, number: int, code: int
) -> None:
    """The first is told while the others are still to come; then JSON and table are whole, and hold the same files."""
    process = start(folder, many, "--json", "--csv", tmp_path / "out.csv", stdout=subprocess.PIPE)
    assert process.stdout is not None
    begun = b""
    while not begun.endswith(b"\n  }"):
        begun += process.stdout.read(1)
    process.send_signal(number)
    rest, complaint = process.communicate(timeout=60)
    assert process.returncode == code, complaint
    found = json.loads(begun + rest)
    assert 1 <= len(found) < 40
    assert [row["path"] for row in rows_of(tmp_path / "out.csv")][: len(found)] == [one["path"] for one in found]
    assert complaint.count(b"Interrupted.") == 1
    assert b"of 40 were looked at before the end" in complaint
    assert b"Traceback" not in complaint


def test_a_terminal_that_is_closed_leaves_a_whole_document(folder: Path, tmp_path: Path, many: Path) -> None:
    """Nothing more can be said to who looked on there, and what was found by then is kept."""
    out = tmp_path / "out.json"
    ours, its = os.openpty()
    take = "import fcntl, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); from poise.cli import main; main()"
    command = [sys.executable, "-c", take, "predict", str(many), "--model", str(folder / "model.zip"), "--json"]
    with out.open("wb") as file:
        process = subprocess.Popen(command, stdin=its, stdout=file, stderr=its, start_new_session=True)
    os.close(its)
    while b"\n  }" not in out.read_bytes():
        os.read(ours, 4096)
    os.close(ours)
    assert process.wait(60) == 129
    assert 1 <= len(json.loads(out.read_bytes())) < 40


def test_a_reader_that_goes_away_ends_it(folder: Path, many: Path) -> None:
    """As in `poise predict … | head`: without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start(folder, many, stdout=writer)
    os.close(writer)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in complaint
    assert b"1 of 40" in complaint or b"0 of 40" in complaint


def test_a_stdout_without_room_is_one_error(folder: Path) -> None:
    """A disk that is full keeps what it has."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(folder, folder / "media", "--json", stdout=full)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"No space left on device" in complaint
    assert b"Traceback" not in complaint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_note_that_cannot_be_written_stops_no_file(folder: Path) -> None:
    """A full disk under stderr costs the words, not the results."""
    files = [folder / "nowhere.mp4", folder / "media" / "r0.mp4"]
    command = [*MAIN, "predict", *map(str, files), "--model", str(folder / "model.zip"), "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.returncode == 3
    assert [one["label"] is None for one in json.loads(done.stdout)] == [True, False]
