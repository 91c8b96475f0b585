"""Promises of decoding in processes of its own: whatever a file does to its decoder, the run goes on and says so."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from poise.errors import EncoderError, ExtractSettingsError
from poise.extract.clips import ClipSettings
from poise.extract.pipeline import extract
from poise.extract.workers.channel import Channel, ChannelClosedError, SilentError
from poise.extract.workers.prefetch import Prefetcher
from poise.extract.workers.source import DecodeLimits
from poise.store import FeatureStore
from tests.extract.plain_encoders import Deadly, Fickle, Grey, Loudness
from tests.media import write_video
from tests.store.features import manifest_of

CLIPS = ClipSettings(window_s=2, hop_s=2, min_tail_s=1)


def even(level):
    """A picture of one grey."""
    return lambda _number, _time_s: np.full((1, 1, 3), level, dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five recordings; the third turns white in its second clip."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(5):
        write_video(folder / f"{number}.mp4", seconds=4, fps=10, picture=even(40 + 20 * number))
    write_video(
        folder / "2.mp4", seconds=4, fps=10, picture=lambda _, t: np.full((1, 1, 3), 255 if t > 3 else 90, np.uint8)
    )
    return folder


PATHS = tuple(f"{number}.mp4" for number in range(5))


def run(folder, store, video, *, audio=None, paths=PATHS, **options):
    return extract(
        manifest_of(folder, *paths),
        FeatureStore.create(store),
        video=video,
        audio=audio if audio is not None else Loudness(),
        clips=CLIPS,
        **options,
    )


def children(parent):
    """Living decoding processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(")")
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        state, number = rest.split()[:2]
        if int(number) == parent and state != "Z" and b"poise.extract.workers" in command:
            found.append(int(path.parent.name))
    return found


def values(store, manifest, modality):
    return FeatureStore.open(store).load(manifest).modalities[modality].values


