"""Kill trials: a process at work on a store is killed with SIGKILL at a random moment, then the store is looked at.

    python -m tests.store.trial_kill --what write --trials 400 --mode unpaced --seed 0

Prints one line for each kind of work; ends with 1 if anything was lost, wrong or in the way of the next run. Processes
are forked from this one, which is why it loads no more than it needs and has no HDF5 file open then.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from poise.errors import StoreError
from poise.store import FeatureStore
from tests.store.features import make_key
from tests.store.trial_kinds import KINDS, Kind, Trial, save


@dataclass
class Tally:
    """What was found in many trials."""

    trials: int = 0
    hits: int = 0
    reported: int = 0
    lost: int = 0
    wrong: int = 0
    unopenable: int = 0
    problems: int = 0
    unfinished: int = 0
    leftovers: int = 0

    @property
    def ok(self) -> bool:
        return not any(getattr(self, field.name) for field in fields(self)[3:])

    def __str__(self) -> str:
        return (
            f"{self.trials} trials, {self.hits} killed while writing, {self.reported} recordings reported; "
            f"{self.lost} lost, {self.wrong} wrong, {self.unopenable} unopenable, {self.problems} verify problems, "
            f"{self.unfinished} not finished by the next run, {self.leftovers} leftovers"
        )


def run_trials(what: str, *, n_trials: int, paced: bool, seed: int) -> Tally:
    """Kill so many processes at work and look at what each left."""
    kind, rng, tally = KINDS[what](), random.Random(seed), Tally()
    with tempfile.TemporaryDirectory(prefix="poise-trial-") as folder:
        template, must = Path(folder) / "template", set[str]()
        template.mkdir()
        kind.prepare(template)
        duration_s = _duration(kind, template, Path(folder) / "whole", paced=paced)
        for number in range(n_trials):
            place = Path(folder) / f"p{number // kind.chained}"
            if number % kind.chained == 0:
                _copy(template, place)
                must = set(kind.must)
            kind.change(place, number)
            must |= _run_trial(kind, place, number, must, tally, _delay(rng, duration_s), paced=paced)
            if (number + 1) % kind.chained == 0:
                shutil.rmtree(place)
    return tally


def _run_trial(
    kind: Kind, place: Path, number: int, must: set[str], tally: Tally, delay_s: float, *, paced: bool
) -> set[str]:
    """One kill; returns the keys of what has to be there from now on."""
    before = _files(place)
    with _worker(kind, place, number, paced=paced) as pid:
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
    tally.trials += 1
    tally.hits += before != _files(place)
    told = set((place / "told.txt").read_text().split())
    tally.reported += len(told - must)
    store = None
    if kind.sound_before and (told or (place / "store" / "poise-store.json").exists()):
        store = _open(place / "store", tally)
        told |= _look(kind, store, must | told, tally) - kind.going
    kind.settle(place)
    save(FeatureStore.create(place / "store"), [f"small-after-{number}"], per_segment=1)
    told.add(make_key(f"small-after-{number}"))
    _look(kind, store or _open(place / "store", tally), must | told, tally)
    tally.unfinished += kind.unfinished(place)
    tally.leftovers += len(list(place.rglob(".tmp-*")))
    return told


def _open(path: Path, tally: Tally) -> FeatureStore | None:
    try:
        store = FeatureStore.open(path)
    except StoreError as error:
        print(error, file=sys.stderr)
        tally.unopenable += 1
        return None
    problems = store.verify().problems
    print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    tally.problems += len(problems)
    return store


def _look(kind: Kind, store: FeatureStore | None, must: set[str], tally: Tally) -> set[str]:
    """Hold everything in a store against what it must be; returns the keys of what is there."""
    try:
        found = [(key, kind.is_right(index, key)) for index in (store.indexes() if store else ()) for key in index]
    except StoreError as error:
        print(error, file=sys.stderr)
        tally.unopenable += 1
        return set()
    held = {key for key, _ in found}
    tally.lost += len(must - held)
    tally.wrong += sum(not is_right for _, is_right in found)
    return held


@contextmanager
def _worker(kind: Kind, place: Path, number: int, *, paced: bool) -> Iterator[int]:
    """A process whose number is given when it is at work; the block kills it or waits for its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            told = os.open(place / "told.txt", os.O_WRONLY | os.O_APPEND)
            if paced:
                _slow_down("rename", "unlink")
            os.write(writing, b"!")
            kind.work(Trial(number, place, told, paced))
            os._exit(0)
        except BaseException:  # noqa: BLE001  nothing of the parent must run here
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    yield pid
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the process at work in trial {number} failed by itself")


def _slow_down(*names: str) -> None:
    """Wait before each step that makes something certain, so that kills fall between the steps too."""

    def slowed(function: Callable[..., object]) -> Callable[..., object]:
        def wait_and_call(*args: object, **options: object) -> object:
            time.sleep(0.002)
            return function(*args, **options)

        return wait_and_call

    for name in names:
        setattr(os, name, slowed(getattr(os, name)))


def _duration(kind: Kind, template: Path, place: Path, *, paced: bool) -> float:
    """How long the work takes if nothing happens to it, in seconds."""
    _copy(template, place)
    kind.change(place, 0)
    with _worker(kind, place, 0, paced=paced) as pid:
        began = time.monotonic()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        duration_s = time.monotonic() - began
    shutil.rmtree(place)
    return duration_s


def _delay(rng: random.Random, duration_s: float) -> float:
    """When to kill, in seconds: within the first two milliseconds, at any time, or about the end."""
    moments = (
        rng.uniform(0, 0.002),
        rng.uniform(0, duration_s),
        rng.uniform(0, duration_s),
        duration_s * rng.gauss(1, 0.1),
    )
    return rng.choice(moments)


def _copy(template: Path, place: Path) -> None:
    """A copy that shares the files: nothing that works on a store changes one in its place."""
    shutil.copytree(template, place, copy_function=os.link)
    (place / "told.txt").touch()


def _files(place: Path) -> set[str]:
    return {path.as_posix() for path in place.rglob("*") if path.is_file()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--mode", choices=["paced", "unpaced", "both"], default="both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ok = True
    for what in KINDS if options.what == "all" else [options.what]:
        for mode in ["paced", "unpaced"] if options.mode == "both" else [options.mode]:
            tally = run_trials(what, n_trials=options.trials, paced=mode == "paced", seed=options.seed)
            print(f"{what} {mode}: {tally}", flush=True)
            ok = ok and tally.ok
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
