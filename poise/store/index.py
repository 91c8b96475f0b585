"""The index of a feature set: which row counts for each recording, where its numbers lie, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreDamagedError
from poise.store.bags import ModalityBags
from poise.store.format.contents import SetContents
from poise.store.format.ragged import row_offsets, run_starts
from poise.store.format.recordings import OUTCOMES
from poise.store.format.segments import parse_run
from poise.store.paths import normal_path
from poise.store.schema import Entry, FeatureSet, Spec, embedding_shape, fingerprint
from poise.text import name_some

_FAILED = OUTCOMES.index("failed")
_SHOWN = 8


class FeatureSetIndex(Mapping[str, Entry]):
    """What a feature set held when it was looked at: a mapping from a recording's key to what is known of it.

    Parameters
    ----------
    name : str
        ``encoder@fingerprint``.
    spec : mapping
        How its features were made.
    contents : SetContents
        What its segments say.
    """

    def __init__(self, name: str, spec: Spec, contents: SetContents) -> None:
        self.name = name
        self.spec = spec
        self.contents = contents

    def __len__(self) -> int:
        return len(self._winners)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_of(self._winners))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.row(key) is not None

    def __getitem__(self, key: str) -> Entry:
        row = self._row(key)
        table = self.contents.table
        return table.entry(row, more_paths=self._more_paths.get(table.keys[row].tobytes(), ()))

    @property
    def imported(self) -> bool:
        """Whether the features were made by other software and are matched to recordings by file name."""
        return "imported" in self.spec

    @cached_property
    def _winners(self) -> NDArray[np.int64]:
        """The row that counts for each recording, ascending.

        Features beat the knowledge that there are none, and that beats a failure. Of failures the one that counts most
        attempts wins, of anything else the first in the order of segments.
        """
        table = self.contents.table
        keys = table.keys_u64()
        most = np.where(table.outcomes == _FAILED, -table.attempts, 0)
        # lexsort is stable: of equals the first row comes first
        order = np.lexsort((most, table.outcomes, keys[:, 3], keys[:, 2], keys[:, 1], keys[:, 0]))
        ordered = keys[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        return np.sort(order[first])

    @cached_property
    def _places(self) -> dict[bytes, int]:
        """Row of each recording by the bytes of its key."""
        keys = np.ascontiguousarray(self.contents.table.keys[self._winners]).view("V32").ravel()
        return dict(zip(keys.tolist(), self._winners.tolist(), strict=True))

    @cached_property
    def _more_paths(self) -> dict[bytes, list[str]]:
        """Further paths of recordings that were given under more than one."""
        found: dict[bytes, list[str]] = {}
        table, names = self.contents.table, self.contents.names
        others = np.setdiff1d(np.arange(len(table)), self._winners, assume_unique=True)
        for key, path in zip(table.keys[others], table.paths.take(others), strict=True):
            found.setdefault(key.tobytes(), []).append(path)
        for key, path in zip(names.keys, names.paths, strict=True):
            found.setdefault(key.tobytes(), []).append(path)
        return found

    @cached_property
    def _segment_of_rows(self) -> NDArray[np.int64]:
        return self.contents.segment_of_rows()

    def row(self, key: str) -> int | None:
        """Row of the table that counts for a recording; None if it is not known."""
        try:
            return self._places.get(bytes.fromhex(key))
        except ValueError:
            return None

    def rows(self, keys: Sequence[str | None]) -> NDArray[np.int64]:
        """Rows of several recordings, shape (n,); -1 for None and for what is not known."""
        found = (None if key is None else self.row(key) for key in keys)
        return np.array([-1 if row is None else row for row in found], dtype=np.int64)

    def all_rows(self) -> NDArray[np.int64]:
        """The row that counts for each recording, in the order in which they lie on the disk."""
        return self._winners

    def keys_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Keys of the recordings at some rows."""
        text = self.contents.table.keys[rows].tobytes().hex()
        return [text[start : start + 64] for start in range(0, len(text), 64)]

    @cached_property
    def by_path(self) -> Mapping[str, Sequence[str]]:
        """Keys of the recordings that were given under each path, without detours as ``a/../b``."""
        found: dict[str, list[str]] = {}
        for key, path in self.paths():
            held = found.setdefault(normal_path(path), [])
            if key not in held:
                held.append(key)
        return found

    def paths(self) -> Iterator[tuple[str, str]]:
        """Every path under which each recording was given, as pairs of key and path."""
        keys = self.keys_of(self._winners)
        yield from zip(keys, self.contents.table.paths.take(self._winners), strict=True)
        for key, paths in self._more_paths.items():
            if key in self._places:
                yield from ((key.hex(), path) for path in paths)

    def describe(self) -> FeatureSet:
        """Name, size and spec."""
        table = self.contents.table
        counts = np.bincount(table.outcomes[self._winners], minlength=len(OUTCOMES)).tolist()
        layers = self.spec["encoder"].get("n_layers")
        return FeatureSet(
            name=self.name,
            encoder=str(self.spec["encoder"]["name"]),
            modality=self.spec["modality"],
            dim=int(self.spec["encoder"]["dim"]),
            n_layers=None if layers is None else int(layers),
            n_recordings=counts[0],
            n_clips=int(table.n_clips[self._winners].sum()),
            n_missing=counts[1],
            n_failed=counts[2],
            fingerprint=fingerprint(self.spec),
            spec=dict(self.spec),
        )

    def embeddings(self, key: str) -> NDArray[Any]:
        """Embeddings of one recording, shape (n_clips, [n_layers,] dim), read-only and not copied where mapped.

        Raises
        ------
        KeyError
            The recording is not known.
        """
        return self._place(key, "embeddings")

    def clip_times(self, key: str) -> NDArray[np.float64]:
        """Start and end in seconds of the clips of one recording, shape (n_clips, 2).

        Raises
        ------
        KeyError
            The recording is not known.
        """
        return self._place(key, "clip_times")

    def _place(self, key: str, what: str) -> NDArray[Any]:
        row = self._row(key)
        start = int(self.contents.table.offsets[row])
        segment = self.contents.segments[self._segment_of_rows[row]]
        found: NDArray[Any] = getattr(segment, what)(start, start + int(self.contents.table.n_clips[row]))
        return found

    def load(self, rows: NDArray[np.int64]) -> ModalityBags:
        """Embeddings of some recordings, packed.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of the table, as :meth:`rows` and :meth:`all_rows` give them; -1 has no clips.

        Returns
        -------
        ModalityBags
            In the order of ``rows``. Not copied but mapped, and then read-only, where they lie in one piece.

        Raises
        ------
        StoreChangedError
            A segment is gone.
        """
        shape, dtype = embedding_shape(self.spec), np.dtype(self.spec["dtype"])
        if not len(self.contents.table):
            nothing = np.zeros(len(rows) + 1, np.int64)
            return ModalityBags(values=np.empty((0, *shape), dtype), offsets=nothing, clip_times=np.empty((0, 2)))
        table, segments = self.contents.table, self.contents.segments
        counts = np.where(rows >= 0, table.n_clips[rows], 0)
        offsets = row_offsets(counts)
        full = np.flatnonzero(counts)
        numbers, sources = self._segment_of_rows[rows[full]], table.offsets[rows[full]]
        if len(full) and (numbers == numbers[0]).all() and len(run_starts(sources, counts[full])) == 1:
            segment, first, last = segments[numbers[0]], int(sources[0]), int(sources[0] + offsets[-1])
            return ModalityBags(
                values=segment.embeddings(first, last), offsets=offsets, clip_times=segment.clip_times(first, last)
            )
        values = np.empty((offsets[-1], *shape), dtype=dtype)
        times = np.empty((offsets[-1], 2), dtype=np.float64)
        order = np.argsort(numbers, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            if len(mine):
                segments[numbers[mine[0]]].copy_rows(
                    sources[mine], offsets[:-1][full[mine]], counts[full[mine]], values, times
                )
        return ModalityBags(values=values, offsets=offsets, clip_times=times)

    def read_plainly(self) -> FeatureSetIndex:
        """The same index, whose numbers are read and not mapped: for passing through all of them in little memory."""
        segments = tuple(replace(segment, mapped=False) for segment in self.contents.segments)
        return FeatureSetIndex(self.name, self.spec, replace(self.contents, segments=segments))

    def check(self, rows: NDArray[np.int64]) -> None:
        """Hold recordings against the digests they were stored with.

        Raises
        ------
        StoreDamagedError
            Something of a recording is not what was written.
        """
        wrong = [int(row) for row in np.unique(rows[rows >= 0]) if not self.is_sound(int(row))]
        table = self.contents.table
        self._refuse([f"{table.paths[row]} ({table.key(row)[:12]})" for row in wrong])

    def check_names(self) -> None:
        """Hold against their digests the further names of recordings, and rows that do not count but lend a path.

        Raises
        ------
        StoreDamagedError
            One is not what was written: a path could mean another recording.
        """
        names, winners = self.contents.names, self._winners
        self.check(np.setdiff1d(np.arange(len(self.contents.table)), winners, assume_unique=True))
        self._refuse([f"the name {path}" for path in names.paths.take(np.flatnonzero(~names.are_sound()))])

    def _refuse(self, wrong: Sequence[str]) -> None:
        if wrong:
            raise StoreDamagedError(
                f"{self.name}: {len(wrong)} recordings are not what was stored: {name_some(wrong, _SHOWN)}. "
                "Run `poise store heal` on the store and extract again: only these are done anew."
            )

    def is_sound(self, row: int) -> bool:
        """Whether all that is stored of a recording has the digest that it was stored with."""
        table = self.contents.table
        segment = self.contents.segments[self._segment_of_rows[row]]
        first, last = int(table.offsets[row]), int(table.offsets[row] + table.n_clips[row])
        run = self.contents.runs[table.runs[row]]
        found = table.digest(row, run, segment.embeddings(first, last), segment.clip_times(first, last))
        return found == bytes(table.digests[row])

    def run_of_key(self, key: str) -> dict[str, Any]:
        """What is known of the run that stored a recording.

        Raises
        ------
        KeyError
            The recording is not known.
        """
        return parse_run(self.contents.runs[self.contents.table.runs[self._row(key)]])

    def runs(self) -> list[dict[str, Any]]:
        """Every run that stored something, each with the number of recordings that count."""
        counts = np.bincount(self.contents.table.runs[self._winners], minlength=len(self.contents.runs))
        return [
            {**parse_run(run), "n_recordings": int(count)}
            for run, count in zip(self.contents.runs, counts, strict=True)
        ]

    def segment_of_key(self, key: str) -> str:
        """Name of the file that a recording lies in.

        Raises
        ------
        KeyError
            The recording is not known.
        """
        return str(self.contents.segments[self._segment_of_rows[self._row(key)]].path.name)

    def _row(self, key: str) -> int:
        row = self.row(key)
        if row is None:
            raise KeyError(key)
        return row
