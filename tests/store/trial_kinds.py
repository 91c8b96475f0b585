"""Work on a store that is killed in trials: what is there before, what is done, and what must hold ever after.

Killing lives in :mod:`tests.store.trial_kill`.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

import poise.store.upkeep.compact
import poise.store.writer
from poise.store import FeatureSetIndex, FeatureStore, RecordingFeatures, heal
from poise.store.identity import file_key, name_key
from tests.store.features import make_features, make_key, make_spec

SPEC = make_spec(dim=64)
OTHER = make_spec(dim=64, hop_s=5.0)


def recording(name: str) -> RecordingFeatures:
    """A recording whose content follows from its name; one that is called large has a quarter of a megabyte."""
    return make_features(name, n_clips=2000 if name.startswith("large") else 3, dim=64)


def rival(name: str) -> RecordingFeatures:
    """The same recording with other numbers; it is stored later and so never counts."""
    made = recording(name)
    return make_features(name, n_clips=len(made.embeddings), dim=64, embeddings=made.embeddings + 1)


@lru_cache(maxsize=600)
def stored(name: str) -> tuple[bytes, bytes]:
    """Embeddings and clip times of a recording as the store must give them back."""
    made = recording(name)
    return made.embeddings.astype(np.float16).tobytes(), made.clip_times.tobytes()


def keys_of(names: Sequence[str]) -> frozenset[str]:
    return frozenset(make_key(name) for name in names)


def save(store: FeatureStore, names: Sequence[str], *, per_segment: int, spec: dict[str, object] = SPEC) -> None:
    with store.writer(spec) as writer:
        for number, name in enumerate(names):
            writer.add(recording(name))
            if (number + 1) % per_segment == 0:
                writer.flush()


def flip(segment: Path) -> str:
    """Change one bit in the numbers of one recording of a segment, and return its key."""
    index = FeatureStore.open(segment.parent.parent).index(SPEC)
    assert index is not None
    key = next(key for key in index if index.segment_of_key(key) == segment.name)
    data = bytearray(segment.read_bytes())
    data[data.index(index.embeddings(key).tobytes())] ^= 1
    segment.write_bytes(data)
    return key


@dataclass(frozen=True)
class Trial:
    """One trial as the process at work sees it."""

    number: int
    place: Path
    told: int
    paced: bool

    @property
    def path(self) -> Path:
        return self.place / "store"

    def tell(self, keys: Sequence[str]) -> None:
        """Report recordings as stored: what is in this file must be in the store for ever."""
        os.write(self.told, "".join(f"{key}\n" for key in keys).encode())

    def pause(self) -> None:
        if self.paced:
            time.sleep(0.002)


class Kind:
    """One kind of work; all but :meth:`work` runs in the process that kills."""

    chained = 1  # trials that go on in one store
    sound_before = True  # whether the store can be looked at before the next run
    must: frozenset[str] = frozenset()  # keys of recordings that are there before and must stay
    going: frozenset[str] = frozenset()  # keys of recordings that are meant to vanish

    def prepare(self, place: Path) -> None:
        """Make what is there before the work."""

    def change(self, place: Path, number: int) -> None:
        """Change it for one trial."""

    def work(self, trial: Trial) -> None:
        raise NotImplementedError

    def settle(self, place: Path) -> None:
        """What the next run does."""

    def unfinished(self, place: Path) -> int:
        """How much of the work the next run should have finished and did not."""
        raise NotImplementedError

    def is_right(self, index: FeatureSetIndex, key: str) -> bool:
        name = index[key].paths[0].removesuffix(".mp4")
        return key == make_key(name) and stored(name) == (
            index.embeddings(key).tobytes(),
            index.clip_times(key).tobytes(),
        )


class Write(Kind):
    """A writer that closes small segments, or such of a megabyte; the first of a chain makes the store too."""

    chained = 3

    def work(self, trial: Trial) -> None:
        size = "large" if trial.number // self.chained % 2 else "small"
        with FeatureStore.create(trial.path).writer(SPEC, trial.tell) as writer:
            for number in range(16):
                writer.add(recording(f"{size}-{trial.number % self.chained}-{number}"))
                if number % 4 == trial.number % 4:
                    writer.flush()
                trial.pause()

    def unfinished(self, place: Path) -> int:
        return int(not FeatureStore.open(place / "store").names())


class Compact(Kind):
    """Many small segments with duplicates and rivals, compacted while more come."""

    def prepare(self, place: Path) -> None:
        names = [f"{size}-{number}" for size in ("small", "large") for number in range(8)]
        self.must = keys_of(names)
        store = FeatureStore.create(place / "store")
        save(store, names, per_segment=2)
        save(store, names[::3], per_segment=2)
        time.sleep(0.002)  # segments count in the order of milliseconds
        with store.writer(SPEC) as writer:
            for name in names[1::3]:
                writer.add(rival(name))
                writer.flush()

    def work(self, trial: Trial) -> None:
        if trial.number % 2:
            poise.store.upkeep.compact.MAX_BYTES = 1_200_000  # several new segments
        store = FeatureStore.open(trial.path)
        writer = store.writer(SPEC, trial.tell)
        for number in range(2):
            store.compact()
            for more in range(2):
                writer.add(recording(f"small-{trial.number}-{number}-{more}"))
                writer.flush()
                trial.pause()
            writer.add(rival("small-0"))

    def settle(self, place: Path) -> None:
        FeatureStore.open(place / "store").compact()

    def unfinished(self, place: Path) -> int:
        (index,) = FeatureStore.open(place / "store").indexes()
        return len(index.contents.table) - len(index)


class Import(Kind):
    """Small .npz files; the import is run again after the kill and ends complete."""

    n_files = 12

    def prepare(self, place: Path) -> None:
        (place / "source").mkdir()
        for number in range(self.n_files):
            np.savez(place / "source" / f"r{number}.npz", clips=self._clips(f"r{number}"))

    def work(self, trial: Trial) -> None:
        poise.store.writer.MAX_RECORDINGS = 3
        self.settle(trial.place)

    def settle(self, place: Path) -> None:
        FeatureStore.create(place / "store").import_features(place / "source")

    def unfinished(self, place: Path) -> int:
        return 2 * self.n_files - sum(
            len(index) for index in FeatureStore.open(place / "store").indexes() if index.imported
        )

    def is_right(self, index: FeatureSetIndex, key: str) -> bool:
        if not index.imported:
            return super().is_right(index, key)
        name = index[key].paths[0].removesuffix(".npz")
        half = slice(0, 768) if index.spec["modality"] == "video" else slice(768, None)
        return key == name_key(name) and np.array_equal(index.embeddings(key), self._clips(name)[:, half])

    @staticmethod
    @lru_cache
    def _clips(name: str) -> np.ndarray:
        return make_features(name, dim=1536).embeddings


class Export(Kind):
    """A store exported again and again, in half of the trials over an older export."""

    def prepare(self, place: Path) -> None:
        names = [f"{size}-{number}" for size in ("large", "small") for number in range(8)]
        self.must, self.older = keys_of(names), keys_of(names[:10])
        store = FeatureStore.create(place / "store")
        save(store, names[:10], per_segment=5)
        (place / "out").mkdir()
        store.export(place / "out" / "older.h5")
        save(store, names[10:], per_segment=6)

    def change(self, place: Path, number: int) -> None:
        if number % 2:
            os.rename(place / "out" / "older.h5", place / "out" / "features.h5")

    def work(self, trial: Trial) -> None:
        for _ in range(2):
            FeatureStore.open(trial.path).export(trial.place / "out" / "features.h5", replace=True)

    def settle(self, place: Path) -> None:
        target = place / "out" / "features.h5"
        if target.exists() or not (place / "out" / "older.h5").exists():
            assert self._held(target) in (self.must, self.older), f"half an export in {target}"
        FeatureStore.open(place / "store").export(target, replace=True)

    def unfinished(self, place: Path) -> int:
        return len(self.must - self._held(place / "out" / "features.h5"))

    def _held(self, path: Path) -> set[str]:
        store = FeatureStore.open(path)
        assert store.verify().ok
        return {key for index in store.indexes() for key in index if self.is_right(index, key)}


class Heal(Kind):
    """Flipped bits, a cut segment, an empty one, a file of somebody else, and at times no sound spec or marker."""

    sound_before = False

    def prepare(self, place: Path) -> None:
        names = [f"{size}-{number}" for size in ("small", "large") for number in range(9)]
        store = FeatureStore.create(place / "store")
        save(store, names, per_segment=3)
        cut, _, *flipped = sorted((place / "store").glob("*/seg-*.h5"))[:5]
        index = store.index(SPEC)
        assert index is not None
        self.damaged = {key for key in index if index.segment_of_key(key) == cut.name} | {*map(flip, flipped)}
        self.must = keys_of(names) - self.damaged
        os.truncate(cut, 3000)
        (cut.parent / f"seg-{0:013d}-{0:08x}-{0:06d}-{0:064x}.h5").touch()
        (cut.parent / "notes.txt").write_text("mine")
        self.aside = {file_key(path) for path in (cut, *flipped, cut.parent / "notes.txt")}

    def change(self, place: Path, number: int) -> None:
        (spec,) = (place / "store").glob("*/spec.json")
        for path in {1: [spec], 2: [place / "store" / "poise-store.json"]}.get(number % 3, []):
            path.unlink()  # the file itself is shared with other trials
            path.write_text("{")

    def work(self, trial: Trial) -> None:
        heal(trial.path)

    def settle(self, place: Path) -> None:
        heal(place / "store")

    def unfinished(self, place: Path) -> int:
        kept = {file_key(path) for path in (place / "store" / "quarantine").rglob("*") if path.is_file()}
        return len(self.aside - kept) + len(self.damaged & FeatureStore.open(place / "store").entries(SPEC).keys())


class Remove(Kind):
    """Some recordings of every segment removed, then a whole feature set."""

    def prepare(self, place: Path) -> None:
        names = [f"{size}-{number}" for size in ("small", "large") for number in range(8)]
        self.n_others, self.going = len(names), keys_of(names[::3])
        self.must = keys_of(names) - self.going
        store = FeatureStore.create(place / "store")
        save(store, names, per_segment=4)
        save(store, names[::4], per_segment=4)
        save(store, names, per_segment=8, spec=OTHER)

    def work(self, trial: Trial) -> None:
        self.settle(trial.place)

    def settle(self, place: Path) -> None:
        store = FeatureStore.open(place / "store")
        for index in sorted(store.indexes(), key=lambda index: index.spec != SPEC):
            if index.spec == SPEC:
                store.remove(index.name, self.going)
            else:
                assert len(index) == self.n_others, "a part of a feature set was removed"
                store.remove(index.name)

    def unfinished(self, place: Path) -> int:
        store = FeatureStore.open(place / "store")
        return len(self.going & store.entries(SPEC).keys()) + len(store.names()) - 1


KINDS: dict[str, type[Kind]] = {
    "write": Write,
    "compact": Compact,
    "import": Import,
    "export": Export,
    "heal": Heal,
    "remove": Remove,
}
