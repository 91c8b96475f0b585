"""Promises of the command line about streams and signals: who prints where, and how it ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.media import tone, write_video

MAIN = [sys.executable, "-c", "from poise.cli import main; main()"]

NOISY = """
    import ctypes
    import os

    import numpy as np

    from poise.extract.encoders.base import VideoEncoder

    print("said when it was imported")


    class Strange(VideoEncoder):
        name, dim = "strange", 1

        def settings(self):
            return {}

        def frame_times(self, start_s, end_s):
            return np.linspace(start_s, end_s, 3, endpoint=False)

        def prepare_frame(self, frame):
            print("said by prepare_frame")
            return frame.mean(axis=(0, 1))

        def encode(self, clips):
            print("said by encode")
            os.write(1, b"written by encode\\n")
            ctypes.CDLL(None).puts(b"put by a C library")
            os.system("echo said by a program")
            return np.array([[clip.data.mean()] for clip in clips], np.float32)
"""


def bring(folder: Path, module: str) -> dict[str, str]:
    """An environment in which a package brings the encoder ``Strange`` of a module, as ``strange``."""
    info = folder / "package" / "strange-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "strange_encoders.py").write_text(textwrap.dedent(module))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[poise.encoders]\nstrange = strange_encoders:Strange\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(info.parent), *sys.path])}


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_an_encoder_prints_stdout_is_one_document(tmp_path: Path, workers: int) -> None:
    """By print, through C or by another program, in the run or where files are decoded: it is on stderr or nowhere."""
    write_video(tmp_path / "a.mp4", seconds=2, fps=10, sound=tone(2))
    (tmp_path / "m.csv").write_text("path\na.mp4\n")
    options = ["--video", "strange", "--audio", "none", "--workers", str(workers), "--json"]
    command = [*MAIN, "extract", str(tmp_path / "m.csv"), "--store", str(tmp_path / "s"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=bring(tmp_path, NOISY))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 1
    for said in ("said by encode", "written by encode", "put by a C library", "said by a program"):
        assert said in done.stderr
    assert ("said by prepare_frame" in done.stderr) == (workers == 0)


SIGNALLED = """
import os, signal, sys, threading, time
import poise.cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background shell
number, delay, times = int(sys.argv.pop(1)), float(sys.argv.pop(1)), int(sys.argv.pop(1))


def send():
    while signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the last that is listened to
        time.sleep(0)
    time.sleep(delay)
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.01)


threading.Thread(target=send, daemon=True).start()
poise.cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize(("delay_s", "times"), [(0, 1), (0.002, 3), (0.03, 1), (0.2, 3)])
def test_a_signal_ends_a_command_with_one_sentence_whenever_it_comes(
    tmp_path: Path, number: int, code: int, delay_s: float, times: int
) -> None:
    """While options are read, packages imported or the first file hashed, once or several times."""
    large = tmp_path / "large.mp4"
    large.touch()
    os.truncate(large, 1 << 40)  # hashing it takes an hour
    (tmp_path / "m.csv").write_text("path\nlarge.mp4\n")
    options = ["--store", str(tmp_path / "s"), "--video", "motion", "--audio", "none"]
    sent = [str(int(number)), str(delay_s), str(times)]
    command = [sys.executable, "-c", SIGNALLED, *sent, "extract", str(tmp_path / "m.csv"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("Interrupted.") == 1
    assert "Traceback" not in done.stderr


TIDYING = """
    import os
    import signal
    import time


    class Tidied:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass


    def Strange():
        Tidied()
        time.sleep(30)
"""


def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(tmp_path: Path) -> None:
    """Python drops what is raised while it tidies up; the command ends all the same, and soon."""
    write_video(tmp_path / "a.mp4", seconds=1, fps=10)
    (tmp_path / "m.csv").write_text("path\na.mp4\n")
    options = ["--store", str(tmp_path / "s"), "--video", "strange", "--audio", "none"]
    command = [*MAIN, "extract", str(tmp_path / "m.csv"), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=bring(tmp_path, TIDYING), timeout=20
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.count("Interrupted.") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
@pytest.mark.parametrize(("closed", "numbers"), [("<&-", [0]), ("2>&-", [2]), ("<&- >&- 2>&-", [0, 1, 2])])
def test_no_file_takes_the_place_of_a_stream_that_was_closed(tmp_path: Path, closed: str, numbers: list[int]) -> None:
    """What libraries print to that number would else go into a file of the store."""
    write_video(tmp_path / "a.mp4", seconds=2, fps=10, sound=tone(2))
    (tmp_path / "m.csv").write_text("path\na.mp4\n")
    look = f"[open('{tmp_path}/seen', 'a').write(os.readlink(f'/proc/self/fd/{{n}}') + ' ') for n in {numbers}]"
    environment = bring(tmp_path, NOISY.replace('os.system("echo said by a program")', look))
    options = ["--store", str(tmp_path / "s"), "--video", "strange", "--audio", "none"]
    command = ["bash", "-c", f'"$@" {closed}', "bash", *MAIN, "extract", str(tmp_path / "m.csv"), *options]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen").read_text().split() == ["/dev/null"] * len(numbers)


def test_an_interrupted_augment_speaks_of_no_store(tmp_path: Path) -> None:
    """Nothing was stored, and no half of a table is left."""
    (tmp_path / "m.csv").write_text("path,label\na.mp4,0\n")
    options = ["--out", str(tmp_path / "m2.csv"), "--copies", "900000"]  # takes most of a minute
    command = [sys.executable, "-c", SIGNALLED, "2", "0.5", "1", "augment", str(tmp_path / "m.csv"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
