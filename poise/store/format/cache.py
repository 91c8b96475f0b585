"""A copy of a feature set's index in one file, so that a store of many segments opens quickly.

It is derived from the segments, believed only where names, sizes and times of change agree, and may be deleted at any
time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreError
from poise.store.durable import write_durably
from poise.store.format.contents import SetContents
from poise.store.format.layout import Names
from poise.store.format.recordings import OUTCOMES, table_arrays, table_from_arrays
from poise.store.format.segments import NAME, Segment
from poise.store.format.texts import Texts
from poise.store.regular import read_regular
from poise.store.schema import Spec, embedding_shape

_VERSION = 1
_MAX_BYTES = 1 << 33
_BAD_BYTES = (OSError, ValueError, KeyError, TypeError, EOFError, IndexError, MemoryError, RuntimeError)
_NUMBERS = ("n_bytes", "mtime_ns", "n_recordings", "n_rows", "data_offset", "times_offset")


def save_contents(path: Path, contents: SetContents) -> None:
    """Write the copy; where that is not possible, nothing happens: losing it loses only time."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **_arrays(contents))
    if path.parent.is_symlink():  # a store from somebody else must not make us write elsewhere
        return
    try:
        path.parent.mkdir(exist_ok=True)
        write_durably(path, buffer.getvalue())
    except (OSError, StoreError):
        return


def load_contents(path: Path, folder: Path, spec: Spec, *, mapped: bool) -> SetContents | None:
    """Read the copy; None where there is none, or none that can be believed.

    Parameters
    ----------
    path : Path
        Where it is.
    folder : Path
        Folder of the feature set.
    spec : mapping
        Its spec.
    mapped : bool
        Whether numbers are to be read by mapping files.
    """
    try:
        content = io.BytesIO(read_regular(path, max_bytes=_MAX_BYTES))
        with zipfile.ZipFile(content) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                return None  # it could unpack to any size
        with np.load(content, allow_pickle=False) as file:  # checks a CRC of every array
            arrays = {name: file[name] for name in file.files}
        return _contents(arrays, folder, spec, mapped=mapped) if _has_right_types(arrays) else None
    except (*_BAD_BYTES, zipfile.BadZipFile):
        return None


def _arrays(contents: SetContents) -> dict[str, NDArray[Any]]:
    """Everything as plain arrays."""
    names = contents.names
    files = Texts.pack(segment.path.name for segment in contents.segments)
    runs = Texts.pack(contents.runs)
    arrays: dict[str, NDArray[Any]] = {f"table.{name}": a for name, a in table_arrays(contents.table).items()}
    arrays |= {f"segments.{n}": np.array([getattr(s, n) for s in contents.segments], np.int64) for n in _NUMBERS}
    arrays |= {"segments.file.data": files.data, "segments.file.offsets": files.offsets}
    arrays |= {"names.keys": names.keys, "names.digests": names.digests, "names.counts": contents.n_names}
    arrays |= {"names.paths.data": names.paths.data, "names.paths.offsets": names.paths.offsets}
    return arrays | {"runs.data": runs.data, "runs.offsets": runs.offsets, "version": np.array(_VERSION)}


def _has_right_types(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the arrays have the names, types and numbers of axes of a copy."""
    expected = _arrays(SetContents.empty())
    return arrays.keys() == expected.keys() and all(
        (array.dtype, array.ndim) == (expected[name].dtype, expected[name].ndim) for name, array in arrays.items()
    )


def _contents(arrays: Mapping[str, NDArray[Any]], folder: Path, spec: Spec, *, mapped: bool) -> SetContents | None:
    if arrays["version"] != _VERSION:
        return None
    shape, dtype = embedding_shape(spec), np.dtype(spec["dtype"])
    files = Texts(arrays["segments.file.data"], arrays["segments.file.offsets"])
    numbers = {name: arrays[f"segments.{name}"].tolist() for name in _NUMBERS}
    segments = tuple(
        Segment(
            path=folder / name,
            shape=shape,
            dtype=dtype,
            mapped=mapped,
            **{number: values[i] for number, values in numbers.items()},
        )
        for i, name in enumerate(files)
    )
    contents = SetContents(
        segments=segments,
        n_names=arrays["names.counts"],
        table=table_from_arrays({name[6:]: array for name, array in arrays.items() if name.startswith("table.")}),
        names=Names(
            keys=arrays["names.keys"],
            digests=arrays["names.digests"],
            paths=Texts(arrays["names.paths.data"], arrays["names.paths.offsets"]),
        ),
        runs=tuple(Texts(arrays["runs.data"], arrays["runs.offsets"])),
    )
    return contents if _is_sound(contents) else None


def _is_sound(contents: SetContents) -> bool:
    """Whether nothing points outside: a cache may come from a stranger, as any other file of a store."""
    table, names = contents.table, contents.names
    width = np.array([segment.dtype.itemsize * prod(segment.shape) for segment in contents.segments])
    n_rows, n_bytes, data, times = (
        np.array([getattr(segment, name) for segment in contents.segments])
        for name in ("n_rows", "n_bytes", "data_offset", "times_offset")
    )
    n_recordings = np.array([segment.n_recordings for segment in contents.segments])
    if not len(contents.segments) or min(map(np.min, (n_rows, data, times, n_recordings, contents.n_names))) < 0:
        return False
    columns = [getattr(table, name) for name in table.__dataclass_fields__]
    texts = [column for column in (*columns, names.paths) if isinstance(column, Texts)]
    rows_in_segment = np.repeat(n_rows, n_recordings)
    return bool(
        all(NAME.fullmatch(segment.path.name) for segment in contents.segments)
        and (n_rows <= n_bytes // np.maximum(width, 16)).all()
        and (data <= n_bytes - n_rows * width).all()
        and (times <= n_bytes - n_rows * 16).all()
        and {len(column) for column in columns} == {n_recordings.sum()}
        and {len(names.keys), len(names.digests), len(names.paths)} == {contents.n_names.sum()}
        and all(text.fits() for text in texts)
        and table.keys.shape[1:] == names.keys.shape[1:] == table.digests.shape[1:] == (32,)
        and (table.offsets >= 0).all()
        and (table.n_clips >= 0).all()
        and (table.n_clips <= rows_in_segment).all()
        and (table.offsets <= rows_in_segment - table.n_clips).all()
        and (table.outcomes < len(OUTCOMES)).all()
        and (table.runs >= 0).all()
        and (table.runs < len(contents.runs)).all()
    )
