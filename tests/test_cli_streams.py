"""Promises of the command line about streams and signals: who prints where, and how it ends when it is told to."""

import json
import os
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


    class Noisy(VideoEncoder):
        name, dim = "noisy", 1

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


@pytest.fixture
def noisy(tmp_path: Path) -> dict[str, str]:
    """An environment in which a package brings an encoder that prints wherever it can."""
    info = tmp_path / "package" / "noise-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "noise_encoders.py").write_text(textwrap.dedent(NOISY))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noise\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[poise.encoders]\nnoisy = noise_encoders:Noisy\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(info.parent), *sys.path])}


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_an_encoder_prints_stdout_is_one_document(tmp_path: Path, noisy: dict[str, str], workers: int) -> None:
    """By print, through C or by another program, in the run or where files are decoded: it is on stderr or nowhere."""
    write_video(tmp_path / "a.mp4", seconds=2, fps=10, sound=tone(2))
    (tmp_path / "m.csv").write_text("path\na.mp4\n")
    options = ["--video", "noisy", "--audio", "none", "--workers", str(workers), "--json"]
    command = [*MAIN, "extract", str(tmp_path / "m.csv"), "--store", str(tmp_path / "s"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=noisy)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stored"] == 1
    for said in ("said by encode", "written by encode", "put by a C library", "said by a program"):
        assert said in done.stderr
    assert ("said by prepare_frame" in done.stderr) == (workers == 0)
