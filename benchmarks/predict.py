"""Where the time of a prediction goes: loading a bundle, decoding, encoding, the head, and all that lies between.

    python benchmarks/predict.py                  # both; some three minutes on two cores
    python benchmarks/predict.py --only light     # motion and prosody
    python benchmarks/predict.py --only models    # VideoMAE-base and WavLM-base, random weights, real sizes

The recording is an MP4 (H.264, AAC) of 640 x 480 that is made first. *Encoders* is the time in which at least one call
of an encoder's `encode` is under way, taken at the calls themselves; *decoders* the time in which none is and a
decoding process is waited for. Figures are medians over rounds, after one prediction that is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from extract import save_models, write_recording

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' manifest

from poise.extract import ClipSettings, build_spec, make_encoder
from poise.extract.encoders.base import Encoder
from poise.heads import Strategy
from poise.heads.splits import Protocol
from poise.serve.predict import Predictor
from poise.serve.training import train
from poise.store.bags import Bags
from poise.store.schema import Modality
from tests.heads.recordings import make_manifest

SECONDS = 30.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=("light", "models"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pool", default="mean/early/cumulative", help="the strategy")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_recording(folder / "answer.mp4", seconds=SECONDS, size=(640, 480), seed=0)
        for kind in ("light", "models"):
            if arguments.only in (None, kind):
                places: dict[Modality, str] = {"video": "motion", "audio": "prosody"}
                if kind == "models":
                    video, audio = save_models(folder)
                    places = {"video": str(video), "audio": str(audio)}
                print(f"\n{kind}: {', '.join(Path(place).name for place in places.values())}; {arguments.pool}")
                for what, value in measure(folder, places, arguments.pool, arguments.rounds).items():
                    print(f"{what:<50}{value:>10.3f}")


def measure(folder: Path, places: Mapping[Modality, str], strategy: str, n_rounds: int) -> dict[str, float]:
    """Loading, and where the time of a prediction goes."""
    model = folder / "model.zip"
    encoders = {modality: make_encoder(place, modality) for modality, place in places.items()}
    make_model(model, encoders, strategy)
    with mock.patch("poise.serve.predict.rebuild_encoder", lambda modality, *_, **__: encoders[modality]):
        bundle_s = statistics.median(seconds_of(lambda: Predictor.from_bundle(model)) for _ in range(20))
    found_s = seconds_of(lambda: Predictor.from_bundle(model, encoders=places))
    with Predictor.from_bundle(model, encoders=places) as predictor:
        load_s = seconds_of(predictor.load)
        watch = Watch(predictor)
        first_s = seconds_of(lambda: predictor.predict(folder / "answer.mp4"))
        watch.take()
        rounds = []
        for _ in range(n_rounds):
            timings = predictor.predict(folder / "answer.mp4").timings
            rounds.append({**timings, **dict(zip(("encoders", "decoders"), watch.take(), strict=True))})
    middle = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    shares = [(one["decoders"] + one["encoders"]) / one["total"] for one in rounds]
    return {
        "bundle read, checked and its head rebuilt, ms": 1000 * bundle_s,
        "the same with encoders found and hashed, s": found_s,
        "weights loaded, s": load_s,
        "first prediction, s": first_s,
        "a prediction, s": middle["total"],
        "  encoders, s": middle["encoders"],
        "  decoders, s": middle["decoders"],
        "  head, flags and single clips, ms": 1000 * middle["head"],
        "share in decoders and encoders": statistics.median(shares),
        "  least of all rounds": min(shares),
        "times real time": SECONDS / middle["total"],
    }


def make_model(path: Path, encoders: Mapping[Modality, Encoder], strategy: str) -> None:
    """A bundle of a head that learnt from random numbers, for these encoders."""
    rng = np.random.default_rng(0)
    labels = [row % 3 for row in range(48)]
    manifest = make_manifest(labels, speakers=[f"s{row // 6}" for row in range(48)])
    arrays = {
        modality: [rng.normal(label, 3, (4, encoder.dim)).astype(np.float32) for label in labels]
        for modality, encoder in encoders.items()
    }
    specs = {modality: build_spec(encoder, ClipSettings(), "pyav", "float16") for modality, encoder in encoders.items()}
    train(
        Bags.from_arrays(arrays, keys=manifest.paths),
        manifest,
        specs,
        path,
        strategy=Strategy.parse(strategy),
        protocols=[Protocol.parse("logo:speaker")],
    )


class Watch:
    """When encoders of a predictor are at work, and when its clips are waited for."""

    def __init__(self, predictor: Predictor) -> None:
        self.encoding: list[tuple[float, float]] = []
        self.waiting: list[tuple[float, float]] = []
        for encoder in predictor._files._encoders.values():
            encoder.encode = self._timed(encoder.encode)  # type: ignore[method-assign]
        self._reading, predictor._files._readers.reading = predictor._files._readers.reading, self._watched

    def _timed(self, encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(clips: Any) -> Any:
            began = time.perf_counter()
            try:
                return encode(clips)
            finally:
                self.encoding.append((began, time.perf_counter()))

        return timed

    @contextmanager
    def _watched(self, parts: Any) -> Iterator[Iterator[Any]]:
        with self._reading(parts) as events:
            yield self._events(events)

    def _events(self, events: Iterator[Any]) -> Iterator[Any]:
        while True:
            began = time.perf_counter()
            event = next(events, self)
            self.waiting.append((began, time.perf_counter()))
            if event is self:
                return
            yield event

    def take(self) -> tuple[float, float]:
        """Seconds with at least one call of an encoder, and seconds of waiting without; since the last time."""
        encoding = length(self.encoding)
        either = length(self.encoding + self.waiting)
        self.encoding, self.waiting = [], []
        return encoding, either - encoding


def length(spans: list[tuple[float, float]]) -> float:
    """How much of the time some spans cover, each moment once."""
    total, covered = 0.0, -np.inf
    for begins, ends in sorted(spans):
        total += max(0.0, ends - max(begins, covered))
        covered = max(covered, ends)
    return float(total)


def seconds_of(work: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