def python_that_dies(path, *, once):
    """An interpreter that is killed as soon as it starts: each time, or only the first time."""
    condition = f"[ ! -e {path}.died ] && touch {path}.died &&" if once else ""
    path.write_text(f'#!/bin/sh\n{condition} kill -9 $$\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


class TestStarting:
    def test_a_process_that_is_killed_while_it_starts_is_started_again(self, folder, tmp_path, monkeypatch):
        """Whoever is short of memory may have killed it, and no file is to blame."""
        monkeypatch.setattr(sys, "executable", python_that_dies(tmp_path / "python", once=True))
        report = run(folder, tmp_path / "s", Grey(), workers=1)
        assert (tmp_path / "python.died").exists()
        assert report.counts["stored"] == 5

    def test_processes_that_never_start_end_the_run(self, folder, tmp_path, monkeypatch):
        """With one sentence, and nothing is noted against the files."""
        monkeypatch.setattr(sys, "executable", python_that_dies(tmp_path / "python", once=False))
        with pytest.raises(EncoderError, match=r"A decoding process does not start: the decoder crashed \(SIGKILL"):
            run(folder, tmp_path / "s", Grey(), workers=1)
        monkeypatch.undo()
        assert run(folder, tmp_path / "s", Grey(), workers=1).counts["stored"] == 5

    def test_without_a_place_for_temporary_files_it_goes_on(self, folder, tmp_path, monkeypatch):
        """They would only hold what a process complains of."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        assert run(folder, tmp_path / "s", Grey(), workers=1).counts["stored"] == 5


class TestAFileThatHarmsItsDecoder:
    @pytest.mark.parametrize(
        ("deed", "reason"),
        [
            ("crash", "the decoder crashed (SIGSEGV)"),
            ("exit", "the decoder ended with code 7: the codec says no"),
            ("hang", "no sign of life for 1 s"),
            ("hoard", "MemoryError"),
        ],
    )
    def test_costs_only_what_it_broke(self, folder, tmp_path, deed, reason):
        """Its whole clips and its sound are kept, the reason is told, and every other recording is stored."""
        report = run(folder, tmp_path / "s", Deadly(deed), limits=DecodeLimits(stall_s=1), workers=2)
        assert report.counts == {"stored": 4, "already": 0, "partial": 1, "failed": 0}
        broken = report.outcomes[2]
        assert reason in broken.reason
        assert "unreadable" in broken.flags
        store = FeatureStore.open(tmp_path / "s")
        by_modality = {index.spec["modality"]: index for index in store.indexes()}
        assert [by_modality[name][broken.key].n_clips for name in ("video", "audio")] == [1, 2]
        assert children(os.getpid()) == []
        again = run(folder, tmp_path / "s", Deadly(deed), workers=1)
        assert again.counts["already"] == 5

    def test_keeps_the_clips_of_the_first_try_where_the_second_gives_fewer(self, folder, tmp_path):
        """What came is stored, with the reason why there is no more."""
        report = run(folder, tmp_path / "s", Fickle(once=str(tmp_path / "done")), paths=("2.mp4",), workers=1)
        assert report.outcomes[0].outcome == "partial"
        assert "RuntimeError: no more" in report.outcomes[0].reason
        by_modality = {index.spec["modality"]: index for index in FeatureStore.open(tmp_path / "s").indexes()}
        assert by_modality["video"][report.outcomes[0].key].n_clips == 1

    def test_gets_a_second_try_in_a_new_process(self, folder, tmp_path):
        """A crash may be for want of memory or of what came before; no clip comes twice."""
        report = run(folder, tmp_path / "s", Deadly("crash", once=str(tmp_path / "done")), workers=1)
        assert report.counts["stored"] == 5
        run(folder, tmp_path / "t", Grey())
        manifest = manifest_of(folder, *PATHS)
        for modality in ("video", "audio"):
            first, second = (values(tmp_path / name, manifest, modality) for name in "st")
            np.testing.assert_array_equal(first, second)

    def test_limits_that_nothing_can_keep_are_refused(self):
        """With the flag that sets them."""
        for stall_s in (0, -5, float("nan"), float("inf"), 1e300):
            with pytest.raises(ExtractSettingsError, match="--stall"):
                DecodeLimits(stall_s=stall_s)
        for memory_gb in (0, 0.4, float("nan"), float("inf"), 1e12, 1e300):
            with pytest.raises(ExtractSettingsError, match="--decoder-memory"):
                DecodeLimits(memory_gb=memory_gb)

    def test_the_largest_limits_are_ones_that_the_system_takes(self, folder, tmp_path):
        """What is allowed does not fail in the decoder."""
        most = DecodeLimits(stall_s=86_400, memory_gb=65_536)
        assert run(folder, tmp_path / "s", Grey(), paths=("0.mp4",), limits=most, workers=1).counts["stored"] == 1


HOLD = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A recording that nobody can open while this lasts: another process has a lease on it (Linux)."""
    path = write_video(tmp_path / "held.mp4", seconds=2, fps=10)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        if holder.stdout.readline() != "held\n":
            pytest.skip("no leases here")
        yield path
        holder.kill()


class TestAFileThatIsHashed:
    def test_and_whose_bytes_never_come_fails_alone(self, folder, tmp_path, held):
        """After --stall, with a reason that says so; the others are stored, and it is tried again next time."""
        paths = (str(held), *PATHS)
        report = run(folder, tmp_path / "s", Grey(), paths=paths, limits=DecodeLimits(stall_s=1), workers=2)
        assert report.counts == {"stored": 5, "already": 0, "partial": 0, "failed": 1}
        outcome = report.outcomes[0]
        assert (outcome.path, outcome.key) == (str(held), None)
        assert "no byte of it could be read for 1 s" in outcome.reason
        assert "--stall" in outcome.reason

    @pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="no /proc")
    def test_is_not_one_of_the_system_whose_bytes_never_end(self, folder, tmp_path):
        """What says that it has no bytes is taken at its word and never opened; /proc/kmsg waits for news."""
        (tmp_path / "news.mp4").symlink_to("/proc/kmsg")
        report = run(folder, tmp_path / "s", Grey(), paths=(str(tmp_path / "news.mp4"), "0.mp4"), workers=1)
        assert [outcome.outcome for outcome in report.outcomes] == ["failed", "stored"]
        assert "is empty (0 bytes)" in report.outcomes[0].reason

    def test_does_not_hold_up_an_interrupt(self, folder, tmp_path):
        """A terabyte would take an hour; all workers wait for it."""
        large = tmp_path / "large.mp4"
        large.touch()
        os.truncate(large, 1 << 40)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        try:
            with pytest.raises(KeyboardInterrupt):
                run(folder, tmp_path / "s", Grey(), paths=(str(large), *PATHS), workers=8)
        finally:
            signal.signal(signal.SIGINT, before)
            timer.cancel()
        assert 2 <= time.monotonic() - began < 4


