"""The loop that all formats share: from what was found, recording by recording, into the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError, InvalidFeaturesError, StoreChangedError
from poise.store.folder import StoreFolder
from poise.store.identity import name_key
from poise.store.importers.items import Found, Item, Refused
from poise.store.importers.plan import ImportPlan
from poise.store.importers.report import ImportReport
from poise.store.runs import new_run_id
from poise.store.schema import Modality, RecordingFeatures, Spec, set_name
from poise.store.writer import SegmentWriter

_LONGEST_NAME = 4096
_TRIES = 5


def run_import(store: StoreFolder, plan: ImportPlan, items: Iterator[Item]) -> ImportReport:
    """Store all recordings of a source; what cannot be stored is named in the report and stops nothing.

    Parameters
    ----------
    store : StoreFolder
        Where the features go.
    plan : ImportPlan
        What is known of all of them.
    items : iterator of Found or Refused
        The recordings; each is let go of before the next one is asked for.

    Raises
    ------
    ImportFormatError
        Not a single recording could be imported.
    StoreWriteError, StoreReadOnlyError
        The store cannot be written.
    """
    with _Import(store, plan) as running:
        for item in items:
            running.take(item)
            del item  # may be 1 GB, and the next one is about to be read
    return running.report()


class _Import:
    """One import under way: its feature sets, the names it has seen, and the count."""

    def __init__(self, store: StoreFolder, plan: ImportPlan) -> None:
        self._store = store
        self._plan = plan
        self._run = plan.describe(new_run_id())
        self._open = ExitStack()
        self._targets: dict[Modality, _Target] = {}
        self._seen: dict[str, str] = {}
        self._failed: list[tuple[str, str]] = []
        self._n_stored = self._n_already = self._n_clips = 0

    def __enter__(self) -> _Import:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def take(self, item: Item) -> None:
        """Store one recording, or note why not."""
        try:
            if isinstance(item, Refused):
                raise ImportFormatError(item.reason)
            new = self._check(item)
        except (ImportFormatError, InvalidFeaturesError) as error:
            self._failed.append((item.path, str(error).removeprefix(f"{item.path}: ")))
            return
        for target, features in new:
            target.add(features, self._open)
        self._n_stored += bool(new)
        self._n_already += not new
        self._n_clips += bool(new) * max(len(array) for array in item.arrays.values())

    def report(self) -> ImportReport:
        """What was done; only after everything is written."""
        if not self._n_stored and not self._n_already:
            shown = "; ".join(f"{path}: {reason}" for path, reason in self._failed[:3]) or self._plan.nothing
            raise ImportFormatError(
                f"Nothing in {self._plan.source} can be imported: {shown.rstrip('.')}. Understood are "
                f"{self._plan.expected}."
            )
        return ImportReport(
            n_stored=self._n_stored,
            n_already=self._n_already,
            n_clips=self._n_clips,
            failed=tuple(self._failed),
            feature_sets=tuple(set_name(target.spec) for target in self._targets.values()),
            columns=self._plan.columns or (),
        )

    def _check(self, found: Found) -> list[tuple[_Target, RecordingFeatures]]:
        """The features of a recording that are not in the store yet; nothing is stored here."""
        _check_name(found)
        if found.name in self._seen:
            raise ImportFormatError(
                f"{self._seen[found.name]} has the same name; recordings are told apart by it, so only the first counts"
            )
        self._seen[found.name] = found.path
        features = {modality: _features(found, array) for modality, array in found.arrays.items()}
        targets = {modality: self._target(modality, array) for modality, array in found.arrays.items()}
        pairs = [(targets[modality], made) for modality, made in features.items()]
        for target, made in pairs:
            made.check(target.spec)
        new = [(target, made) for target, made in pairs if target.is_new(made)]
        self._targets.update(targets)
        return new

    def _target(self, modality: Modality, array: NDArray[Any]) -> _Target:
        """The feature set of a modality; the first recording that is sound says how long its embeddings are."""
        known = self._targets.get(modality)
        return known or _Target(self._store, self._plan.spec(modality, array.shape[1:]), self._run)


class _Target:
    """One feature set that is imported into."""

    def __init__(self, store: StoreFolder, spec: Spec, run: str) -> None:
        self.spec = spec
        self._store = store
        self._run = run
        self._index = store.find(spec)
        self._writer: SegmentWriter | None = None

    def add(self, features: RecordingFeatures, stack: ExitStack) -> None:
        """Store features; the writer is closed with ``stack``."""
        if self._writer is None:
            self._writer = stack.enter_context(self._store.writer(self.spec, run=self._run))
        self._writer.add(features)

    def is_new(self, features: RecordingFeatures) -> bool:
        """Whether the store lacks these features.

        Raises
        ------
        ImportFormatError
            It has others under this name.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._is_new(features)
            except StoreChangedError:  # compacted meanwhile
                self._index = self._store.find(self.spec)
        return self._is_new(features)

    def _is_new(self, features: RecordingFeatures) -> bool:
        index, key = self._index, features.key
        if index is None or key not in index:
            return True
        if features.outcome == "missing":
            return False
        if index[key].outcome != "stored":
            return True
        values = features.embeddings.astype(self.spec["dtype"])
        row = index.row(key)
        if row is not None and not index.is_sound(row):
            raise ImportFormatError("what the store has of it is damaged; run `poise store heal` and import again")
        if not np.array_equal(index.embeddings(key), values):
            raise ImportFormatError("the store has other values under this name; import it as another --collection")
        if not np.array_equal(index.clip_times(key), features.clip_times, equal_nan=True):
            raise ImportFormatError("the store has other clip times under this name; import it as another --collection")
        return False


def _check_name(found: Found) -> None:
    if not found.name or "\0" in found.name:
        raise ImportFormatError(f"{found.name!r} is no name of a recording")
    if max(len(found.path), len(found.name)) > _LONGEST_NAME:
        raise ImportFormatError(f"its name is longer than {_LONGEST_NAME} characters")


def _features(found: Found, array: NDArray[Any]) -> RecordingFeatures:
    times = found.clip_times if found.clip_times is not None else np.full((len(array), 2), np.nan)
    return RecordingFeatures(
        key=name_key(found.name),
        path=found.path,
        duration_s=float("nan"),
        outcome="stored" if len(array) else "missing",
        embeddings=array,
        clip_times=times,
        reason="" if len(array) else "not in the imported file",
    )
