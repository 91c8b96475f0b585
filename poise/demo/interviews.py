"""The demo's recordings: who speaks with what composure, as mp4 files with a manifest. Not what is done with them.

Each recording has a composure that decides its label. Voice and picture show it with opposite errors, so that either
alone says something and both together say more; speakers differ in everything else, and each has all labels equally
often, so that the speaker alone says nothing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from poise.demo.answers import speak_answer
from poise.demo.face import HEIGHT_PX, WIDTH_PX, Portrait
from poise.demo.gestures import move
from poise.demo.people import behave, deliver, meet
from poise.demo.speech import SAMPLE_RATE_HZ
from poise.errors import OutputError

LABELS = ("low", "moderate", "high")
FPS = 15
SHORTEST_S, LONGEST_S = 13.2, 15.0
LABEL_SPREAD = 0.25
DISAGREEMENT = 0.55


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """A synthesised recording before it is compressed.

    Attributes
    ----------
    samples : ndarray of shape (n_samples,), float32
        Voice, 22,050 samples a second.
    frames : ndarray of shape (n_frames, 240, 320, 3), uint8
        Pictures, RGB, 15 a second.
    """

    samples: NDArray[np.float32]
    frames: NDArray[np.uint8]


def synthesise(*, speaker: int, take: int, label: str, seed: int = 0) -> Recording:
    """Synthesise one recording; the same arguments give the same samples and pixels.

    Parameters
    ----------
    speaker : int
        Number of the speaker, from 0.
    take : int
        Number of the recording among the speaker's own, from 0.
    label : {"low", "moderate", "high"}
        Level of composure.
    seed : int
        Seed of the whole set.

    Returns
    -------
    Recording
        13 to 15 seconds.
    """
    rng = np.random.default_rng((seed, speaker, 1, take))
    composure = LABELS.index(label) - 1.0 + rng.normal(0.0, LABEL_SPREAD)
    disagreement = rng.normal(0.0, DISAGREEMENT)
    in_voice, in_picture = composure + disagreement, composure - disagreement
    person = meet(speaker, seed)
    samples = speak_answer(deliver(person, in_voice), rng.uniform(SHORTEST_S, LONGEST_S), rng)
    pose = move(behave(person, in_picture), _loudness(samples), FPS, rng)
    portrait = Portrait(person.look, seed=int(rng.integers(2**31)))
    return Recording(samples=samples, frames=np.stack([portrait.draw(pose, i) for i in range(len(pose.mouth))]))


def write_recording(path: str | Path, *, speaker: int, take: int, label: str, seed: int = 0) -> Path:
    """Synthesise one recording (see :func:`synthesise`) and write it as H.264 and AAC.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    recording = synthesise(speaker=speaker, take=take, label=label, seed=seed)
    try:
        _write_mp4(path, recording)
    except OSError as error:
        raise OutputError(
            f"the recording {path} cannot be written: {error}; expected a folder that exists and has room. "
            "Choose another folder"
        ) from error
    return path


def write_interviews(
    folder: str | Path,
    *,
    n_speakers: int = 8,
    per_speaker: int = 6,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a labelled set of short interviews and its manifest.

    Parameters
    ----------
    folder : path
        Where the files go; made if it is not there.
    n_speakers, per_speaker : int
        Speakers, and recordings of each; the labels go round, so every speaker has all of them if there are three.
    seed : int
        The same seed gives the same samples and pixels.
    progress : callable, optional
        Called with the number of files written and the number of all, after each.

    Returns
    -------
    Path
        ``manifest.csv`` with the columns ``path``, ``label`` (low, moderate, high) and ``speaker``.

    Raises
    ------
    MissingDependencyError
        ``espeakng-loader`` is not installed.
    OutputError
        The folder cannot be written.
    """
    folder = Path(folder)
    rows = [
        (f"s{speaker + 1:02d}_{take + 1:02d}.mp4", label, speaker, take)
        for speaker in range(n_speakers)
        for take, label in enumerate(_shuffled_labels(per_speaker, speaker, seed))
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _write_manifest(
            folder / "manifest.csv", [(name, label, f"s{s + 1:02d}") for name, label, s, _ in rows]
        )
    except OSError as error:
        raise OutputError(
            f"the demo's interviews cannot be written to {folder}: {error}; expected a folder that can be written. "
            "Choose another with --out"
        ) from error
    # numpy and the video encoder let go of the interpreter for most of the work, so threads are enough
    with ThreadPoolExecutor(max_workers=max(1, min(8, os.cpu_count() or 1))) as pool:
        written = [
            pool.submit(write_recording, folder / name, speaker=speaker, take=take, label=label, seed=seed)
            for name, label, speaker, take in rows
        ]
        try:
            for done, future in enumerate(as_completed(written), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(rows))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return manifest


def _shuffled_labels(n: int, speaker: int, seed: int) -> list[str]:
    """Each label equally often, in an order that tells nothing."""
    order = np.random.default_rng((seed, speaker, 2)).permutation(n)
    return [LABELS[i % len(LABELS)] for i in order]


def _write_manifest(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "speaker"))
        writer.writerows(rows)
    return path


def _loudness(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Loudness around each frame of picture, 0..1, shape (n_frames,)."""
    n_frames = int(len(samples) * FPS / SAMPLE_RATE_HZ)
    per_frame = SAMPLE_RATE_HZ // FPS
    blocks = samples[: n_frames * per_frame].reshape(n_frames, per_frame).astype(np.float64)
    level = np.sqrt(np.mean(blocks**2, axis=1))
    return np.asarray(np.clip(level / np.percentile(level, 95), 0.0, 1.0))


def _write_mp4(path: Path, recording: Recording) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        # one thread and no macroblock tree, with which x264 gives now these, now those bytes for the same pictures;
        # several files are written at once anyway
        video.codec_context.thread_count = 1
        video.options = {"preset": "veryfast", "crf": "23", "x264-params": "no-mbtree=1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=64_000)
        for index, pixels in enumerate(recording.frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(recording.samples[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
