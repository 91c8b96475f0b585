"""Promises of consent: objects are unpickled when somebody says so, elsewhere, and only numbers come back."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from poise.errors import BundleError
from poise.heads import ClipClassifier
from poise.serve import convert_bundle, read_bundle
from poise.serve.legacy import unpickling
from poise.serve.legacy.child import main
from tests.serve.bundles import ROOT
from tests.serve.legacy.old_networks import (
    DIM,
    Attention,
    Pooled,
    as_bags,
    make_clips,
    make_network,
    old_bundle,
    pack,
    saved,
    state_of,
)
from tests.serve.legacy.test_pickles import Runs


class TellsItsProcess:
    """Unpickled, it writes down where that happened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        code = f"open({str(self.marker)!r}, 'w').write(str(__import__('os').getpid()))"
        return (exec, (code,))


class Dies:
    def __reduce__(self) -> Any:
        return (os._exit, (7,))


class Waits:
    def __reduce__(self) -> Any:
        import time

        return (time.sleep, (1000,))


class Shouts:
    def __reduce__(self) -> Any:
        return (int, ("\x1b[2J not a number, set weights_only=False",))


def expect(network: Attention | Pooled, recordings: list[np.ndarray], scaler: Any = None) -> np.ndarray:
    seen = recordings if scaler is None else [scaler.transform(clips).astype(np.float32) for clips in recordings]
    with torch.no_grad():
        return np.stack([network(torch.from_numpy(clips)).numpy() for clips in seen])


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpickle in this process, where a test is about what comes back and not about where."""

    def run(folder: Path) -> str:
        main(os.fspath(folder))
        return "ended with code 0"

    monkeypatch.setattr(unpickling, "_run", run)


def predict(path: Path, *, trust_pickle: bool = False) -> np.ndarray:
    bundle = read_bundle(path, trust_pickle=trust_pickle)
    return ClipClassifier.from_state(bundle.head).predict_proba(as_bags(make_clips()))


@pytest.mark.parametrize(
    ("kind", "whole"), [("attention", lambda net: {"model": net, "aux": {}}), ("mean-std", lambda net: net)]
)
def test_a_whole_model_is_read_with_consent(tmp_path: Path, kind: str, whole: Any) -> None:
    """Its weights become a bundle without any object, with the same predictions."""
    network = make_network(kind)
    old = pack(tmp_path / "old.zip", {"model.pt": saved(whole(network)), "class_map.json": ["a", "b", "c"]})
    with pytest.raises(BundleError, match="--trust-pickle"):
        convert_bundle(old, tmp_path / "new.zip")
    assert not (tmp_path / "new.zip").exists()
    bundle = convert_bundle(old, tmp_path / "new.zip", trust_pickle=True)
    assert bundle.converted_from is not None
    assert bundle.converted_from["style"] == "model"
    assert bundle.label_names == ("a", "b", "c")
    np.testing.assert_allclose(predict(tmp_path / "new.zip"), expect(network, make_clips()), rtol=0, atol=1e-5)


NOTEBOOK = f"""
import sys, torch
sys.path.insert(0, {str(ROOT)!r})
from tests.serve.legacy.old_networks import make_network, layers

class Settings:
    def __init__(self):
        self.seed = 3

