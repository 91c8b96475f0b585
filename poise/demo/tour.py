"""The tour of `poise demo`: synthesise, extract, compare, train, predict, with two controls that must find nothing.

Synthesis lives beside it; drawing tables does not live here.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from poise.demo.interviews import LABELS, write_interviews, write_recording
from poise.errors import OutputError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.tiny import save_tiny_videomae, save_tiny_wavlm
from poise.extract.outcomes import ExtractReport
from poise.extract.pipeline import extract
from poise.heads.compare import compare
from poise.heads.comparison import Comparison
from poise.heads.report.page import write_report
from poise.heads.report.reading import read_study
from poise.heads.splits import Protocol
from poise.heads.strategy import Strategy
from poise.heads.study import describe_study, write_study
from poise.manifest import Manifest, read_manifest
from poise.serve.predict import Predictor
from poise.serve.prediction import Prediction
from poise.serve.training import train
from poise.store.bags import Bags
from poise.store.store import FeatureStore

MARKER = "poise-demo.json"
CLIPS = ClipSettings(window_s=5.0, hop_s=5.0, min_tail_s=3.0)
STRATEGIES = (
    "mean/video/cumulative",
    "mean/audio/cumulative",
    "mean/early/cumulative",
    "mean-std/early/cumulative",
    "attention/early/corn",
)
SHIPPED = "mean/early/cumulative"
BY_SPEAKER = "logo:speaker"
PROTOCOLS = ("stratified:5", BY_SPEAKER)
N_SHUFFLES = 10

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What the tour found.

    Attributes
    ----------
    folder : Path
        Where everything lies.
    report, second_report : ExtractReport
        The first extraction, and the same command again.
    comparison : Comparison
        Strategies on the weight-free features.
    shuffled_qwk : float
        Quadratic kappa of the shipped strategy by speaker, mean over shuffled labels.
    random : Comparison
        The shipped strategy on randomly initialised VideoMAE and WavLM.
    predictions : dict of str to Prediction
        What the trained model says of recordings of a speaker it has not seen, by the level they were made as.
    seconds : dict of str to float
        Time of each step.
    """

    folder: Path
    report: ExtractReport
    second_report: ExtractReport
    comparison: Comparison
    shuffled_qwk: float
    random: Comparison
    predictions: dict[str, Prediction]
    seconds: dict[str, float]

    def qwk(self, strategy: str, protocol: str, comparison: Comparison | None = None) -> float | None:
        """Quadratic kappa of one line of a leaderboard."""
        rows = (comparison or self.comparison).rows
        return next(r.metrics.values["qwk"] for r in rows if (r.strategy, r.protocol) == (strategy, protocol))

    def accuracy(self, strategy: str, protocol: str) -> tuple[float, float, float]:
        """Share of recordings that one line of the leaderboard gets right, and its interval."""
        row = next(r for r in self.comparison.rows if (r.strategy, r.protocol) == (strategy, protocol))
        low, high = row.interval.values["accuracy"] or (0.0, 1.0)
        return row.metrics.values["accuracy"] or 0.0, low, high

    def to_json(self) -> dict[str, Any]:
        """As ``poise demo --json`` prints it."""
        return {
            "folder": str(self.folder),
            "extract": self.report.to_json(),
            "extract_again": self.second_report.to_json(),
            **self.comparison.to_json(study=str(self.folder / "study")),
            "shuffled_labels": {"strategy": SHIPPED, "protocol": BY_SPEAKER, "qwk": self.shuffled_qwk},
            "random_encoders": [row.to_json() for row in self.random.rows],
            "predictions": [{"made_as": label, **found.to_json()} for label, found in self.predictions.items()],
            "seconds": self.seconds,
        }


def run(folder: Path, *, seed: int = 0, say: Say = lambda _: None) -> Findings:
    """Take the tour.

    Parameters
    ----------
    folder : Path
        A new folder, an empty one, or one of an earlier tour, which is replaced.
    seed : int
        Seed of the synthesis and of the folds.
    say : callable
        Told what is being done, a line at a time.

    Returns
    -------
    Findings

    Raises
    ------
    OutputError
        The folder holds other things, or cannot be written.
    MissingDependencyError
        espeak-ng is not installed.
    """
    _make_room(folder, seed)
    clock = _Clock()
    say("Synthesising 48 interviews of 8 speakers: espeak-ng speaks, a head is drawn, nods and looks away.")
    table = write_interviews(folder / "interviews", seed=seed)
    held_out = {
        label: write_recording(folder / f"ninth_speaker_{label}.mp4", speaker=8, take=take, label=label, seed=seed)
        for take, label in enumerate(LABELS)
    }
    manifest = read_manifest(table, label_names=LABELS, files="must exist")
    clock.lap("synthesise")

    say("Extracting with the encoders that need no weights: motion and prosody.")
    store = FeatureStore.create(folder / "features")
    report = extract(manifest, store, video="motion", audio="prosody", clips=CLIPS)
    clock.lap("extract")
    say("The same again: nothing is left to do.")
    again = extract(manifest, store, video="motion", audio="prosody", clips=CLIPS)
    clock.lap("extract again")
    say("A small VideoMAE and WavLM with random weights, through the same path: they have learnt nothing.")
    _extract_random(folder / "random-models", manifest, store)
    clock.lap("extract random")

    say("Comparing strategies under random folds and by speaker; asking whether the figures are real.")
    bags = store.load(manifest, video="motion", audio="prosody")
    comparison = _compare(bags, manifest, STRATEGIES, seed, in_depth=True)
    specs = {
        index.spec["modality"]: index.spec
        for index in store.indexes()
        if index.name in set(report.feature_sets.values())
    }
    settings = describe_study(_compare_command(folder, seed), table, folder / "features", manifest, specs)
    write_study(folder / "study", comparison, settings=settings)
    write_report(folder / "report.html", read_study(folder / "study"))
    nothing = store.load(manifest, video="videomae-random", audio="wavlm-random")
    random = _compare(nothing, manifest, (SHIPPED,), seed, weight_free=bags)
    clock.lap("compare")
    say(f"The control: the labels shuffled {N_SHUFFLES} times.")
    shuffled = _qwk_of_shuffled_labels(bags, manifest, seed)
    clock.lap("shuffled labels")

    say("Training on everything, and predicting a ninth speaker.")
    train(
        bags,
        manifest,
        specs,
        folder / "model.zip",
        strategy=Strategy.parse(SHIPPED),
        n_tried=len(STRATEGIES),
        seed=seed,
    )
    clock.lap("train")
    predictor = Predictor.from_bundle(folder / "model.zip")
    predictions = {label: predictor.predict(path) for label, path in held_out.items()}
    clock.lap("predict")
    return Findings(
        folder=folder,
        report=report,
        second_report=again,
        comparison=comparison,
        shuffled_qwk=shuffled,
        random=random,
        predictions=predictions,
        seconds=clock.seconds,
    )


class _Clock:
    """Seconds of each step, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step], self._since = now - self._since, now


def _make_room(folder: Path, seed: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        if names and MARKER not in names:
            raise OutputError(f"{folder} holds other files and is no earlier demo. Give a new folder with --out.")
        for name in names & {"interviews", "features", "random-models", "study"}:
            shutil.rmtree(folder / name)
        (folder / MARKER).write_text(json.dumps({"seed": seed}))
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"The demo cannot be written to {folder}: {error.strerror}. Give another --out.") from error


def _extract_random(folder: Path, manifest: Manifest, store: FeatureStore) -> None:
    video, audio = folder / "videomae-random", folder / "wavlm-random"
    save_tiny_videomae(video, seed=0)
    save_tiny_wavlm(audio, seed=0)
    extract(manifest, store, video=str(video), audio=str(audio), clips=CLIPS)


def _compare_command(folder: Path, seed: int) -> list[str]:
    """The command that makes the demo's study."""
    features = ["--labels", ",".join(LABELS), "--video", "motion", "--audio", "prosody"]
    tried = [part for text in STRATEGIES for part in ("--strategy", text)]
    folds = [part for text in PROTOCOLS for part in ("--cv", text)]
    return [
        "poise",
        "compare",
        str(folder / "interviews" / "manifest.csv"),
        "--store",
        str(folder / "features"),
        *features,
        *tried,
        *folds,
        "--seed",
        str(seed),
        "--out",
        str(folder / "study"),
    ]


def _compare(
    bags: Bags,
    manifest: Manifest,
    strategies: tuple[str, ...],
    seed: int,
    *,
    weight_free: Bags | None = None,
    in_depth: bool = False,
) -> Comparison:
    return compare(
        bags,
        manifest,
        strategies=[Strategy.parse(text) for text in strategies],
        protocols=[Protocol.parse(text) for text in PROTOCOLS],
        seed=seed,
        weight_free=weight_free,
        in_depth=in_depth,
    )


def _qwk_of_shuffled_labels(bags: Bags, manifest: Manifest, seed: int) -> float:
    """Mean quadratic kappa by speaker after the labels were dealt anew; what is left is what the validation invents."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(N_SHUFFLES):
        dealt = replace(manifest, labels=rng.permutation(manifest.labels))
        result = compare(
            bags,
            dealt,
            strategies=[Strategy.parse(SHIPPED)],
            protocols=[Protocol.parse(BY_SPEAKER)],
            seed=seed,
            with_audit=False,
        )
        found.append(next(r.metrics.values["qwk"] for r in result.rows if r.strategy == SHIPPED) or 0.0)
    return float(np.mean(found))
