"""Reading HDF5 from anybody without harm: what a file says is checked against what it is before it is believed.

An HDF5 file can point into other files, claim terabytes, or hold types that need code to be read. Nothing here follows
a link, reads a byte outside the file or allocates more than the file holds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, cast

import h5py
from numpy.typing import NDArray

from poise.errors import PoiseError

MAX_ATTRIBUTE_BYTES = 1 << 16


class LayoutError(ValueError):
    """A file is not laid out as expected; whoever opened it says which file and what to do."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """A file that is only read, without a lock; whatever goes wrong in the block is a :class:`LayoutError`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    LayoutError
        It is no regular file, or no sound HDF5.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited on for ever
            raise LayoutError("it is not a regular file")
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (LayoutError, PoiseError, FileNotFoundError):
        raise
    except (OSError, LookupError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        if not os.path.exists(path):  # some disks tell nothing more of an open file that was removed
            raise FileNotFoundError(errno.ENOENT, "removed while it was read", str(path)) from error
        raise LayoutError(first_line(error)) from error


def child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What lies under ``name`` in this group and this file, never what a soft or external link points to.

    Raises
    ------
    LayoutError
        There is nothing, or it is a link to elsewhere.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise LayoutError(f"it has no {_full(group, name)}")
    if not isinstance(link, h5py.HardLink):
        raise LayoutError(f"{_full(group, name)} is a link to elsewhere")
    found = group[name]
    if not isinstance(found, h5py.Group | h5py.Dataset):
        raise LayoutError(f"{_full(group, name)} is neither a group nor a dataset")
    return found


def child_group(group: h5py.Group, name: str) -> h5py.Group:
    """A group in this file.

    Raises
    ------
    LayoutError
        There is no such group.
    """
    found = child(group, name)
    if not isinstance(found, h5py.Group):
        raise LayoutError(f"{_full(group, name)} is not a group")
    return found


def contiguous(group: h5py.Group, name: str, *, dtypes: tuple[str, ...], ndims: tuple[int, ...]) -> h5py.Dataset:
    """A dataset whose bytes lie in this file in one piece, so that they can be mapped or read as they are.

    Parameters
    ----------
    group, name
        Where it lies.
    dtypes : tuple of str
        Permitted types as numpy writes them, as ``<f2``; ``S`` for byte strings of any width.
    ndims : tuple of int
        Permitted numbers of axes.

    Raises
    ------
    LayoutError
        It is of another kind, external, virtual or chunked, or claims more than the file holds.
    """
    dataset = child(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise LayoutError(f"{_full(group, name)} is not a dataset")
    layout = dataset.id.get_create_plist().get_layout()
    if layout != h5py.h5d.CONTIGUOUS or dataset.external:
        raise LayoutError(f"{_full(group, name)} does not lie in this file in one piece")
    kind = "S" if dataset.dtype.kind == "S" and dataset.dtype.itemsize else dataset.dtype.str
    if kind not in dtypes or dataset.ndim not in ndims:
        raise LayoutError(f"{_full(group, name)} has {dataset.shape} {dataset.dtype}, expected {' or '.join(dtypes)}")
    n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
    offset = dataset.id.get_offset()
    if n_bytes and (offset is None or offset + n_bytes > file_size(dataset)):
        raise LayoutError(f"{_full(group, name)} claims {dataset.shape} {dataset.dtype}, more than the file holds")
    return dataset


def column(group: h5py.Group, name: str, dtype: str) -> NDArray[Any]:
    """A contiguous column, read; shape (n,).

    Raises
    ------
    LayoutError
        See :func:`contiguous`.
    """
    return cast("NDArray[Any]", contiguous(group, name, dtypes=(dtype,), ndims=(1,))[()])


def text_attribute(item: h5py.Group, name: str) -> str:
    """A text attribute of fixed length.

    Raises
    ------
    LayoutError
        There is none, it is of another kind, or it is longer than 64 kB.
    """
    found = _attribute(item, name)
    if found.dtype.kind != "S" or found.shape != () or found.dtype.itemsize > MAX_ATTRIBUTE_BYTES:
        raise LayoutError(f"the attribute {name} is not a short text of fixed length")
    return bytes(item.attrs[name]).decode("ascii")


def int_attribute(item: h5py.Group, name: str) -> int:
    """An integer attribute.

    Raises
    ------
    LayoutError
        There is none, or it is no integer.
    """
    found = _attribute(item, name)
    if found.dtype.kind not in "iu" or found.shape != ():
        raise LayoutError(f"the attribute {name} is not an integer")
    return int(item.attrs[name])


def file_size(item: h5py.Group | h5py.Dataset) -> int:
    """Size in bytes of the file that an object lies in."""
    return int(os.fstat(item.file.id.get_vfd_handle()).st_size)


def data_offset(dataset: h5py.Dataset) -> int:
    """Where the bytes of a contiguous dataset begin in its file; 0 if it has none."""
    return int(dataset.id.get_offset() or 0)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _attribute(item: h5py.Group, name: str) -> Any:
    if not h5py.h5a.exists(item.id, name.encode()):
        raise LayoutError(f"it has no attribute {name}")
    return item.attrs.get_id(name)


def _full(group: h5py.Group, name: str) -> str:
    return f"{group.name.rstrip('/')}/{name}"
