"""How fast the store is, as ratios to other ways of keeping the same embeddings, taken in turn in one process.

    python benchmarks/store.py                            # 10,000 recordings of about 20 clips x 768, float16
    python benchmarks/store.py --dtype float32
    python benchmarks/store.py --grow 1000,10000,100000   # how each figure grows with the number of recordings
    python benchmarks/store.py --extract 10000            # a second `poise extract` over files that are all stored

Everything is written to a temporary folder first (``--folder`` says where); figures are medians over rounds, with files
in the page cache. Peaks of memory are those of a process of their own, above what it takes once the index is read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.extract.clips import ClipSettings
from poise.extract.encoders.registry import make_encoder
from poise.extract.fingerprint import build_spec
from poise.manifest import Manifest
from poise.store import FeatureStore, RecordingFeatures
from poise.store.identity import file_key, name_key

DIM = 768
SPEC = {
    "schema": 1,
    "modality": "video",
    "encoder": {"name": "benchmark", "dim": DIM},
    "clips": {"window_s": 10.0, "hop_s": 10.0, "min_tail_s": 3.0},
}
N_RANDOM = 1_000
MAX_PEERS = 10_000
"""Beyond so many recordings the other layouts, which take minutes, are left out."""


@dataclass(frozen=True)
class Data:
    """The embeddings that every layout holds: packed values, and where each recording's begin."""

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def recording(self, row: int) -> NDArray[Any]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


def make_data(n_recordings: int, dtype: str) -> Data:
    rng = np.random.default_rng(0)
    counts = rng.integers(10, 31, n_recordings)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.empty((offsets[-1], DIM), dtype)
    for first in range(0, len(values), 100_000):
        block = values[first : first + 100_000]
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
    return Data(values, offsets)


def manifest_of(rows: NDArray[np.int64]) -> Manifest:
    n = len(rows)
    return Manifest(
        table_path=None,
        root=Path("nowhere"),
        paths=tuple(f"r{row}.mp4" for row in rows.tolist()),
        labels=np.zeros(n, dtype=np.int64),
        label_names=("low", "high"),
        speakers=None,
        sources=np.arange(n),
        augmentations=("",) * n,
    )


def features_of(data: Data) -> Iterator[RecordingFeatures]:
    for row in range(len(data)):
        values = data.recording(row)
        starts = 10.0 * np.arange(len(values))
        yield RecordingFeatures(
            key=name_key(str(row)),
            path=f"r{row}.mp4",
            duration_s=10.0 * len(values),
            outcome="stored",
            embeddings=values,
            clip_times=np.stack([starts, starts + 10.0], axis=1),
        )


def write_store(folder: Path, data: Data, dtype: str) -> None:
    with FeatureStore.create(folder).writer({**SPEC, "dtype": dtype}) as writer:
        for features in features_of(data):
            writer.add(features)


def write_groups(path: Path, data: Data) -> None:
    with h5py.File(path, "w") as file:
        for row in range(len(data)):
            file.create_group(f"r{row}").create_dataset("features", data=data.recording(row))


def write_npz(folder: Path, data: Data) -> None:
    folder.mkdir()
    for row in range(len(data)):
        np.savez(folder / f"r{row}.npz", clips=data.recording(row))


def scan_groups(path: Path, n: int) -> NDArray[Any]:
    with h5py.File(path) as file:
        return np.concatenate([file[f"r{row}/features"][()] for row in range(n)])


def scan_npz(folder: Path, n: int) -> NDArray[Any]:
    return np.concatenate([np.load(folder / f"r{row}.npz")["clips"] for row in range(n)])


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, taken in turn so that a noisy machine hits all alike."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            spent[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def each_in_turn(first: Callable[[int], Any], second: Callable[[int], Any], items: list[int]) -> tuple[float, float]:
    """Median seconds of two ways to do something with each item."""
    spent: tuple[list[float], list[float]] = ([], [])
    for item in items:
        for way, times in zip((first, second), spent, strict=True):
            began = time.perf_counter()
            way(item)
            times.append(time.perf_counter() - began)
    return statistics.median(spent[0]), statistics.median(spent[1])


