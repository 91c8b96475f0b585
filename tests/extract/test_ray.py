"""Promises of extraction on a Ray cluster: the store of a local run, bit for bit, whatever dies on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from poise.errors import ClusterError, EncoderError, WeightsNotFoundError
from poise.extract.augment import augment_manifest
from poise.extract.clips import ClipSettings
from poise.extract.encoders.registry import make_encoder
from poise.extract.encoders.tiny import save_tiny_videomae, save_tiny_wavlm
from poise.extract.pipeline import extract
from poise.extract.workers.source import DecodeLimits
from poise.manifest import read_manifest
from poise.store import FeatureStore
from tests.extract.plain_encoders import Deadly, Fatal, Grey, Loudness, Meddler, Moody
from tests.media import cut_off, grey, moving, tone, write_sound, write_video
from tests.store.features import manifest_of

pytestmark = [
    pytest.mark.slow,
    # Ray opens files and sockets that nobody closes
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:ray.*", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two cores on this machine, which the runs find and leave."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = signal.getsignal(signal.SIGTERM)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    signal.signal(signal.SIGTERM, before)
    yield ray
    ray.shutdown()


def is_connected():
    import ray

    return ray.is_initialized()


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Files of each kind that matters, good and bad; one turns white in its second clip."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(6):
        seconds = 3 + number
        write_video(folder / f"{number}.mp4", seconds=seconds, fps=10, picture=grey(2 + number),
                    sound=tone(seconds, hz=200 + 30 * number))  # fmt: skip
    white = lambda _, time_s: np.full((1, 1, 3), 255 if time_s > 3 else 90, np.uint8)  # noqa: E731
    write_video(folder / "white.mp4", seconds=4, fps=10, picture=white)
    write_video(folder / "mute.mp4", seconds=4, sound=None)
    write_sound(folder / "voice.wav", tone(7, sample_rate_hz=16_000))
    write_sound(folder / "silence.wav", np.zeros(64_000, np.float32))
    write_sound(folder / "nan.wav", np.where(np.arange(64_000) % 1000 == 7, np.nan, tone(4, sample_rate_hz=16_000)))
    whole = write_video(folder / "whole.mp4", seconds=8, options={"movflags": "faststart"})
    cut_off(whole, folder / "cut.mp4", 0.6)
    cut_off(whole, folder / "stump.mp4", 0.01)
    shutil.copy(folder / "0.mp4", folder / "twin.mp4")
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    os.mkfifo(folder / "pipe.mp4")
    return folder


def everything(media):
    return manifest_of(media, *sorted(path.name for path in media.iterdir()), "nowhere.mp4")


def run(manifest, store, engine="ray", *, video=None, audio=None, **options):
    options = {"clips": CLIPS, "dtype": "float32", "limits": DecodeLimits(stall_s=20), **options}
    return extract(
        manifest,
        FeatureStore.create(store),
        video=video if video is not None else Grey(),
        audio=audio if audio is not None else Loudness(),
        engine=engine,
        **options,
    )


def contents(path):
    """All that a store knows but when and in what order it came to know it."""
    store = FeatureStore.open(path)
    assert store.verify().ok
    found = {}
    for index in store.indexes():
        for key, entry in index.items():
            values = np.asarray(index.embeddings(key)) if entry.n_clips else np.empty(0)
            times = np.asarray(index.clip_times(key)) if entry.n_clips else np.empty(0)
            told = (sorted(entry.paths), entry.outcome, entry.reason, entry.flags, entry.duration_s, entry.attempts)
            found[index.name, key] = (*map(str, told), values.dtype, values.shape, values.tobytes(), times.tobytes())
    return found


def check_same(tmp_path, manifest, encoders, *, encoders_of_ray=None, **options):
    """Both engines tell the same and store the same; gives the report of the second."""
    local = run(manifest, tmp_path / "local", "local", **encoders(), **options)
    report = run(manifest, tmp_path / "ray", "ray", **(encoders_of_ray or encoders)(), **options)
    assert report.outcomes == local.outcomes
    assert report.counts["stored"] >= 2
    assert report.n_clips_encoded == local.n_clips_encoded
    assert report.feature_sets == local.feature_sets
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    for name in ("local", "ray"):
        FeatureStore.open(tmp_path / name).export(tmp_path / f"{name}.h5")
    assert contents(tmp_path / "ray.h5") == contents(tmp_path / "local.h5") == contents(tmp_path / "ray")
    return report


@pytest.mark.usefixtures("cluster")
class TestTheSameStore:
    def test_of_files_good_and_bad(self, media, tmp_path):
        """Every outcome, reason, flag, clip time and number; and of a second run, which does nothing."""
        report = check_same(tmp_path, everything(media), lambda: {"video": Grey(), "audio": Loudness()})
        assert min(report.counts.values()) > 0
        assert is_connected()
        again = run(everything(media), tmp_path / "ray")
        assert (again.counts["stored"], again.n_clips_encoded) == (0, 0)

    def test_of_pretrained_classes(self, media, tmp_path):
        """VideoMAE and WavLM from their folders, several layers, in actors that load them for themselves."""
        video, audio = save_tiny_videomae(tmp_path / "videomae"), save_tiny_wavlm(tmp_path / "wavlm")
        manifest = manifest_of(media, "0.mp4", "5.mp4", "mute.mp4", "voice.wav", "text.mp4")
        check_same(tmp_path, manifest, lambda: {"video": str(video), "audio": str(audio)}, layers=[0, -1])
        for index in FeatureStore.open(tmp_path / "ray").indexes():
            assert {index.run_of_key(key)["encoder"]["device"] for key in index} == {"cpu"}

    def test_of_copies_and_encoders_without_weights(self, tmp_path):
        """Copies made on the fly, by recipes of every kind."""
        for number in range(2):
            write_video(tmp_path / f"{number}.mp4", seconds=4, fps=15, picture=moving(number), sound=tone(4))
        (tmp_path / "m.csv").write_text("path,label\n0.mp4,0\n1.mp4,1\n")
        manifest = augment_manifest(read_manifest(tmp_path / "m.csv"), copies=3, seed=1)
        report = check_same(tmp_path, manifest, lambda: {"video": "motion", "audio": "prosody"})
        assert report.counts["stored"] == 8

    @pytest.mark.parametrize("deed", ["crash", "exit", "hang"])
    def test_when_a_file_harms_its_decoder(self, media, tmp_path, deed):
        """It costs that modality of that file, as in a local run, and nothing else."""
        manifest = manifest_of(media, "0.mp4", "white.mp4", "1.mp4", "2.mp4")
        report = check_same(tmp_path, manifest, lambda: {"video": Deadly(deed)}, limits=DecodeLimits(stall_s=1))
        assert report.counts == {"stored": 3, "already": 0, "partial": 1, "failed": 0}

    @pytest.mark.parametrize("victim", ["who decodes", "who encodes"])
    def test_when_a_worker_of_ray_is_killed(self, media, tmp_path, victim):
        """It is started again, and no clip is lost or comes twice."""
        done, once = tmp_path / "done", tmp_path / "once"
        done.touch()
        check_same(
            tmp_path,
            everything(media),
            lambda: {"video": Fatal(victim, once=str(done))},
            encoders_of_ray=lambda: {"video": Fatal(victim, once=str(once))},
        )
        assert once.exists()

    def test_when_failures_are_tried_again(self, tmp_path):
        """A failure is remembered and its attempts are counted; one of this run alone is not."""
        write_sound(tmp_path / "a.wav", tone(4, sample_rate_hz=16_000))
        manifest = manifest_of(tmp_path, "a.wav")
        first = run(manifest, tmp_path / "s", audio=Moody(float("nan")))
        assert "InvalidFeaturesError: moody gave NaN" in first.outcomes[0].reason
        again = run(manifest, tmp_path / "s", audio=Moody(RuntimeError("x")), retry_failed=True)
        assert "RuntimeError: x" in again.outcomes[0].reason
        cured = run(manifest, tmp_path / "s", audio=Moody(RuntimeError("x"), limit=9), retry_failed=True)
        assert (cured.outcomes[0].outcome, cured.outcomes[0].attempts) == ("partial", 2)


@pytest.mark.usefixtures("cluster")
class TestWhatEndsARun:
    def test_an_encoder_that_does_not_work(self, media, tmp_path):
        """With its own error, from an actor."""
        with pytest.raises(EncoderError, match="^no power$"):
            run(manifest_of(media, "0.mp4"), tmp_path / "s", audio=Moody(EncoderError("no power")))
        assert is_connected()

    def test_an_encoder_that_cannot_be_sent(self, media, tmp_path):
        """Before anything is decoded."""
        encoder = Grey()
        encoder.for_reading = _Stub(Grey())
        encoder.lock = threading.Lock()
        with pytest.raises(EncoderError, match="grey cannot be sent to a cluster"):
            run(manifest_of(media, "0.mp4"), tmp_path / "s", video=encoder)

    def test_weights_that_a_node_does_not_have(self, media, tmp_path):
        """Or has others of, which would make other features under the same name."""
        folder = save_tiny_wavlm(tmp_path / "wavlm")
        encoder = make_encoder(folder, "audio")
        encoder.settings()  # hashed here
        save_tiny_wavlm(folder, seed=1)
        with pytest.raises(EncoderError, match="are not those of the machine where the command runs"):
            run(manifest_of(media, "0.mp4"), tmp_path / "s", audio=encoder)
        shutil.rmtree(folder)
        with pytest.raises(WeightsNotFoundError, match="Every node must see the weights"):
            run(manifest_of(media, "0.mp4"), tmp_path / "s", audio=encoder)

    def test_a_file_that_changes_while_it_is_read_is_not_stored(self, tmp_path):
        """As in a local run; the next one may find it at rest."""
        path = write_sound(tmp_path / "a.wav", tone(4, sample_rate_hz=16_000))
        report = run(manifest_of(tmp_path, "a.wav"), tmp_path / "s", audio=Meddler(str(path)))
        assert "changed while it was read" in report.outcomes[0].reason
        assert contents(tmp_path / "s") == {}

    def test_an_interrupt_keeps_what_is_finished(self, media, tmp_path):
        """And leaves the cluster of others as it was: the next run has room."""

        def interrupt(step):
            if step.done >= 4:
                raise KeyboardInterrupt

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(everything(media), tmp_path / "s", video=Deadly("hang"), progress=interrupt)
        assert time.monotonic() - began < 40
        assert is_connected()
        report = run(everything(media), tmp_path / "s", video=Deadly("hang"), limits=DecodeLimits(stall_s=1))
        assert report.counts["already"] >= 1
        assert len(report.outcomes) == len(everything(media))


class _Stub:
    """Gives what can be pickled."""

    def __init__(self, encoder):
        self.encoder = encoder

    def __call__(self):
        return self.encoder


def descendants(parent):
    """Living processes below a process."""
    below = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if rest.split()[0] != "Z":
            below.setdefault(int(rest.split()[1]), []).append(int(path.parent.name))
    found, todo = [], [parent]
    while todo:
        found += (children := below.get(todo.pop(), []))
        todo += children
    return found


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command(*arguments):
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored below `command &`
    return [sys.executable, "-c", f"{heard}; from poise.cli import main; main()", *map(str, arguments)]


@pytest.fixture
def alone(monkeypatch):
    """Commands that start a cluster of their own, whatever runs on this machine."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.mark.usefixtures("alone")
