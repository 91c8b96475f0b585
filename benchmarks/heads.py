"""How fast heads are validated, as ratios to common ways of doing the same, taken in turn in one process.

    python benchmarks/heads.py                    # everything but growth; about ten minutes on two cores
    python benchmarks/heads.py --only nested      # nested grouped validation against scikit-learn and skordinal
    python benchmarks/heads.py --only tests       # 1,000 permutations, 10,000 draws of the cluster bootstrap
    python benchmarks/heads.py --only growth      # up to 10,000 recordings of 20 clips x 1,536: time and memory

Figures are seconds of one processor thread, medians over rounds. The data are those of the acceptance tests: 42
originals and 37 copies of 4 to 60 clips, 768 numbers for each modality.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skordinal.classifiers import POM
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' recordings

from poise.heads.exact.families import FAMILIES
from poise.heads.exact.penalty import PENALTIES
from poise.heads.inner import inner_folds
from poise.heads.inputs import as_table, prepare
from poise.heads.scaling import Standardiser
from poise.heads.splits import Protocol, make_folds
from poise.heads.statistics.bootstrap import _draw_once, bootstrap_groups
from poise.heads.statistics.permutation import permutation_test
from poise.heads.statistics.tally import tally_groups
from poise.heads.strategy import Strategy
from poise.heads.validate import cross_validate
from poise.manifest import Manifest
from poise.store.bags import Bags, ModalityBags
from tests.heads.leakage import make_leaky
from tests.heads.recordings import make_manifest

Line = tuple[str, str, float]
"""What was measured, what was wanted, and the figure."""

REPEATS = 10


def measure(*tasks: Callable[[], object], rounds: int) -> list[float]:
    """Processor seconds of each task, median over rounds in which the tasks take turns."""
    spent: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for task, times in zip(tasks, spent, strict=True):
            began = time.process_time()
            with threadpool_limits(1):
                task()
            times.append(time.process_time() - began)
    return [statistics.median(times) for times in spent]


def nested() -> Iterator[Line]:
    """10 x 5 grouped folds, 4 inner grouped folds, 9 penalties: 1,850 fits a head."""
    bags, manifest = make_leaky(signal=1.5)
    folds = make_folds(Protocol.parse("group:source:5"), manifest, repeats=REPEATS)
    X = as_table(prepare(bags, Strategy.parse("mean/mid/logistic").settings))
    few = folds[:2]  # the others take minutes: their time for two folds is multiplied

    def ours(head: str) -> None:
        strategy = Strategy.parse(f"mean/mid/{head}")
        cross_validate(strategy, bags, manifest.labels, folds, n_classes=3, groups=manifest.sources)

    def theirs(model: object, name: str, values: NDArray[np.float64]) -> None:
        for fold in few:
            y, groups = manifest.labels[fold.train], manifest.sources[fold.train]
            search = GridSearchCV(
                make_pipeline(StandardScaler(), model),
                {name: values},
                cv=inner_folds(y, groups),
                scoring="neg_log_loss",
            )
            search.fit(X[fold.train], y).predict_proba(X[fold.test])

    part, dim = (
        len(folds) / len(few),
        X.shape[1],
    )  # the penalty that is 1 for rows of unit mean square is dim for theirs
    cumulative, pom = measure(
        lambda: ours("cumulative"),
        lambda: theirs(POM(tol=1e-12, max_iter=10_000), "pom__alpha", PENALTIES * dim),
        rounds=1,
    )
    logistic, sklearn = measure(
        lambda: ours("logistic"),
        lambda: theirs(LogisticRegression(tol=1e-10, max_iter=5000), "logisticregression__C", 1 / (PENALTIES * dim)),
        rounds=1,
    )
    yield "nested validation, cumulative, s", "<= 15", cumulative
    yield "nested validation, logistic, s", "<= 15", logistic
    yield "the same / GridSearchCV around skordinal's POM, speed", ">= 30", pom * part / cumulative
    yield "the same / GridSearchCV around scikit-learn's LogisticRegression, speed", ">= 30", sklearn * part / logistic
    yield "largest difference of a coefficient from LogisticRegression's", "<= 1e-6", _difference(X, manifest)


def _difference(X: NDArray[np.float64], manifest: Manifest) -> float:
    """Between our optimum and theirs on all recordings, for three penalties."""
    rows = Standardiser.fit(X, np.ones(len(X))).transform(X) / np.sqrt(X.shape[1])
    penalties = PENALTIES[[2, 4, 6]]
    found = FAMILIES["logistic"](rows, manifest.labels, np.ones(len(X)), penalties, 3, manifest.sources)
    worst = 0.0
    for place, penalty in enumerate(penalties):
        model = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=100_000).fit(rows, manifest.labels)
        worst = max(worst, float(np.abs(found.coef[place].T - model.coef_).max()))  # type: ignore[attr-defined]
    return worst


def tests() -> Iterator[Line]:
    """A permutation test and a cluster bootstrap, the latter against drawing and calling scikit-learn."""
    bags, manifest = make_leaky(signal=1.5)
    X = as_table(prepare(bags, Strategy.parse("mean/mid/logistic").settings))
    ranks, sources, every = manifest.labels, manifest.sources, np.ones(len(X))
    for family in ("cumulative", "all-threshold", "logistic"):
        (seconds,) = measure(
            lambda family=family: permutation_test(  # type: ignore[misc]
                X, ranks, every, sources, sources, ~manifest.is_copy, family=family, n_permutations=1000
            ),
            rounds=1,
        )
        yield f"1,000 permutations x 5 folds, {family}, s", "<= 30", seconds
    predicted = np.random.default_rng(0).integers(0, 3, (1, len(X)))
    proba = np.full((1, len(X), 3), 1 / 3)
    n_draws, few = 10_000, 200

    def ours() -> None:
        _draw_once.cache_clear()
        tally = tally_groups(sources, ranks, predicted, proba)
        bootstrap_groups(tally.counts, n_draws=n_draws)

    def theirs() -> None:
        random = np.random.default_rng(0)
        members = [np.flatnonzero(sources == group) for group in np.unique(sources)]
        for _ in range(few):
            rows = np.concatenate([members[group] for group in random.integers(0, len(members), len(members))])
            cohen_kappa_score(ranks[rows], predicted[0, rows], weights="quadratic")
            accuracy_score(ranks[rows], predicted[0, rows])
            mean_absolute_error(ranks[rows], predicted[0, rows])

    fast, slow = measure(ours, theirs, rounds=3)
    yield "cluster bootstrap, 10,000 draws x 3 metrics, s", "<= 1", fast
    yield "the same / drawing and calling scikit-learn, speed", "", slow * n_draws / few / fast


def make_many(n: int, *, n_clips: int = 20, dim: int = 1536) -> tuple[Bags, Manifest]:
    """Recordings of one modality with a weak signal, five for each speaker."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n)
    values = random.standard_normal((n * n_clips, dim), dtype=np.float32)
    values[:, :8] += 0.1 * np.repeat(labels, n_clips)[:, None]
    block = ModalityBags(
        values=values.astype(np.float16),
        offsets=np.arange(0, n * n_clips + 1, n_clips),
        clip_times=np.full((n * n_clips, 2), np.nan),
    )
    manifest = make_manifest(labels.tolist(), speakers=[f"s{row // 5}" for row in range(n)])
    return Bags(keys=manifest.paths, modalities={"video": block}), manifest