def _peak_of(what: str, folder: str, answer: Any) -> None:
    store = FeatureStore.open(Path(folder) / "store")
    index = next(store.indexes())
    index.all_rows()
    before = _peak_mb()
    began = time.perf_counter()
    if what == "compact":
        store.compact()
    else:
        store.export(Path(folder) / "export.h5")
    seconds = time.perf_counter() - began
    answer.put((seconds, _peak_mb() - before))


def _peak_mb() -> float:
    """Most memory that this process ever had; getrusage would also count its parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def peak_of(what: str, folder: Path) -> tuple[float, float]:
    """Seconds and MB above the index that compacting or exporting takes in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_peak_of, args=(what, str(folder), answer))
    child.start()
    found: tuple[float, float] = answer.get()
    child.join()
    return found


def scatter(folder: Path, data: Data, dtype: str) -> None:
    """Write the store anew as many small segments, as a slow extraction does."""
    shutil.rmtree(folder / "store")
    writer = FeatureStore.create(folder / "store").writer({**SPEC, "dtype": dtype})
    for row, features in enumerate(features_of(data)):
        writer.add(features)
        if row % 16 == 15:
            writer.flush()
    writer.close()


def measure(n_recordings: int, dtype: str, rounds: int, folder: Path) -> dict[str, float]:
    """All figures for one size."""
    data = make_data(n_recordings, dtype)
    rng = np.random.default_rng(1)
    began = time.perf_counter()
    write_store(folder / "store", data, dtype)
    found = {"write with sync, ms per recording": 1e3 * (time.perf_counter() - began) / n_recordings}
    np.save(folder / "raw.npy", data.values)
    raw = np.load(folder / "raw.npy", mmap_mode="r")
    store = FeatureStore.open(folder / "store")
    found |= opening(folder)
    if not np.array_equal(store.load().modalities["video"].values, data.values):
        raise SystemExit("the store gave other values than were written")
    found |= scanning(store, raw, data, folder, rounds)
    index = next(store.indexes())
    keys = [name_key(str(row)) for row in range(len(data))]
    rows = rng.permutation(n_recordings)[:N_RANDOM]
    offsets = data.offsets
    of_raw, of_store = each_in_turn(
        lambda row: np.array(raw[offsets[row] : offsets[row + 1]]),
        lambda row: np.array(index.embeddings(keys[row])),
        rows.tolist(),
    )
    found["one recording at random / raw mapped npy, time"] = of_store / of_raw
    found["one recording at random, microseconds"] = 1e6 * of_store
    some = manifest_of(rows)
    gather = np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in rows])
    taken = in_turn({"store": lambda: store.load(some), "raw": lambda: raw[gather]}, rounds)
    found[f"load(manifest) of {len(rows):,} at random, ms"] = 1e3 * taken["store"]
    found["  the same / raw mapped npy by row numbers, time"] = taken["store"] / taken["raw"]
    seconds, peak = peak_of("export", folder)
    found |= {"export, MB/s": data.values.nbytes / 1e6 / seconds, "export, peak MB above the index": peak}
    scatter(folder, data, dtype)
    seconds, peak = peak_of("compact", folder)
    found |= {"compact, MB/s": data.values.nbytes / 1e6 / seconds, "compact, peak MB above the index": peak}
    return found


def opening(folder: Path) -> dict[str, float]:
    """What it takes to open a store and to know what is in it."""

    def look() -> None:
        FeatureStore.open(folder / "store").feature_sets()

    def look_without_copy() -> None:
        shutil.rmtree(folder / "store" / "cache", ignore_errors=True)
        look()

    spent = in_turn({"without": look_without_copy, "with": look}, 3)
    tracemalloc.start()
    look()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "open, s": spent["with"],
        "open without the copy of the index, s": spent["without"],
        "open, peak MB": peak / 1e6,
    }


