"""Arrays in the format of safetensors, read from bytes that anybody may have made.

The format: https://huggingface.co/docs/safetensors. Its own library takes headers of 100 MB, and the last of two arrays
with one name; here the header is checked first, and arrays must fill the bytes behind it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError
from poise.serve.values import parse_json

MAX_HEADER_BYTES = 1 << 20
MAX_AXES = 8

_MAX_NAME = 200
_MOST_NUMBERS = 1 << 31
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1",
    "BOOL": "|b1",
}  # fmt: skip
_ENTRY = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where one array lies behind the header, in bytes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


def read_tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """Arrays by name.

    Parameters
    ----------
    content : bytes
        Header length, header and arrays, as ``safetensors.numpy.save`` writes them.

    Returns
    -------
    dict of str to ndarray
        Of dtypes that NumPy has; floats are finite.

    Raises
    ------
    BundleError
        The header does not say what it must, what it says does not fill the bytes, or a number is NaN or infinite.
    """
    header, first = _read_header(content)
    places = [_read_place(name, entry) for name, entry in header.items() if name != "__metadata__"]
    places.sort(key=lambda place: (place.start, place.stop))
    end = 0
    for place in places:
        if place.start != end:
            raise BundleError(f"the array {place.name!r} begins at {place.start}, expected {end}. It is damaged")
        end = place.stop
    if end != len(content) - first:
        raise BundleError(f"its arrays are {end:,} bytes, but {len(content) - first:,} are there. It is damaged")
    return {place.name: _read_array(content, first, place) for place in places}


def write_tensors(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes that :func:`read_tensors` reads; the same arrays always give the same."""
    import safetensors.numpy

    return bytes(safetensors.numpy.save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}))


def _read_header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the arrays begin."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise BundleError("it does not begin with the length of its header. It is damaged, or no safetensors file")
    try:
        header = parse_json(content[8 : 8 + length])
    except ValueError as error:
        raise BundleError(f"its header cannot be read: {error}. It is damaged, or no safetensors file") from error
    if not isinstance(header, dict):
        raise BundleError(f"its header is a {type(header).__name__}, expected names with places. It is damaged")
    return header, 8 + length


def _read_place(name: str, entry: Any) -> _Place:
    said = f"its header says of the array {name[:100]!r} what cannot be. It is damaged"
    if not isinstance(entry, dict) or set(entry) != _ENTRY or len(name) > _MAX_NAME or not name.isprintable():
        raise BundleError(said)
    shape, ends = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(ends) or len(shape) > MAX_AXES or len(ends) != 2:
        raise BundleError(said)
    if math.prod(max(length, 1) for length in shape) > _MOST_NUMBERS:  # also of an array that is empty
        raise BundleError(said)
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise BundleError(f"the array {name!r} is of the dtype {str(entry['dtype'])[:20]!r}, which no head has")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if math.prod(shape) * dtype.itemsize != ends[1] - ends[0]:
        raise BundleError(f"the array {name!r} of the shape {shape} takes {ends[1] - ends[0]} bytes. It is damaged")
    return _Place(name=name, dtype=dtype, shape=tuple(shape), start=ends[0], stop=ends[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 2**48 for each in value)


def _read_array(content: bytes, first: int, place: _Place) -> NDArray[Any]:
    found = np.frombuffer(content, place.dtype, math.prod(place.shape), first + place.start).reshape(place.shape)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise BundleError(f"the weights {place.name!r} are not finite. Train the model again")
    return found.copy()  # in the machine's own byte order and aligned, which a place in a file is not
