"""Datasets in strangers' HDF5 files, checked before a byte of them is read.

:mod:`poise.store.format.hdf5` reads the files that poise writes, whose datasets lie in one piece. Others cut theirs
into chunks and compress them, and a compressed chunk can unpack to any size: HDF5 itself does not look.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import h5py
from numpy.typing import NDArray

from poise.store.format.hdf5 import LayoutError, data_offset, file_size
from poise.store.importers.arrays import check_clips

_MAX_CHUNK_BYTES = 64_000_000
_MAX_RATIO = 1000
_MAX_CHUNKS = 1_000_000
_CHECKSUM_BYTES = 4
_GZIP, _LZF, _FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF, h5py.h5z.FILTER_FLETCHER32
_COMPRESSING = {_GZIP, _LZF}
_FILTERS = {*_COMPRESSING, h5py.h5z.FILTER_SHUFFLE, _FLETCHER32}


def read_dataset(dataset: h5py.Dataset) -> NDArray[Any]:
    """All numbers of a dataset from a file of unknown origin.

    Parameters
    ----------
    dataset : h5py.Dataset
        In one piece, or in chunks of at most 64 MB; gzip, lzf, shuffle and fletcher32 are permitted.

    Returns
    -------
    ndarray of shape (n_clips, dim), (dim,) or (n_clips, n_layers, dim), float or integer

    Raises
    ------
    LayoutError
        It points to other files, is not wholly written, needs another filter, or does not unpack to what it says.
    ImportFormatError
        It is of another shape or type, or larger than 1 GB.
    """
    layout = dataset.id.get_create_plist().get_layout()
    # before anything that makes HDF5 look for the other files
    if layout == h5py.h5d.VIRTUAL or dataset.external:
        raise LayoutError("its numbers lie in other files")
    check_clips(dataset.shape or (), dataset.dtype)
    if layout == h5py.h5d.CHUNKED:
        _check_chunks(dataset)
    elif layout == h5py.h5d.CONTIGUOUS:
        _check_piece(dataset)
    return cast("NDArray[Any]", dataset[()])


def _check_piece(dataset: h5py.Dataset) -> None:
    n_bytes = prod(dataset.shape) * dataset.dtype.itemsize
    offset = data_offset(dataset)
    if not offset or offset + n_bytes > file_size(dataset):
        raise LayoutError(f"it claims {dataset.shape} {dataset.dtype}, more than the file holds")


def _check_chunks(dataset: h5py.Dataset) -> None:
    pipeline = _Pipeline.of(dataset)
    limit = prod(dataset.chunks) * dataset.dtype.itemsize
    if limit > _MAX_CHUNK_BYTES:
        raise LayoutError(f"it has chunks of {limit} bytes, at most {_MAX_CHUNK_BYTES}")
    n_chunks = prod(-(-length // step) for length, step in zip(dataset.shape, dataset.chunks, strict=True))
    if n_chunks > _MAX_CHUNKS:
        raise LayoutError(f"it lies in {n_chunks} chunks, at most {_MAX_CHUNKS}; copy it into larger ones")
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    if len(chunks) != n_chunks:
        raise LayoutError("a part of it was never written")
    for stored in chunks:
        if stored.byte_offset is None or stored.byte_offset + stored.size > file_size(dataset):
            raise LayoutError("it claims more than the file holds")
        pipeline.check(dataset, stored.chunk_offset, stored, limit)
    n_bytes, n_stored = prod(dataset.shape) * dataset.dtype.itemsize, sum(stored.size for stored in chunks)
    if n_bytes > _MAX_RATIO * n_stored:
        raise LayoutError(f"it unpacks {n_stored} bytes to {n_bytes}, more than {_MAX_RATIO} times as much")


@dataclass(frozen=True, kw_only=True)
class _Pipeline:
    """The filters of a dataset, in the order in which they were applied: at most one of them compresses."""

    codes: tuple[int, ...]

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _Pipeline:
        settings = dataset.id.get_create_plist()
        filters = [settings.get_filter(i) for i in range(settings.get_nfilters())]
        codes = tuple(int(found[0]) for found in filters)
        if set(codes) - _FILTERS:
            raise LayoutError(
                f"it needs the filters {sorted(set(codes) - _FILTERS)}; gzip, lzf, shuffle and fletcher32 are known"
            )
        compressing = [place for place, code in enumerate(codes) if code in _COMPRESSING]
        after = codes[compressing[0] + 1 :] if compressing else ()
        if len(compressing) > 1 or set(after) - {_FLETCHER32} or len(codes) > len(_FILTERS):
            raise LayoutError(
                f"it needs the filters {list(codes)} in this order; at most one that compresses, and at last"
            )
        # the third setting of lzf is how much memory it takes at once
        if any(code == _LZF and max(values, default=0) > _MAX_CHUNK_BYTES for code, _, values, _ in filters):
            raise LayoutError("it has chunks that claim to be larger than they are")
        return cls(codes=codes)

    def check(self, dataset: h5py.Dataset, offset: tuple[int, ...], stored: Any, n_bytes: int) -> None:
        """Refuse a chunk that does not unpack to exactly ``n_bytes``.

        HDF5 does not look: of a longer one it takes the memory, of a shorter one it reads on into what lies behind.
        """
        n_checksums = sum(
            code == _FLETCHER32 and not stored.filter_mask >> place & 1 for place, code in enumerate(self.codes)
        )
        n_packed = stored.size - _CHECKSUM_BYTES * n_checksums
        if n_packed > n_bytes + n_bytes // 100 + 1024:  # what compresses badly grows a little
            raise LayoutError(f"it has a chunk of {stored.size} bytes that can hold {n_bytes}")
        place = next((place for place, code in enumerate(self.codes) if code in _COMPRESSING), None)
        n_unpacked = n_packed
        if place is not None and not stored.filter_mask >> place & 1:
            _, data = dataset.id.read_direct_chunk(offset)
            packed = data[: max(n_packed, 0)]
            n_unpacked = _gzip_length(packed, n_bytes) if self.codes[place] == _GZIP else _lzf_length(packed)
        if n_unpacked != n_bytes:
            raise LayoutError(f"it has a chunk that does not unpack to the {n_bytes} bytes that it must hold")


def _gzip_length(packed: bytes, limit: int) -> int:
    try:
        return len(zlib.decompressobj().decompress(packed, limit + 1))
    except zlib.error as error:
        raise LayoutError(f"it is damaged: {error}") from error


def _lzf_length(packed: bytes) -> int:
    """Length of what LZF unpacks to, by walking over its runs of bytes and references backwards."""
    place = length = 0
    while place < len(packed):
        control = packed[place]
        if control < 32:
            length += control + 1
            place += control + 2
        elif control < 224:
            length += (control >> 5) + 2
            place += 2
        else:
            length += 9 + (packed[place + 1] if place + 1 < len(packed) else 0)
            place += 3
    return length