def growth(sizes: list[int], strategies: list[str]) -> Iterator[Line]:
    """Five folds of speakers, each size in a process of its own, so that its peak of memory is its own."""
    for strategy in strategies:
        before = None
        for n in sizes:
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(n), strategy], capture_output=True, text=True, check=True
            )
            seconds, peak = map(float, done.stdout.split())
            yield f"{strategy}, {n:,} recordings, s", "", seconds
            yield f"{strategy}, {n:,} recordings, peak GB", "< 4", peak
            if before is not None:
                grown = seconds / before[1] / (n / before[0])
                yield f"{strategy}, {before[0]:,} to {n:,}: time / recordings", "<= 1", grown
            before = (n, seconds)


def one(n: int, strategy: str) -> None:
    """One size: seconds by the clock, and the peak of memory in GB."""
    bags, manifest = make_many(n)
    folds = make_folds(Protocol.parse("group:speaker:5"), manifest)
    began = time.perf_counter()
    parsed = Strategy.parse(strategy)
    cross_validate(parsed, bags, manifest.labels, folds, n_classes=3, groups=manifest.groups("speaker"))
    spent = time.perf_counter() - began
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(spent, peak / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["nested", "tests", "growth"])
    parser.add_argument("--sizes", default="100,1000,10000", help="recordings, for growth")
    parser.add_argument("--strategies", default="mean/video/cumulative", help="for growth, with spaces between")
    parser.add_argument("--one", nargs=2, metavar=("N", "STRATEGY"), help="one size of growth, in this process")
    given = parser.parse_args()
    if given.one:
        one(int(given.one[0]), given.one[1])
        return
    parts: dict[str, Callable[[], Iterator[Line]]] = {
        "nested": nested,
        "tests": tests,
        "growth": lambda: growth([int(size) for size in given.sizes.split(",")], given.strategies.split()),
    }
    chosen = [given.only] if given.only else [name for name in parts if name != "growth"]
    print("| | wanted | |\n|---|---|---|")
    for name in chosen:
        for what, wanted, figure in parts[name]():
            print(f"| {what} | {wanted} | {figure:.3g} |", flush=True)


if __name__ == "__main__":
    main()
