"""What goes through the cluster: tables of rows that say which clip of which recording they are, and hold it pickled.

Only between processes of one run: what comes is unpickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from poise.extract.assignments import Found
from poise.extract.encoders.base import PreparedClip
from poise.store.schema import Modality
from poise.text import describe_error

SCHEMA = pa.schema(
    [("row", pa.int64()), ("modality", pa.string()), ("number", pa.int64()), ("content", pa.large_binary())]
)


@dataclass(frozen=True)
class ReadOver:
    """Last row of a modality of a recording: what was found of it, and what ended it."""

    found: Found
    error: Exception | None


@dataclass(frozen=True)
class ClipOver:
    """A clip, without its data, and its embedding ([n_layers,] dim) or why there is none."""

    clip: PreparedClip
    result: NDArray[np.float32] | Exception


@dataclass(frozen=True)
class Broken:
    """An encoder does not work, and the run cannot go on."""

    error: Exception


@dataclass(frozen=True)
class Waited:
    """How long an actor had nothing to do since it said so last, seconds."""

    actor: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes
    ----------
    row : int
        Row of the manifest; -1 where it is about none.
    modality : {"video", "audio"}
        What of it.
    number : int
        Number of the clip in its recording, from 0; -1 where it is about none.
    content : object
        An assignment, a clip, or one of the classes of this module.
    size : int
        Bytes that the content takes when pickled; 0 where it was not.
    """

    row: int
    modality: Modality
    number: int
    content: Any
    size: int = 0


def pack(rows: Iterable[Row]) -> pa.Table:
    """Rows as a table."""
    columns = [(row.row, row.modality, row.number, pickle.dumps(row.content, protocol=5)) for row in rows]
    return pa.table(
        {
            name: pa.array([column[i] for column in columns], SCHEMA.field(name).type)
            for i, name in enumerate(SCHEMA.names)
        }
    )


def unpack(table: pa.Table) -> Iterator[Row]:
    """The rows of a table."""
    numbers = zip(*(table[name].to_pylist() for name in SCHEMA.names[:3]), strict=True)
    for (row, modality, number), content in zip(numbers, table["content"], strict=True):
        # from a process of this run
        buffer = content.as_buffer()
        yield Row(row, modality, number, pickle.loads(buffer), buffer.size)  # noqa: S301


def without_data(clip: PreparedClip) -> PreparedClip:
    """Span and flags of a clip."""
    return replace(clip, data=np.empty(0, np.float32), times_s=np.empty(0, np.float64))


def portable(error: Exception) -> Exception:
    """The error if it can be sent, or else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  it was made here
    except Exception:  # noqa: BLE001  what pickling raises depends on what is pickled
        return RuntimeError(describe_error(error))
    return error