class ClipAttentionClassifier(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.attn_W, self.attn_v, self.classifier = network.attn_W, network.attn_v, network.classifier
        self.settings = Settings()

torch.save({{"model": ClipAttentionClassifier(make_network()), "aux": {{"class_names": ["a", "b", "c"]}}}}, sys.argv[1])
"""


def test_a_class_of_a_notebook_need_not_be_there(tmp_path: Path) -> None:
    """It was called __main__.ClipAttentionClassifier, and is nowhere: the layers in it are torch's own."""
    subprocess.run([sys.executable, "-c", NOTEBOOK, str(tmp_path / "model.pt")], check=True)
    old = pack(tmp_path / "old.zip", {"model.pt": (tmp_path / "model.pt").read_bytes()})
    with pytest.raises(BundleError, match="holds Python objects .*__main__.ClipAttentionClassifier"):
        read_bundle(old)
    bundle = read_bundle(old, trust_pickle=True)
    assert bundle.label_names == ("a", "b", "c")
    found = ClipClassifier.from_state(bundle.head).predict_proba(as_bags(make_clips()))
    np.testing.assert_allclose(found, expect(make_network(), make_clips()), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    "content",
    [
        lambda net: saved(net.state_dict(), _use_new_zipfile_serialization=False),
        lambda net: saved({"state_dict": net.state_dict(), "in_dim": np.int64(1536), "aux": {"seen": {1, 2}}}),
        lambda net: saved({"model_state_dict": state_of(net, "module."), "hyperparams": {"hidden_dim": 13}, "a": {1}}),
    ],
)
def test_weights_that_torch_wrote_in_other_ways_are_read_with_consent(tmp_path: Path, content: Any) -> None:
    """Its old format, and values that are none of plain kind beside the weights."""
    network = make_network()
    old = pack(tmp_path / "old.zip", {"model.pt": content(network)})
    with pytest.raises(BundleError, match="--trust-pickle"):
        read_bundle(old)
    found = predict(old, trust_pickle=True)
    np.testing.assert_allclose(found, expect(network, make_clips()), rtol=0, atol=1e-5)


def test_it_runs_in_another_process_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What code in a pickle does to its process is gone with it, and so is the private folder."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    content = {"state_dict": state_of(make_network()), "aux": TellsItsProcess(tmp_path / "pid")}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(content)})
    with pytest.raises(BundleError, match="--trust-pickle"):
        read_bundle(old)
    assert not (tmp_path / "pid").exists()
    read_bundle(old, trust_pickle=True)
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    assert not list((tmp_path / "tmp").iterdir())


def test_consent_starts_nothing_where_it_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights alone are read as ever, whatever was allowed."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    read_bundle(old_bundle(tmp_path / "old.zip"), trust_pickle=True)


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (Dies(), "the process that unpickled it ended with code 7, and left no result"),
        (Shouts(), r"it cannot be unpickled: ValueError: invalid literal .*\\x1b\[2J"),
    ],
)
def test_a_pickle_that_ends_its_process_or_fails_is_one_error(tmp_path: Path, beside: Any, message: str) -> None:
    """Ours goes on, and says how it ended."""
    content = {"state_dict": state_of(make_network()), "aux": beside}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(content)})
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(old, trust_pickle=True)
    assert "\x1b" not in str(caught.value)


def test_a_pickle_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some minutes, which are seconds here."""
    monkeypatch.setattr(unpickling, "_PATIENCE_S", 1.0)
    old = pack(tmp_path / "old.zip", {"model.pt": saved({"model": Waits()})})
    with pytest.raises(BundleError, match="took more than 1 seconds, and left no result"):
        read_bundle(old, trust_pickle=True)


class TellsAndWaits:
    """Unpickled, it writes down in which process, and does not end."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        code = f"import os, time; open({str(self.marker)!r}, 'w').write(str(os.getpid()) + ' '); time.sleep(60)"
        return (exec, (code,))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_nothing_of_an_unpickling_outlives_who_asked_for_it(tmp_path: Path) -> None:
    """After kill -9 its process is gone too."""
    marker = tmp_path / "pid"
    old = pack(tmp_path / "old.zip", {"model.pt": saved({"model": TellsAndWaits(marker)})})
    code = f"from poise.serve import read_bundle; read_bundle({str(old)!r}, trust_pickle=True)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        while not (marker.exists() and marker.read_text().endswith(" ")) and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    pid, ends_at = int(marker.read_text()), time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert not is_alive(pid)


@pytest.mark.skipif(sys.platform == "win32", reason="no alarm there")
def test_a_process_that_unpickles_ends_by_itself(tmp_path: Path) -> None:
    """After the seconds that it was given, should nobody be left to end it."""
    (tmp_path / unpickling.WEIGHTS).write_bytes(saved({"model": Waits()}))
    code = f"from poise.serve.legacy.child import start; start({str(tmp_path)!r}, 5)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100, check=False
    )
    assert done.returncode == -signal.SIGALRM


