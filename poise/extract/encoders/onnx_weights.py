"""The weights in an ONNX file, read without a runtime: enough for networks whose structure is written down here.

An ONNX file is a Protocol Buffers message: fields, each a number, a kind and a value (protobuf.dev/programming-guides/
encoding); the numbers are those of onnx.proto (github.com/onnx/onnx). Nothing in such a file is ever executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError

_GRAPH = 7  # of the model
_NODE, _INITIALIZER = 1, 5  # of the graph
_INPUT, _OPERATOR = 1, 4  # of a node
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9  # of a tensor
_FLOAT32 = 1


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes
    ----------
    operator : str
        What it does, as ``Conv``.
    weights : tuple of ndarray
        Those of its inputs that are float32 tensors kept in the file, in their order.
    """

    operator: str
    weights: tuple[NDArray[np.float32], ...]


def read_nodes(path: str | os.PathLike[str]) -> list[Node]:
    """The operations of a model in the order in which they are carried out, with their weights.

    Parameters
    ----------
    path : path
        An ONNX file that keeps its weights in itself.

    Returns
    -------
    list of Node

    Raises
    ------
    EncoderError
        It cannot be read as one.
    """
    try:
        graph = b"".join(value for number, value in _fields(Path(path).read_bytes()) if number == _GRAPH)
        parts = list(_fields(graph))
        tensors = dict(_tensor(value) for number, value in parts if number == _INITIALIZER)
        nodes = [_node(value, tensors) for number, value in parts if number == _NODE]
    except (OSError, ValueError, IndexError) as error:
        raise EncoderError(f"{path} cannot be read as an ONNX model: {error}. Install its package again.") from error
    if not nodes:
        raise EncoderError(f"{path} is no ONNX model: it has no graph. Install its package again.")
    return nodes


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and value of each field of a message; a whole number comes as the bytes it is written in."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, end = _varint(message, at)
        elif kind == 2:
            length, at = _varint(message, at)
            end = at + length
        elif kind in (1, 5):
            end = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"there is no field of kind {kind}")
        if end > len(message):
            raise ValueError("it ends early")
        yield key >> 3, message[at:end]
        at = end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number written in groups of 7 bits, and where it ends."""
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | message[at] << shift, at + 1


def _tensor(message: bytes) -> tuple[str, NDArray[np.float32] | None]:
    """Name and values; None in place of values that are not float32."""
    name, dims, data, kind = "", [], b"", 0
    for number, value in _fields(message):
        if number == _NAME:
            name = value.decode()
        elif number == _DIMS:
            dims.append(_varint(value, 0)[0])
        elif number == _TYPE:
            kind = _varint(value, 0)[0]
        elif number in (_FLOATS, _RAW):
            data += value
    return name, np.frombuffer(data, "<f4").reshape(dims) if kind == _FLOAT32 else None


def _node(message: bytes, tensors: dict[str, NDArray[np.float32] | None]) -> Node:
    fields = list(_fields(message))
    given = (tensors.get(value.decode()) for number, value in fields if number == _INPUT)
    operators = [value.decode() for number, value in fields if number == _OPERATOR]
    return Node(operator="".join(operators), weights=tuple(tensor for tensor in given if tensor is not None))
