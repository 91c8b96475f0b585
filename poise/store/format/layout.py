"""The HDF5 layout of a segment, written: into memory for the files of a store, or into a group of an exported file.

Reading it lives in :mod:`poise.store.format.segments`; ``docs/file-format.md`` says the same in words.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from poise.errors import InvalidFeaturesError
from poise.store.format.recordings import OUTCOMES, Digests, RecordingTable, as_digests, name_digest
from poise.store.format.texts import Texts
from poise.store.schema import FORMAT_VERSION, Spec, canonical_json, fingerprint, parse_spec, set_name

ALIGNMENT = {"alignment_threshold": 1024, "alignment_interval": 4096, "libver": ("earliest", "v110")}
"""How files are made: mapped float16 must be aligned, and old HDF5 must be able to read them."""

MAX_SPEC_CHARACTERS = 60_000
"""An attribute of an HDF5 file that old libraries can read holds less than 64 kB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Names:
    """Further names under which the bytes of recordings are known.

    Attributes
    ----------
    keys, digests : ndarray of shape (n, 32), uint8
        Key of each recording, and sha256 of the pair.
    paths : Texts
        The names.
    """

    keys: Digests
    digests: Digests
    paths: Texts

    @classmethod
    def pack(cls, pairs: Sequence[tuple[str, str]]) -> Names:
        """Names from pairs of key and path."""
        keys, paths = [bytes.fromhex(key) for key, _ in pairs], Texts.pack(path for _, path in pairs)
        digests = [name_digest(key, path) for key, path in zip(keys, paths, strict=True)]
        return cls(keys=as_digests(b"".join(keys)), digests=as_digests(b"".join(digests)), paths=paths)

    def __len__(self) -> int:
        return len(self.keys)

    def are_sound(self) -> NDArray[np.bool_]:
        """Which of the names have the digest that they were written with, shape (n,)."""
        rows = zip(self.keys, self.paths, self.digests, strict=True)
        right = (name_digest(key.tobytes(), path) == digest.tobytes() for key, path, digest in rows)
        return np.fromiter(right, dtype=np.bool_, count=len(self))

    def take(self, rows: NDArray[Any]) -> Names:
        """The names at ``rows``."""
        return Names(keys=self.keys[rows], digests=self.digests[rows], paths=self.paths.take(rows))

    @classmethod
    def concatenate(cls, parts: Sequence[Names]) -> Names:
        """The names of several, one after the other."""
        none = as_digests(b"")
        return cls(
            keys=np.concatenate([none, *(part.keys for part in parts)]),
            digests=np.concatenate([none, *(part.digests for part in parts)]),
            paths=Texts.concatenate([part.paths for part in parts]),
        )


def segment_image(
    spec: Spec,
    table: RecordingTable,
    values: NDArray[Any],
    times: NDArray[np.float64],
    *,
    names: Names,
    runs: Sequence[str],
) -> bytes:
    """The bytes of a segment; the same content gives the same bytes.

    Parameters
    ----------
    spec : mapping
        Spec of the feature set.
    table : RecordingTable
        The recordings, their offsets counted from the first row of ``values``.
    values : ndarray of shape (n_rows, [n_layers,] dim)
        Embeddings in the dtype of the spec.
    times : ndarray of shape (n_rows, 2), float64
        Clip times in seconds.
    names : Names
        Other names of recordings that are stored in this or another segment.
    runs : sequence of str
        JSON of the runs that the table refers to.
    """
    # a name of its own: HDF5 takes two open files of one name for the same, and threads may write at once
    with h5py.File(secrets.token_hex(16), "w", driver="core", backing_store=False, **ALIGNMENT) as file:
        file.create_dataset("embeddings", data=values, track_times=False)
        file.create_dataset("clip_times", data=times, track_times=False)
        write_index(file, spec, table, names=names, runs=runs)
        file.flush()
        return cast("bytes", file.id.get_file_image())


def segment_name(image: bytes, *, milliseconds: int, writer: str, number: int) -> str:
    """The name that a segment has in its folder: where it stands in the order, who wrote it, and its sha256."""
    return f"seg-{milliseconds:013d}-{writer}-{number:06d}-{hashlib.sha256(image).hexdigest()}.h5"


def write_index(root: h5py.Group, spec: Spec, table: RecordingTable, *, names: Names, runs: Sequence[str]) -> None:
    """Write everything of a segment but its numbers."""
    root.attrs["format_version"] = FORMAT_VERSION
    root.attrs["fingerprint"] = np.bytes_(fingerprint(spec))
    root.attrs["spec"] = np.bytes_(canonical_json(spec))
    _write_columns(root.create_group("recordings"), table_columns(table))
    keys, digests = (_hexadecimal(column) for column in (names.keys, names.digests))
    _write_columns(root.create_group("names"), {"key": keys, "sha256": digests, "path": names.paths.to_fixed()})
    _write_columns(root.create_group("runs"), {"info": Texts.pack(runs).to_fixed()})


def check_spec(spec: Spec) -> None:
    """Refuse a spec that cannot be written.

    Raises
    ------
    InvalidFeaturesError
        It is too long for an HDF5 attribute, or does not say what embeddings look like.
    """
    text = canonical_json(spec)
    try:
        parse_spec(text, set_name(spec))
    except (ValueError, LookupError, TypeError) as error:
        raise InvalidFeaturesError(f"The spec of a feature set cannot be stored: {error}.") from error
    if len(text) > MAX_SPEC_CHARACTERS:
        raise InvalidFeaturesError(
            f"The spec of a feature set has {len(text)} characters, at most {MAX_SPEC_CHARACTERS}."
        )


def table_columns(table: RecordingTable) -> Mapping[str, NDArray[Any]]:
    """The columns of ``/recordings``, by name."""
    outcomes = np.array([outcome.encode() for outcome in OUTCOMES])
    return {
        "key": _hexadecimal(table.keys),
        "sha256": _hexadecimal(table.digests),
        "path": table.paths.to_fixed(),
        "offset": table.offsets,
        "n_clips": table.n_clips,
        "duration_s": table.durations_s,
        "outcome": outcomes[table.outcomes],
        "reason": table.reasons.to_fixed(),
        "flags": table.flags.to_fixed(),
        "attempts": table.attempts,
        "stored_ms": table.stored_ms,
        "run": table.runs,
    }


def _write_columns(group: h5py.Group, columns: Mapping[str, NDArray[Any]]) -> None:
    for name, values in columns.items():
        group.create_dataset(name, data=values, track_times=False)


def _hexadecimal(digests: Digests) -> NDArray[np.bytes_]:
    return np.frombuffer(digests.tobytes().hex().encode(), dtype="S64")