def test_folders_of_those_that_were_killed_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once they are older than any process may become; younger ones, links and others' files stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old = pack(tmp_path / "old.zip", {"model.pt": saved({"model": make_network()})})
    (tmp_path / "elsewhere").mkdir()
    for name in ("poise-unpickle-dead", "poise-unpickle-young", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "poise-unpickle-link").symlink_to(tmp_path / "elsewhere")
    for name in ("poise-unpickle-dead", "other", "elsewhere"):
        os.utime(tmp_path / name, (0, 0))
    read_bundle(old, trust_pickle=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"old.zip", "elsewhere", "other", "poise-unpickle-young", "poise-unpickle-link"}


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: saved({"model": torch.nn.Linear(3, 3)}), "of no network that is known"),
        (lambda: saved({"model": 3, "x": {1}}), "'model' is a int, expected a tensor"),
        (lambda: saved([{1}]), "it holds a list, expected weights by name"),
        (lambda: pickle.dumps({"a": {1}}), "cannot be unpickled"),
        (lambda: b"no pickle at all", "cannot be unpickled"),
        (lambda: saved({"state_dict": {"w": {1}}}), "'w' is a set, expected a tensor"),
        (lambda: saved({"state_dict": state_of(make_network()), "in_dim": "x", "y": {1}}), "its in_dim is a str"),
    ],
)
def test_consent_makes_no_network_of_what_is_none(tmp_path: Path, content: Any, message: str) -> None:
    """What comes back is held to the same rules."""
    with pytest.raises(BundleError, match=message):
        read_bundle(pack(tmp_path / "old.zip", {"model.pt": content()}), trust_pickle=True)


def dumped(value: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("kind", ["attention", "mean", "mean-std"])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}])
def test_a_scaler_is_worked_into_the_weights(tmp_path: Path, kind: str, options: dict[str, bool]) -> None:
    """The old software scaled clips before the network saw them: the numbers are the same without it."""
    network, clips = make_network(kind), np.concatenate(make_clips(12, seed=5)) * 2 + 1
    scaler = StandardScaler(**options).fit(clips)
    files = {"model.pt": saved(network.state_dict()), "scaler.pkl": dumped(scaler)}
    old = pack(tmp_path / "old.zip", files)
    with pytest.raises(BundleError, match="scaler.pkl beside it is a pickle, and changes what the network sees"):
        read_bundle(old)
    expected = expect(network, make_clips(), scaler)
    np.testing.assert_allclose(predict(old, trust_pickle=True), expected, rtol=0, atol=1e-5)
    inside = {"model_state_dict": network.state_dict(), "aux": {"scaler": scaler}}
    old = pack(tmp_path / "old.zip", {"model.pt": saved(inside)})
    np.testing.assert_allclose(predict(old, trust_pickle=True), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_at_once")
def test_a_scaler_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Where its numbers would have to be guessed, nothing is predicted."""
    network = make_network()
    for scaler, message in [
        (MinMaxScaler().fit(np.eye(3)), "scaler is a MinMaxScaler, expected a StandardScaler that was fitted"),
        (StandardScaler(), "scaler is a StandardScaler, expected a StandardScaler that was fitted"),
        (StandardScaler().fit(np.eye(3)), "its scaler is of 3 columns, expected 1536"),
        ({"mean": 0}, "scaler is a dict"),
        (Runs(tmp_path / "ran"), "scaler is a int"),
    ]:
        old = pack(tmp_path / "old.zip", {"model.pt": saved(network.state_dict()), "scaler.pkl": dumped(scaler)})
        with pytest.raises(BundleError, match=message):
            read_bundle(old, trust_pickle=True)
    plain = {"model_state_dict": network.state_dict(), "aux": {"scaler": {"mean": [0.0] * DIM}}}
    with pytest.raises(BundleError, match="its aux holds a scaler that is a dict"):
        read_bundle(pack(tmp_path / "old.zip", {"model.pt": saved(plain)}))