class TestProcesses:
    @pytest.mark.parametrize("workers", [0, 3])
    def test_however_many_decode_the_numbers_are_the_same(self, folder, tmp_path, workers):
        """In this process, in one, or in several."""
        run(folder, tmp_path / "one", Grey(), workers=1)
        run(folder, tmp_path / "other", Grey(), workers=workers)
        manifest = manifest_of(folder, *PATHS)
        for modality in ("video", "audio"):
            first, second = (values(tmp_path / name, manifest, modality) for name in ("one", "other"))
            assert first.tobytes() == second.tobytes()

    def test_an_interrupt_ends_them_at_once(self, folder, tmp_path):
        """Also in the middle of a file that hangs."""

        def interrupt(step):
            if step.done == 2:
                raise KeyboardInterrupt

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(folder, tmp_path / "s", Deadly("hang"), progress=interrupt, workers=2)
        assert time.monotonic() - began < 8
        assert children(os.getpid()) == []

    def test_they_end_with_the_process_that_started_them(self, folder, tmp_path):
        """After kill -9, also in the middle of a file that hangs."""
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from tests.extract.plain_encoders import Deadly\n"
            "from tests.extract.test_workers import run\n"
            "run(Path(sys.argv[1]), Path(sys.argv[2]), Deadly('hang', once=sys.argv[3]), workers=1)\n"
        )
        hanging = tmp_path / "hanging"
        process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(tmp_path / "s"), str(hanging)])
        while not hanging.exists():
            time.sleep(0.05)
        (child,) = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(100):
            if not Path(f"/proc/{child}").exists():
                return
            time.sleep(0.05)
        pytest.fail("the decoding process outlived the run")

    def test_an_encoder_that_they_cannot_find_is_named_with_the_way_out(self, folder, tmp_path):
        """A class of a script or notebook is nowhere to be imported from; decoding in this process takes it."""
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from tests.extract.plain_encoders import Grey\n"
            "from tests.extract.test_workers import run\n"
            "class Mine(Grey):\n    pass\n"
            "print(run(Path(sys.argv[1]), Path(sys.argv[2]), Mine(), workers=int(sys.argv[3])).counts['stored'])\n"
        )
        command = [sys.executable, "-c", code, str(folder), str(tmp_path / "s")]
        refused = subprocess.run([*command, "1"], capture_output=True, text=True, check=False)
        assert "EncoderError: The encoder cannot be taken into a decoding process" in refused.stderr
        assert "workers=0" in refused.stderr
        assert subprocess.run([*command, "0"], capture_output=True, text=True, check=True).stdout == "5\n"

    def test_an_encoder_that_cannot_be_pickled_is_named(self, folder, tmp_path):
        """Before anything is decoded."""
        encoder = Grey()
        encoder.lock = threading.Lock()
        with pytest.raises(EncoderError, match=r"for_reading\(\)"):
            run(folder, tmp_path / "s", encoder, workers=1)


class TestChannel:
    def test_objects_and_arrays_arrive_as_they_were_sent(self):
        """Arrays are writable and of their own memory."""
        mine, its = map(Channel, socket.socketpair())
        array = np.arange(12.0).reshape(3, 4)
        thread = threading.Thread(target=its.send, args=({"a": array, "b": "text"},))
        thread.start()
        found = mine.receive()
        thread.join()
        np.testing.assert_array_equal(found["a"], array)
        found["a"][0, 0] = 7
        assert (array[0, 0], found["b"]) == (0, "text")
        mine.close()
        its.close()

    def test_silence_and_the_end_are_told_apart(self):
        """One is waited for in vain, the other is known at once."""
        mine, its = map(Channel, socket.socketpair())
        with pytest.raises(SilentError):
            mine.receive(timeout_s=0.3)
        with pytest.raises(ChannelClosedError):
            mine.receive(keep_waiting=lambda: False)
        its.close()
        with pytest.raises(ChannelClosedError):
            mine.receive()
        with pytest.raises(ChannelClosedError):
            mine.send(np.zeros(1 << 20))
        mine.close()


class TestPrefetcher:
    def test_reading_ahead_is_bounded(self):
        """No more waits than asked for, whatever the jobs yield; one item may always wait."""
        made = []

        def read(job, reader):
            assert reader == "reader"
            for number in range(100):
                made.append(number)
                yield job, number

        with Prefetcher(
            [1, 2], lambda _: nullcontext("reader"), read, n_workers=2, size_of=lambda _: 10, max_size=30
        ) as prefetcher:
            events = iter(prefetcher)
            next(events)
            time.sleep(0.2)
            assert len(made) <= 1 + 3 + 2
            assert sum(event is not None and event.item is None for event in events) == 2
        assert len(made) == 200

        def one(job, _reader):
            yield job

        with Prefetcher(
            [1, 2], lambda _: nullcontext(), one, n_workers=2, size_of=lambda _: 10**9, max_size=1
        ) as prefetcher:
            assert sorted(event.item for event in prefetcher if event.item) == [1, 2]

    def test_an_error_ends_its_job_and_not_the_others(self):
        """Each job ends once, with its error or without."""

        def read(job, _reader):
            yield job
            if job == 1:
                raise MemoryError("too large")

        with Prefetcher(
            [0, 1, 2], lambda _: nullcontext(), read, n_workers=2, size_of=lambda _: 1, max_size=8
        ) as prefetcher:
            ends = {event.job: event.error for event in prefetcher if event is not None and event.item is None}
        assert {job: type(error) for job, error in ends.items()} == {0: type(None), 1: MemoryError, 2: type(None)}

    def test_stopping_takes_the_same_time_however_many_wait_for_a_job(self):
        """Also while one of them is still being told what to read: there is one deadline for all."""
        told = threading.Event()

        def jobs():
            yield 0
            told.wait(60)

        def read(job, _reader):
            yield job

        with Prefetcher(
            jobs(), lambda _: nullcontext(), read, n_workers=12, size_of=lambda _: 1, max_size=8
        ) as prefetcher:
            assert next(iter(prefetcher)).item == 0
            began = time.monotonic()
        assert time.monotonic() - began < 5
        told.set()