class TestTheCommand:
    """With a cluster of its own, in a process of its own."""

    def arguments(self, folder, n):
        template = write_video(folder / "0.mp4", seconds=3, fps=12)
        for i in range(1, n):
            (folder / f"{i}.mp4").write_bytes(template.read_bytes() + bytes([i]))  # another key
        (folder / "manifest.csv").write_text("path\n" + "\n".join(f"{i}.mp4" for i in range(n)))
        return ["extract", folder / "manifest.csv", "--store", folder / "s", "--video", "motion", "--audio", "none",
                "--engine", "ray"]  # fmt: skip

    def test_prints_what_a_local_run_prints(self, tmp_path):
        """One JSON document on stdout, and on stderr nothing of Ray's."""
        arguments = self.arguments(tmp_path, 3)
        (tmp_path / "text.mp4").write_text("no film")
        with open(tmp_path / "manifest.csv", "a") as file:
            file.write("\ntext.mp4\n")
        done = subprocess.run(command(*arguments, "--json", "--max-failures", 1), capture_output=True, text=True,
                              check=True)  # fmt: skip
        assert json.loads(done.stdout)["stored"] == 3
        noted = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("extracting")]
        assert len(noted) == 1 or all("text.mp4" in line or "container" in line for line in noted), done.stderr
        assert "ray" not in done.stderr.lower()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_stops_it_and_all_that_it_started(self, tmp_path, number, code):
        """Within seconds, with one sentence, and what is finished is kept."""
        arguments = self.arguments(tmp_path, 120)
        process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not list((tmp_path / "s").glob("motion@*")):
            assert process.poll() is None
            time.sleep(0.02)
        started = descendants(process.pid)
        assert len(started) > 3
        process.send_signal(number)
        began = time.monotonic()
        _, complaint = process.communicate(timeout=60)
        assert time.monotonic() - began < 15
        assert process.returncode == code, complaint
        assert complaint.count("Interrupted. What was reported stored is kept") == 1
        assert "Traceback" not in complaint
        time.sleep(2)
        assert [pid for pid in started if is_alive(pid)] == []
        kept = sum(len(index) for index in FeatureStore.open(tmp_path / "s").indexes())
        assert 0 < kept < 120

    def test_nothing_of_it_outlives_a_kill(self, tmp_path):
        """After kill -9 all that works for it ends too, and the same command goes on."""
        arguments = self.arguments(tmp_path, 60)
        process = subprocess.Popen(command(*arguments), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not list((tmp_path / "s").glob("motion@*")):
            time.sleep(0.02)
        # two agents of Ray's own look after their parent only every minute or so
        started = [pid for pid in descendants(process.pid) if b"Agent" not in command_line(pid)]
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while any(is_alive(pid) for pid in started):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        report = run_local(arguments)
        assert report["already"] + report["stored"] == 60

    def test_the_traces_of_a_dead_cluster_are_not_taken_for_one(self, tmp_path, monkeypatch):
        """Without an address a cluster is started for the run, whatever others left behind."""
        monkeypatch.delenv("RAY_ADDRESS")
        with tempfile.TemporaryDirectory(dir="/tmp") as short:  # paths of sockets have few characters
            monkeypatch.setenv("RAY_TMPDIR", short)
            (Path(short) / "ray").mkdir()
            for place in (Path(short), Path(short) / "ray"):
                (place / "ray_current_cluster").write_text("127.0.0.1:1")
            done = subprocess.run(
                command(*self.arguments(tmp_path, 2), "--json"), capture_output=True, text=True, check=False
            )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["stored"] == 2

    def test_an_address_where_there_is_no_cluster_is_an_error(self, tmp_path, monkeypatch):
        """Rather than a cluster of this machine that nobody asked for."""
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        done = subprocess.run(command(*self.arguments(tmp_path, 1)), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Error: Ray cannot be reached at 127.0.0.1:1" in done.stderr

    def test_where_nothing_is_to_be_done_no_cluster_is_started(self, tmp_path, monkeypatch):
        """As no weights are loaded then."""
        arguments = self.arguments(tmp_path, 3)
        run_local(arguments)
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["already"] == 3


def run_local(arguments):
    local = [*arguments[:-1], "local"]
    done = subprocess.run(command(*local, "--json"), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_gives_up_is_told_apart(media, tmp_path, monkeypatch):
    """Its own error, and what was finished stays."""
    from poise.extract.engines import ray_engine

    monkeypatch.setattr(ray_engine, "decode", _broken)
    with pytest.raises(ClusterError, match="gave up.*run the command again to go on"):
        run(manifest_of(media, "0.mp4"), tmp_path / "s")


@pytest.mark.usefixtures("cluster")
def test_recordings_that_never_come_back_are_missed(media, tmp_path, monkeypatch):
    """Nothing is reported of them that is not so."""
    from poise.extract.engines import ray_engine

    monkeypatch.setattr(ray_engine, "EncodeActor", _Forgetful)
    with pytest.raises(ClusterError, match=r"lost 1 recordings, as 0\.mp4"):
        run(manifest_of(media, "0.mp4"), tmp_path / "s")


class _Forgetful:
    def __init__(self, encoder, n_threads):
        pass

    def __call__(self, table):
        return table.slice(0, 0)


def _broken(table, setup):
    raise OSError("no more memory")