def scanning(store: FeatureStore, raw: NDArray[Any], data: Data, folder: Path, rounds: int) -> dict[str, float]:
    """Everything into one array."""
    n = len(data)
    every = manifest_of(np.arange(n))
    ways: dict[str, Callable[[], Any]] = {
        "store": store.load,
        "raw": lambda: np.array(raw),
        "manifest": lambda: store.load(every),
        "verified": lambda: store.load(verify=True),
    }
    if n <= MAX_PEERS:
        write_groups(folder / "groups.h5", data)
        write_npz(folder / "npz", data)
        ways |= {"groups": lambda: scan_groups(folder / "groups.h5", n), "npz": lambda: scan_npz(folder / "npz", n)}
    spent = in_turn(ways, rounds)
    found = {
        "scan / raw mapped npy, speed": spent["raw"] / spent["store"],
        "scan by manifest / raw mapped npy, speed": spent["raw"] / spent["manifest"],
        "scan, GB/s": data.values.nbytes / spent["store"] / 1e9,
        "scan with digests checked, GB/s": data.values.nbytes / spent["verified"] / 1e9,
    }
    for name, what in (("groups", "h5 group per recording"), ("npz", "npz per recording")):
        found[f"scan / {what}, speed"] = spent[name] / spent["store"] if name in spent else float("nan")
    return found


def second_extract(n_recordings: int, folder: Path) -> dict[str, float]:
    """Whole seconds of ``poise extract`` over files that are all in the store."""
    media = folder / "media"
    media.mkdir()
    names = [f"{row:06d}.mp4" for row in range(n_recordings)]
    for name in names:
        (media / name).write_bytes(name.encode())
    (media / "manifest.csv").write_text("path,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names)))
    time.sleep(2.1)  # what was changed just now is hashed again
    store = FeatureStore.create(folder / "features")
    for modality, name in (("video", "motion"), ("audio", "prosody")):
        encoder = make_encoder(name, modality)  # type: ignore[arg-type]
        with store.writer(build_spec(encoder, ClipSettings(), "pyav", "float16")) as writer:
            for path in names:
                values, times = np.ones((3, encoder.dim)), np.arange(6.0).reshape(3, 2)
                writer.add(
                    RecordingFeatures(
                        key=file_key(media / path),
                        path=path,
                        duration_s=6.0,
                        outcome="stored",
                        embeddings=values,
                        clip_times=times,
                    )
                )
    command = [str(Path(sys.executable).parent / "poise"), "extract", str(media / "manifest.csv")]
    command += ["--store", str(folder / "features"), "--video", "motion", "--audio", "prosody"]
    spent = []
    for _ in range(4):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        spent.append(time.perf_counter() - began)
        if f"{n_recordings} already" not in done.stdout:
            raise SystemExit(done.stdout + done.stderr)
    return {"extract, first look (hashes), s": spent[0], "extract again, s": statistics.median(spent[1:])}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grow", help="sizes with commas, in place of --recordings")
    parser.add_argument("--extract", type=int, help="measure a second extract over so many files instead")
    parser.add_argument("--folder", type=Path, help="where to put temporary files")
    options = parser.parse_args()
    sizes = [int(size) for size in options.grow.split(",")] if options.grow else [options.recordings]
    columns = {}
    for size in [options.extract] if options.extract else sizes:
        folder = Path(tempfile.mkdtemp(prefix="poise-benchmark-", dir=options.folder))
        try:
            columns[size] = (
                second_extract(size, folder)
                if options.extract
                else measure(size, options.dtype, options.rounds, folder)
            )
        finally:
            shutil.rmtree(folder)
    print_columns(options.dtype, columns)


def print_columns(title: str, columns: dict[int, dict[str, float]]) -> None:
    names = next(iter(columns.values()))
    width = max(map(len, names))
    print(f"{title:<{width}}  " + "  ".join(f"{size:>10,}" for size in columns))
    for name in names:
        print(f"{name:<{width}}  " + "  ".join(f"{column[name]:>10.3f}" for column in columns.values()))


if __name__ == "__main__":
    sys.exit(main())
