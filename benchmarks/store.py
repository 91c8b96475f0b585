"""How fast the store is, as ratios to other ways of keeping the same embeddings, measured in turn in one process.

    python benchmarks/store.py                     # 10,000 recordings of about 20 clips × 768, float16
    python benchmarks/store.py --dtype float32
    python benchmarks/store.py --grow 1000,10000   # how each figure grows with the number of recordings

Everything is written to a temporary folder first; figures are medians over rounds, warm.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.manifest import Manifest
from poise.store import FeatureStore, RecordingFeatures
from poise.store.identity import name_key

DIM = 768
SPEC = {
    "schema": 1,
    "modality": "video",
    "encoder": {"name": "benchmark", "dim": DIM},
    "clips": {"window_s": 10.0, "hop_s": 10.0, "min_tail_s": 3.0},
}


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
    values = rng.standard_normal((int(counts.sum()), DIM), dtype=np.float32).astype(dtype)
    return Data(values, np.concatenate([[0], np.cumsum(counts)]))


def manifest_of(n_recordings: int) -> Manifest:
    return Manifest(
        table_path=None,
        root=Path("nowhere"),
        paths=tuple(f"r{row}.mp4" for row in range(n_recordings)),
        labels=np.zeros(n_recordings, dtype=np.int64),
        label_names=("low", "high"),
        speakers=None,
        sources=np.arange(n_recordings),
        augmentations=("",) * n_recordings,
    )


def write_store(folder: Path, data: Data, dtype: str) -> None:
    with FeatureStore.create(folder).writer({**SPEC, "dtype": dtype}) as writer:
        for row in range(len(data)):
            values = data.recording(row)
            starts = 10.0 * np.arange(len(values))
            writer.add(
                RecordingFeatures(
                    key=name_key(str(row)),
                    path=f"r{row}.mp4",
                    duration_s=10.0 * len(values),
                    outcome="stored",
                    embeddings=values,
                    clip_times=np.stack([starts, starts + 10.0], axis=1),
                )
            )


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


def median_seconds(what: Callable[[], Any], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        what()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def in_turn(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, taken in turn so that a noisy machine hits all alike."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            spent[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in spent.items()}


def measure(n_recordings: int, dtype: str, rounds: int) -> dict[str, float]:
    """All figures for one size."""
    data, manifest = make_data(n_recordings, dtype), manifest_of(n_recordings)
    folder = Path(tempfile.mkdtemp(prefix="poise-benchmark-"))
    try:
        began = time.perf_counter()
        write_store(folder / "store", data, dtype)
        found = {"write, ms per recording": 1e3 * (time.perf_counter() - began) / n_recordings}
        np.save(folder / "raw.npy", data.values)
        write_groups(folder / "groups.h5", data)
        write_npz(folder / "npz", data)
        raw = np.load(folder / "raw.npy", mmap_mode="r")
        store = FeatureStore.open(folder / "store")
        loaded = store.load(manifest).modalities["video"]
        if not np.array_equal(loaded.values, data.values):
            raise SystemExit("the store gave other values than were written")
        scans = in_turn(
            {
                "store": lambda: store.load(manifest),
                "raw": lambda: np.array(raw),
                "groups": lambda: scan_groups(folder / "groups.h5", n_recordings),
                "npz": lambda: scan_npz(folder / "npz", n_recordings),
            },
            rounds,
        )
        found["scan: store / raw mapped npy, speed"] = scans["raw"] / scans["store"]
        found["scan: store / h5 group per recording, speed"] = scans["groups"] / scans["store"]
        found["scan: store / npz per recording, speed"] = scans["npz"] / scans["store"]
        found["scan, GB/s"] = data.values.nbytes / scans["store"] / 1e9
        found["open, s"] = median_seconds(lambda: FeatureStore.open(folder / "store").feature_sets(), rounds)
    finally:
        shutil.rmtree(folder)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grow", help="sizes with commas, in place of --recordings")
    options = parser.parse_args()
    sizes = [int(size) for size in options.grow.split(",")] if options.grow else [options.recordings]
    columns = {size: measure(size, options.dtype, options.rounds) for size in sizes}
    width = max(map(len, columns[sizes[0]]))
    print(f"{options.dtype:<{width}}  " + "  ".join(f"{size:>10,}" for size in sizes))
    for name in columns[sizes[0]]:
        print(f"{name:<{width}}  " + "  ".join(f"{columns[size][name]:>10.3f}" for size in sizes))


if __name__ == "__main__":
    sys.exit(main())
