"""The table of recordings in a segment, an export or a whole feature set, column by column.

One row says everything that is known of one recording but its numbers; where those lie is said by ``offsets``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from poise.store.format.texts import Texts
from poise.store.schema import Entry, Outcome, RecordingFeatures, canonical_json

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""Outcomes in the order in which they win: features beat knowing that there are none, and that beats a failure."""

KEY_BYTES = 32

Digests = NDArray[np.uint8]
"""sha256 values, shape (n, 32)."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RecordingTable:
    """What is known of many recordings, one row each.

    Attributes
    ----------
    keys : ndarray of shape (n, 32), uint8
        Key of each recording.
    digests : ndarray of shape (n, 32), uint8
        sha256 over all that is stored of each recording, see :func:`recording_digest`.
    outcomes : ndarray of shape (n,), uint8
        Index into :data:`OUTCOMES`.
    offsets, n_clips : ndarray of shape (n,), int64
        First row and number of rows in the embeddings of the segment that holds the recording.
    attempts : ndarray of shape (n,), int64
        How often it was tried.
    durations_s : ndarray of shape (n,), float64
        Length in seconds; NaN where unknown.
    stored_ms : ndarray of shape (n,), int64
        When it was stored, milliseconds since 1970, UTC.
    runs : ndarray of shape (n,), int64
        Row of the run that made it.
    paths, reasons, flags : Texts
        Path as given, why it is missing or failed, and words that qualify it.
    """

    keys: Digests
    digests: Digests
    outcomes: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    n_clips: NDArray[np.int64]
    attempts: NDArray[np.int64]
    durations_s: NDArray[np.float64]
    stored_ms: NDArray[np.int64]
    runs: NDArray[np.int64]
    paths: Texts
    reasons: Texts
    flags: Texts

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def empty(cls) -> RecordingTable:
        """A table of no recordings."""
        return table_of([], [], [], "")

    def take(self, rows: NDArray[Any]) -> RecordingTable:
        """The rows at ``rows``, in that order; all columns as they were."""
        taken = {name: _take(getattr(self, name), rows) for name in COLUMNS}
        return RecordingTable(**taken)

    @classmethod
    def concatenate(cls, tables: Sequence[RecordingTable]) -> RecordingTable:
        """The rows of several tables, one after the other; at least one table."""
        return cls(**{name: _concatenate([getattr(table, name) for table in tables]) for name in COLUMNS})

    def key(self, row: int) -> str:
        """Key of one recording, 64 hexadecimal digits."""
        return bytes(self.keys[row]).hex()

    def keys_u64(self) -> NDArray[np.uint64]:
        """Keys as four numbers each, shape (n, 4), for sorting."""
        return np.ascontiguousarray(self.keys).view(">u8").astype(np.uint64)

    def entry(self, row: int, *, more_paths: Sequence[str] = ()) -> Entry:
        """One row as an :class:`Entry`."""
        return Entry(
            key=self.key(row),
            paths=tuple(dict.fromkeys((self.paths[row], *more_paths))),
            outcome=OUTCOMES[self.outcomes[row]],
            n_clips=int(self.n_clips[row]),
            duration_s=float(self.durations_s[row]),
            reason=self.reasons[row],
            flags=tuple(self.flags[row].split()),
            attempts=int(self.attempts[row]),
            stored_ms=int(self.stored_ms[row]),
        )

    def digest(self, row: int, run: str, values: NDArray[Any], times: NDArray[np.float64]) -> bytes:
        """The digest that a row must have if it and its numbers are as they were written."""
        return recording_digest(
            key=self.keys[row].tobytes(),
            path=self.paths[row],
            outcome=OUTCOMES[self.outcomes[row]],
            duration_s=float(self.durations_s[row]),
            reason=self.reasons[row],
            flags=self.flags[row],
            attempts=int(self.attempts[row]),
            stored_ms=int(self.stored_ms[row]),
            run=run,
            values=values,
            times=times,
        )


COLUMNS = tuple(field.name for field in fields(RecordingTable))
"""Names of the columns."""

TEXT_COLUMNS = ("paths", "reasons", "flags")


def table_of(
    recordings: Sequence[RecordingFeatures], values: Sequence[NDArray[Any]], stored_ms: Sequence[int], run: str
) -> RecordingTable:
    """The table of recordings that one run is about to write.

    Parameters
    ----------
    recordings : sequence of RecordingFeatures
        In the order in which their embeddings will lie.
    values : sequence of ndarray of shape (n_clips, [n_layers,] dim)
        Embeddings of each recording in the dtype they are stored in.
    stored_ms : sequence of int
        When each was taken, milliseconds since 1970.
    run : str
        JSON that describes the run.
    """
    n_clips = np.array([len(array) for array in values], dtype=np.int64)
    draft = RecordingTable(
        keys=as_digests(b"".join(bytes.fromhex(features.key) for features in recordings)),
        digests=np.zeros((len(recordings), KEY_BYTES), dtype=np.uint8),
        outcomes=np.array([OUTCOMES.index(features.outcome) for features in recordings], dtype=np.uint8),
        offsets=np.cumsum(n_clips) - n_clips,
        n_clips=n_clips,
        attempts=np.array([features.attempts for features in recordings], dtype=np.int64),
        durations_s=np.array([features.duration_s for features in recordings], dtype=np.float64),
        stored_ms=np.array(stored_ms, dtype=np.int64),
        runs=np.zeros(len(recordings), dtype=np.int64),
        paths=Texts.pack(features.path for features in recordings),
        reasons=Texts.pack(features.reason for features in recordings),
        flags=Texts.pack(" ".join(features.flags) for features in recordings),
    )
    # of the texts as they will be read again, which is not always how they were given
    digests = [draft.digest(row, run, values[row], recordings[row].clip_times) for row in range(len(draft))]
    return replace(draft, digests=as_digests(b"".join(digests)))


def recording_digest(
    *,
    key: bytes,
    path: str,
    outcome: Outcome,
    duration_s: float,
    reason: str,
    flags: str,
    attempts: int,
    stored_ms: int,
    run: str,
    values: NDArray[Any],
    times: NDArray[np.float64],
) -> bytes:
    """sha256 over all that is stored of one recording, 32 bytes.

    The bytes are those of the canonical JSON list ``[key, path, outcome, number of clips, duration or null, reason,
    flags, attempts, stored_ms, run]``, of the embeddings, and of the clip times, all little-endian.
    """
    known = None if math.isnan(duration_s) else duration_s
    row = [key.hex(), path, outcome, len(values), known, reason, flags, attempts, stored_ms, run]
    digest = hashlib.sha256(canonical_json(row).encode())
    digest.update(np.ascontiguousarray(values).data)
    digest.update(np.ascontiguousarray(times, dtype=np.float64).data)
    return digest.digest()


def name_digest(key: bytes, path: str) -> bytes:
    """sha256 of a further name of a recording, 32 bytes."""
    return hashlib.sha256(canonical_json([key.hex(), path]).encode()).digest()


def as_digests(data: bytes) -> Digests:
    """Bytes of sha256 values, one after the other, as an array of shape (n, 32)."""
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, KEY_BYTES)


def table_arrays(table: RecordingTable) -> dict[str, NDArray[Any]]:
    """All columns as plain arrays, for a file that only poise reads."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in COLUMNS:
        column = getattr(table, name)
        if isinstance(column, Texts):
            arrays[f"{name}.data"], arrays[f"{name}.offsets"] = column.data, column.offsets
        else:
            arrays[name] = column
    return arrays


def table_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> RecordingTable:
    """The inverse of :func:`table_arrays`."""
    columns: dict[str, Any] = {
        name: Texts(arrays[f"{name}.data"], arrays[f"{name}.offsets"]) if name in TEXT_COLUMNS else arrays[name]
        for name in COLUMNS
    }
    return RecordingTable(**columns)


def _take(column: Any, rows: NDArray[Any]) -> Any:
    return column.take(rows) if isinstance(column, Texts) else column[rows]


def _concatenate(columns: Sequence[Any]) -> Any:
    return Texts.concatenate(columns) if isinstance(columns[0], Texts) else np.concatenate(columns)
