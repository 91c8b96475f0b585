"""How fast extraction is, against what the processor could do at best and against the straightforward loop.

    python benchmarks/extract.py                  # all of it, about ten minutes on two cores
    python benchmarks/extract.py --only models    # VideoMAE-base and WavLM-base, random weights, real sizes
    python benchmarks/extract.py --only light     # motion and prosody, where decoding dominates
    python benchmarks/extract.py --only sparse    # few clips of a long file
    python benchmarks/extract.py --only ray       # this machine as a Ray cluster; needs the extra `ray`

Recordings are MP4s (H.264, AAC) that are made first. Contenders take turns in one process; figures are medians over
rounds. The floor is the models' arithmetic (multiplications and additions of their matrices, counted) at the rate that
this machine multiplies float32 matrices of 1568 x 768 by 768 x 3072, measured between the rounds with the same threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from transformers import (
    AutoFeatureExtractor,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    WavLMConfig,
    WavLMModel,
)

from poise.extract import ClipSettings, extract, make_encoder, plan_clips, probe
from poise.extract.media.decode import _Leap, frames_on_screen, read_frames
from poise.extract.outcomes import ExtractReport
from poise.manifest import Manifest, read_manifest
from poise.store import FeatureStore

VIDEOMAE_GFLOP = 360.7
"""Of one clip of 16 frames at 224 x 224."""

WAVLM_GFLOP_PER_S = 14.8
"""Of one second of sound, in clips of 10 s."""

RATE_HZ = 16_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=("models", "light", "sparse", "ray"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=3, help="recordings of 40 s")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[Path, int, int], dict[str, float]]] = {
        "models": measure_models,
        "light": measure_light,
        "sparse": measure_sparse,
        "ray": measure_ray,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in parts.items():
            if arguments.only == name or (arguments.only is None and name != "ray"):
                figures = measure(Path(folder), arguments.files, arguments.rounds)
                print(f"\n{name}, {torch.get_num_threads()} threads")
                for what, value in figures.items():
                    print(f"{what:<66}{value:>10.3f}")


def measure_models(folder: Path, n_files: int, n_rounds: int) -> dict[str, float]:
    """The pipeline and the straightforward loop with base-size models."""
    manifest, seconds = make_recordings(folder / "media", n_files, seconds=40)
    video_folder, audio_folder = save_models(folder)
    encoders = make_encoder(video_folder, "video"), make_encoder(audio_folder, "audio")
    loop = StraightforwardLoop(video_folder, audio_folder)
    for encoder in encoders:
        encoder.load()
    times: dict[str, list[float]] = {"pipeline": [], "loop": []}
    rates, waits, report, naive = [], [], None, {}
    for number in range(n_rounds):
        rates.append(gemm_rate())
        began = time.perf_counter()
        naive = loop.run(manifest, folder / f"loop-{number}")
        times["loop"].append(time.perf_counter() - began)
        rates.append(gemm_rate())
        store = FeatureStore.create(folder / f"store-{number}")
        began = time.perf_counter()
        report = extract(manifest, store, video=encoders[0], audio=encoders[1], dtype="float32")
        times["pipeline"].append(time.perf_counter() - began)
        waits.append(report.waiting_s / report.seconds)
    again = extract(manifest, store, video=encoders[0], audio=encoders[1], dtype="float32")
    n_clips = sum(outcome.n_clips for outcome in again.outcomes)
    floor = (n_clips * VIDEOMAE_GFLOP + seconds * WAVLM_GFLOP_PER_S) / statistics.median(rates)
    pipeline, loop_s = statistics.median(times["pipeline"]), statistics.median(times["loop"])
    return {
        "clips": n_clips,
        "matrix product, GFLOP/s": statistics.median(rates),
        "floor, s": floor,
        "straightforward loop, s": loop_s,
        "pipeline, s": pipeline,
        "floor / pipeline": floor / pipeline,
        "floor / loop": floor / loop_s,
        "loop / pipeline": loop_s / pipeline,
        "share of the time in which the encoders waited for clips": statistics.median(waits),
        "least cosine between the embeddings of both": least_cosine(store, manifest, naive),
        "second run, s": again.seconds,
        "clips encoded in the second run": again.n_clips_encoded,
    }


def measure_light(folder: Path, n_files: int, n_rounds: int) -> dict[str, float]:
    """The encoders without weights, on 640 x 480."""
    manifest, seconds = make_recordings(folder / "media", n_files, seconds=40)
    times, reports = [], list[ExtractReport]()
    for number in range(n_rounds):
        store = FeatureStore.create(folder / f"light-{number}")
        began = time.perf_counter()
        reports.append(extract(manifest, store, video="motion", audio="prosody"))
        times.append(time.perf_counter() - began)
    return {
        "recordings, s": seconds,
        "motion and prosody, s": statistics.median(times),
        "times real time": seconds / statistics.median(times),
        "share of the time in which the encoders waited for clips": statistics.median(
            report.waiting_s / report.seconds for report in reports
        ),
    }


def measure_sparse(folder: Path, _n_files: int, n_rounds: int) -> dict[str, float]:
    """Eight clips of five minutes of 1280 x 720, with and without passing over what they do not need."""
    path = folder / "long.mp4"
    write_recording(path, seconds=300, size=(1280, 720), seed=1)
    found = probe(path)
    assert found.video is not None
    clips, _ = plan_clips(found.duration_s, ClipSettings(window_s=10, hop_s=40))
    wanted = [
        frames_on_screen(start + np.arange(16) * 4 / 25, found.video) for start, _ in clips.tolist()
    ]  # 16 frames, four apart
    picked: dict[str, dict[int, list[Any]]] = {}
    times: dict[str, list[float]] = {"leaping": [], "sequential": []}
    for _ in range(n_rounds):
        for name, taken in times.items():
            with mock.patch.object(_Leap, "begin", _Leap.begin if name == "leaping" else lambda *_: False):
                began = time.process_time()
                picked[name] = dict(read_frames(found, wanted, lambda frame: frame[::8, ::8].copy()))
                taken.append(time.process_time() - began)
    same = all(np.array_equal(picked["leaping"][i], picked["sequential"][i]) for i in range(len(wanted)))
    leaping, sequential = (statistics.median(times[name]) for name in ("leaping", "sequential"))
    return {
        "clips": len(picked["leaping"]),
        "frame by frame, processor s": sequential,
        "passing over, processor s": leaping,
        "frame by frame / passing over": sequential / leaping,
        "the same pixels": float(same),
    }


def measure_ray(folder: Path, _n_files: int, n_rounds: int) -> dict[str, float]:
    """Thirty short files, encoders without weights: a local run, a cluster of its own, one that runs already."""
    import ray  # noqa: PLC0415  only this one needs it

    manifest, _ = make_recordings(folder / "media", 30, seconds=6)
    times: dict[str, list[float]] = {"local": [], "ray, its own cluster": [], "ray, a running cluster": []}
    for number in range(n_rounds):
        for name, measured in times.items():
            if name.endswith("running cluster"):
                ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
            store = FeatureStore.create(folder / f"{name} {number}")
            began = time.perf_counter()
            extract(manifest, store, video="motion", audio="prosody", engine="ray" if "ray" in name else "local")
            measured.append(time.perf_counter() - began)
        ray.shutdown()
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    return {
        **{f"{name}, s": median for name, median in medians.items()},
        **{f"{name} / local": median / medians["local"] for name, median in medians.items() if name != "local"},
    }


def make_recordings(folder: Path, n_files: int, *, seconds: float) -> tuple[Manifest, float]:
    """Recordings of 640 x 480, their manifest, and how long they are together."""
    folder.mkdir(exist_ok=True)
    for number in range(n_files):
        if not (folder / f"{number}.mp4").exists():
            write_recording(folder / f"{number}.mp4", seconds=seconds, size=(640, 480), seed=number)
    table = folder / "manifest.csv"
    table.write_text("path\n" + "".join(f"{number}.mp4\n" for number in range(n_files)))
    return read_manifest(table, labels="ignored"), n_files * seconds


def write_recording(path: Path, *, seconds: float, size: tuple[int, int], seed: int, fps: int = 25) -> None:
    """A textured scene that sways, with the noise of a camera, and a voice-like hum."""
    rng = np.random.default_rng(seed)
    width, height = size
    scene = np.kron(rng.integers(40, 200, (height // 40 + 4, width // 40 + 4, 3)), np.ones((40, 40, 1)))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", 250
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(round(seconds * fps)):
            across = int(30 + 25 * np.sin(number / 9))
            noise = rng.normal(0, 3, (height // 4, width // 4, 1)).repeat(4, 0).repeat(4, 1)
            pixels = scene[20 : 20 + height, across : across + width] + noise
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = hum(seconds, rng)
        for first in range(0, len(samples), 1024):
            sound = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 48_000, first, Fraction(1, 48_000)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def hum(seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Harmonics that come and go, at 48 kHz."""
    times = np.arange(round(seconds * 48_000)) / 48_000
    voice = sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 12)) * (
        0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)
    )
    return (0.1 * voice + 0.003 * rng.standard_normal(len(times))).astype(np.float32)


