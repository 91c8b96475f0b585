"""The index of a feature set: where each recording lies, derived from the segments and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreDamagedError
from poise.store.bags import ModalityBags
from poise.store.schema import Entry, FeatureSet, canonical_json, fingerprint, set_name
from poise.store.segments import NAME, Segment, read_segment

_RANK = {"stored": 0, "missing": 1, "failed": 2}


class FeatureSetIndex:
    """Where each recording of one feature set lies, derived from its segments.

    Parameters
    ----------
    folder : Path
        Folder of the feature set.

    Raises
    ------
    StoreDamagedError
        The spec or a segment is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = read_spec(folder)
        self.segments = [read_segment(path, self.spec) for path in segment_files(folder)]
        self._places: dict[str, tuple[int, int]] = {}
        self._names: dict[str, dict[str, None]] = {}
        for number, segment in enumerate(self.segments):
            for row, key in enumerate(segment.keys):
                self._names.setdefault(key, {})[segment.paths[row]] = None
                if self._wins(number, row, key):
                    self._places[key] = (number, row)
            for key, path in segment.names:
                self._names.setdefault(key, {})[path] = None

    def _wins(self, number: int, row: int, key: str) -> bool:
        """Features beat none; of features the first counts, of failures the last, which counts the attempts."""
        if key not in self._places:
            return True
        old_number, old_row = self._places[key]
        old = self.segments[old_number].outcomes[old_row]
        new = self.segments[number].outcomes[row]
        return _RANK[new] < _RANK[old] or new == old == "failed"

    def entries(self) -> dict[str, Entry]:
        """What is known of each recording, by key."""
        return {key: self._entry(key, self.segments[number], row) for key, (number, row) in self._places.items()}

    def _entry(self, key: str, segment: Segment, row: int) -> Entry:
        return Entry(
            key=key,
            paths=tuple(self._names[key]),
            outcome=segment.outcomes[row],
            n_clips=int(segment.n_clips[row]),
            duration_s=float(segment.durations_s[row]),
            reason=segment.reasons[row],
            flags=segment.flags[row],
            attempts=int(segment.attempts[row]),
        )

    def provenance(self) -> list[dict[str, Any]]:
        """When, with which libraries and into which file each segment was written."""
        return [
            {"segment": segment.path.name, "n_recordings": len(segment.keys), **segment.provenance}
            for segment in self.segments
        ]

    def describe(self) -> FeatureSet:
        """Name, size and spec."""
        outcomes = [self.segments[number].outcomes[row] for number, row in self._places.values()]
        return FeatureSet(
            name=self.folder.name,
            encoder=str(self.spec["encoder"]["name"]),
            modality=self.spec["modality"],
            dim=int(self.spec["encoder"]["dim"]),
            n_recordings=outcomes.count("stored"),
            n_clips=sum(int(self.segments[number].n_clips[row]) for number, row in self._places.values()),
            n_missing=outcomes.count("missing"),
            n_failed=outcomes.count("failed"),
            fingerprint=fingerprint(self.spec),
            spec=self.spec,
        )

    def load(self, keys: Sequence[str | None]) -> ModalityBags:
        """Embeddings of some recordings, packed in the order of ``keys``; None has no clips."""
        places = [self._places.get(key, (-1, 0)) if key is not None else (-1, 0) for key in keys]
        number = np.array([place[0] for place in places], dtype=np.int64)
        row = np.array([place[1] for place in places], dtype=np.int64)
        counts = np.zeros(len(keys), dtype=np.int64)
        for i, segment in enumerate(self.segments):
            counts[number == i] = segment.n_clips[row[number == i]]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        values = np.empty((offsets[-1], *self._tail_shape()), dtype=np.dtype(self.spec["dtype"]))
        times = np.empty((offsets[-1], 2), dtype=np.float64)
        for i, segment in enumerate(self.segments):
            mine = np.flatnonzero(number == i)
            source = _run(_spans(segment.offsets[row[mine]], counts[mine]))
            target = _run(_spans(offsets[:-1][mine], counts[mine]))
            values[target] = segment.embeddings()[source]
            times[target] = segment.clip_times()[source]
        return ModalityBags(values=values, offsets=offsets, clip_times=times)

    def _tail_shape(self) -> tuple[int, ...]:
        shapes = [segment.embeddings().shape[1:] for segment in self.segments]
        return max(shapes, key=len, default=(int(self.spec["encoder"]["dim"]),))


def segment_files(folder: Path) -> list[Path]:
    """Segments of a feature set in the order in which they count."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def read_spec(folder: Path) -> dict[str, Any]:
    """The spec of a feature set, compared with the name of its folder.

    Raises
    ------
    StoreDamagedError
        It cannot be read, or is not the one that the name says.
    """
    try:
        text = (folder / "spec.json").read_text(encoding="utf-8")
        spec = json.loads(text)
        if text != canonical_json(spec) or set_name(spec) != folder.name:
            raise StoreDamagedError(f"{folder / 'spec.json'} is not the spec that the folder's name says: it changed.")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, StoreDamagedError):
            raise
        raise StoreDamagedError(f"{folder / 'spec.json'} cannot be read: {error}") from error
    return dict(spec)


def _run(rows: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Consecutive row numbers as a slice, which is copied at the speed of memory."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _spans(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row numbers of several runs of rows, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
