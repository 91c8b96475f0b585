"""Texts: many short strings packed into two arrays, so that a hundred thousand of them cost little to read and keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from poise.store.format.ragged import row_offsets, span_rows


@dataclass(frozen=True, eq=False, repr=False)
class Texts(Sequence[str]):
    """A sequence of strings; any bytes that a file name can hold come back as they were.

    Attributes
    ----------
    data : ndarray of shape (n_bytes,), uint8
        UTF-8 (surrogateescape) of all strings, one after the other.
    offsets : ndarray of shape (n + 1,), int64
        String ``i`` has the bytes ``offsets[i]:offsets[i + 1]``.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def pack(cls, strings: Iterable[str]) -> Texts:
        """Pack strings; NUL characters, which no file name holds, are left out."""
        encoded = [encode_text(text) for text in strings]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        return cls(data, row_offsets(lengths))

    @classmethod
    def from_fixed(cls, column: NDArray[np.bytes_]) -> Texts:
        """Pack a column of NUL-padded byte strings, as HDF5 keeps them."""
        width = column.dtype.itemsize
        if not len(column) or not width:
            return cls(np.empty(0, np.uint8), np.zeros(len(column) + 1, np.int64))
        cells = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), width)
        # a string ends at its last byte that is not NUL
        lengths = width - np.argmax(cells[:, ::-1] != 0, axis=1)
        lengths[~cells.any(axis=1)] = 0
        kept = cells[np.arange(width) < lengths[:, None]]
        return cls(kept, row_offsets(lengths))

    @classmethod
    def concatenate(cls, parts: Sequence[Texts]) -> Texts:
        """All strings of several, one after the other."""
        lengths = [np.diff(part.offsets) for part in parts]
        data = np.concatenate([part.data for part in parts] or [np.empty(0, np.uint8)])
        return cls(data, row_offsets(np.concatenate([*lengths, np.empty(0, np.int64)])))

    def take(self, rows: NDArray[Any]) -> Texts:
        """The strings at ``rows``, in that order."""
        lengths = np.diff(self.offsets)[rows]
        picked = span_rows(self.offsets[:-1][rows], lengths)
        return Texts(self.data[picked], row_offsets(lengths))

    def to_fixed(self) -> NDArray[np.bytes_]:
        """NUL-padded byte strings as wide as the longest, at least one byte."""
        width = int(np.diff(self.offsets).max(initial=1))
        return np.array(self.encoded(), dtype=f"S{width}")

    def encoded(self) -> list[bytes]:
        """The strings as bytes."""
        data, ends = self.data.tobytes(), self.offsets.tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def fits(self) -> bool:
        """Whether the offsets are those of strings in the data; to be asked of arrays that came from a file."""
        ends = self.offsets
        return bool(len(ends) and ends[0] == 0 and ends[-1] == len(self.data) and (np.diff(ends) >= 0).all())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        row = range(len(self))[index]
        return decode_text(self.data[self.offsets[row] : self.offsets[row + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return (decode_text(text) for text in self.encoded())


def encode_text(text: str) -> bytes:
    """A string as the store keeps it."""
    return text.encode("utf-8", "surrogateescape").replace(b"\0", b"")


def decode_text(data: bytes) -> str:
    """The inverse of :func:`encode_text`."""
    return data.decode("utf-8", "surrogateescape")