def save_models(folder: Path) -> tuple[Path, Path]:
    """VideoMAE-base and WavLM-base with random weights, as folders."""
    pictures = {
        "do_resize": True, "size": {"shortest_edge": 224}, "resample": 2, "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
        "image_processor_type": "VideoMAEImageProcessor",
    }  # fmt: skip
    sound = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": RATE_HZ,
        "padding_value": 0.0, "do_normalize": False, "return_attention_mask": True,
    }  # fmt: skip
    for name, model, preprocessing in (
        ("videomae", VideoMAEModel(VideoMAEConfig(use_mean_pooling=False)), pictures),
        ("wavlm", WavLMModel(WavLMConfig()), sound),
    ):
        model.save_pretrained(folder / name)
        (folder / name / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder / "videomae", folder / "wavlm"


class StraightforwardLoop:
    """What one writes first: clip by clip, read, transformers' processor, one forward pass, np.save."""

    def __init__(self, video: Path, audio: Path) -> None:
        self._processor = VideoMAEImageProcessor.from_pretrained(video)
        self._extractor = AutoFeatureExtractor.from_pretrained(audio)
        self._video = VideoMAEModel.from_pretrained(video).eval()
        self._audio = WavLMModel.from_pretrained(audio).eval()

    def run(self, manifest: Manifest, folder: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """Embeddings of both modalities by path."""
        folder.mkdir()
        found = {}
        for row, path in enumerate(manifest.paths):
            found[path] = self._recording(manifest.file(row))
            np.save(folder / f"{row}-video.npy", found[path][0])
            np.save(folder / f"{row}-audio.npy", found[path][1])
        return found

    @torch.inference_mode()
    def _recording(self, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        sound = read_mono(path)
        picture, heard = [], []
        n_clips = len(sound) // (10 * RATE_HZ)
        for clip in range(n_clips):
            frames = read_clip(path, 10 * clip + 10 * (np.arange(16) + 0.5) / 16)
            pixels = self._processor(list(frames), return_tensors="pt")["pixel_values"]
            picture.append(self._video(pixel_values=pixels).last_hidden_state.mean(1)[0].numpy())
            samples = sound[10 * RATE_HZ * clip : 10 * RATE_HZ * (clip + 1)]
            values = self._extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")["input_values"]
            heard.append(self._audio(input_values=values).last_hidden_state.mean(1)[0].numpy())
        return np.array(picture), np.array(heard)


def read_clip(path: Path, times_s: NDArray[np.float64]) -> list[NDArray[np.uint8]]:
    """The frames on screen at some times, decoded from the keyframe before them."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(int(times_s[0] / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            while len(frames) < len(times_s) and frame.time + 1 / 25 > times_s[len(frames)]:
                frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            if len(frames) == len(times_s):
                break
    return frames


def read_mono(path: Path) -> NDArray[np.float32]:
    """The whole sound track at 16 kHz."""
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    resampled: NDArray[np.float32] = soxr.resample(np.concatenate(parts), rate, RATE_HZ, quality="HQ")
    return resampled


def gemm_rate(seconds: float = 2.0) -> float:
    """GFLOP/s of a float32 matrix product of the size that VideoMAE-base mostly does."""
    a, b = torch.randn(1568, 768), torch.randn(768, 3072)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - began)
    return 2 * 1568 * 768 * 3072 / statistics.median(times) / 1e9


def least_cosine(store: FeatureStore, manifest: Manifest, naive: dict[str, tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """The least cosine between embeddings of the pipeline and of the loop, over all clips and both modalities."""
    bags, least = store.load(manifest), 1.0
    for row, path in enumerate(manifest.paths):
        for modality, other in zip(("video", "audio"), naive[path], strict=True):
            mine = bags[row].values[modality].astype(np.float64)
            lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(other, axis=1)
            least = min(least, float(((mine * other).sum(1) / lengths).min()))
    return least


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
