"""Numpy arrays from strangers' ``.npy`` and ``.npz`` files: never a pickle, never more memory than the bytes are worth.

Which array is what lives in :mod:`poise.store.importers.npz`.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError
from poise.store.format.hdf5 import first_line

MAX_BYTES = 1 << 30
"""What one recording may hold, unpacked."""

TOO_LARGE = "larger than 1 GB"

_SHOWN = 8
_MAX_RATIO = 200
_SMALL_BYTES = 10_000_000


def check_member(info: zipfile.ZipInfo) -> None:
    """Refuse a member of a ZIP that unpacks to too much, or to far more than numbers do.

    Raises
    ------
    ImportFormatError
        It is a bomb, or too large for one recording.
    """
    if info.file_size > MAX_BYTES:
        raise ImportFormatError(TOO_LARGE)
    if info.file_size > _SMALL_BYTES and info.file_size > _MAX_RATIO * info.compress_size:
        raise ImportFormatError(f"it unpacks to more than {_MAX_RATIO} times its size, which numbers do not")


class NpzFile:
    """An ``.npz``, of which only what is asked for is unpacked.

    Parameters
    ----------
    file : binary file
        Open, with random access.

    Raises
    ------
    ImportFormatError
        It is no ``.npz``.
    """

    def __init__(self, file: IO[bytes]) -> None:
        with foreign("an .npz"):
            self._archive = zipfile.ZipFile(file)
            self._members = {info.filename.removesuffix(".npy"): info for info in self._archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises
        ------
        ImportFormatError
            It is too large, damaged, or of Python objects.
        """
        info = self._members[name]
        check_member(info)
        with foreign("an .npz"), self._archive.open(info) as member:
            return read_npy(member, info.file_size)

    def describe(self) -> str:
        """What it holds, for people: names, shapes and types of the first arrays."""
        shown = [f"`{name}` {self._header(name)}" for name in list(self._members)[:_SHOWN]]
        more = [f"{len(self._members) - _SHOWN} more"] if len(self._members) > _SHOWN else []
        return ", ".join([*shown, *more]) or "nothing"

    def _header(self, name: str) -> str:
        try:
            with foreign("an array"), self._archive.open(self._members[name]) as member:
                shape, _, dtype = _read_header(member)
        except ImportFormatError as error:
            return f"({error})"
        return f"{shape} {dtype}"


def read_npy(file: IO[bytes], n_bytes: int) -> NDArray[Any]:
    """One array, after its header was held against its bytes: it may claim any size.

    Parameters
    ----------
    file : binary file
        At the beginning of an ``.npy``.
    n_bytes : int
        Length of the file.

    Raises
    ------
    ValueError
        It is of Python objects, or its header is not what its bytes hold.
    """
    shape, fortran, dtype = _read_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    n_left = n_bytes - file.tell()
    if math.prod(shape) * dtype.itemsize != n_left:
        raise ValueError(f"{shape} {dtype} is not what its bytes hold")
    return np.frombuffer(file.read(n_left), dtype=dtype).reshape(shape, order="F" if fortran else "C")


def as_clips(array: NDArray[Any]) -> NDArray[Any]:
    """An array as the embeddings of one recording.

    Parameters
    ----------
    array : ndarray of shape (n_clips, dim), (dim,) or (n_clips, n_layers, dim), float or integer
        One axis is one clip.

    Returns
    -------
    ndarray of shape (n_clips, [n_layers,] dim), float

    Raises
    ------
    ImportFormatError
        It has another shape, is of no numbers, or too large.
    """
    check_clips(array.shape, array.dtype)
    clips = array[None] if array.ndim == 1 else array  # (n_clips, [n_layers,] dim)
    return clips if clips.dtype.kind == "f" else clips.astype(np.float32)


def check_clips(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what :func:`as_clips` would, from what an array says of itself.

    Raises
    ------
    ImportFormatError
        See :func:`as_clips`.
    """
    if len(shape) not in (1, 2, 3) or 0 in shape or dtype.kind not in "fiu":
        raise ImportFormatError(
            f"an array {shape} {dtype}; expected floats or integers of shape (n_clips, dim), (dim,) or "
            "(n_clips, n_layers, dim)"
        )
    # as float32 it must not be larger either
    if math.prod(shape) * max(dtype.itemsize, 4) > MAX_BYTES:
        raise ImportFormatError(TOO_LARGE)


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """What foreign bytes do to a parser is that file's affair: every error in the block is an ImportFormatError.

    Raises
    ------
    ImportFormatError
        Anything went wrong.
    """
    try:
        yield
    except ImportFormatError:
        raise
    except Exception as error:
        raise ImportFormatError(f"not {what} that can be read: {first_line(error)}") from error


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype
