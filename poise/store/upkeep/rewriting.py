"""Writing recordings of a store into new segments of it, as they are: what compacting, healing and removing share.

Digests are copied, never made anew, so that damage cannot become part of a sound file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreChangedError
from poise.store.durable import sync_folder, sync_name, write_durably, write_error
from poise.store.format.contents import SetContents
from poise.store.format.layout import Names, segment_image, segment_name
from poise.store.format.recordings import RecordingTable
from poise.store.format.segments import Segment, damaged, gone, name_before
from poise.store.index import FeatureSetIndex


def rewrite_rows(folder: Path, index: FeatureSetIndex, rows: NDArray[np.int64], names: Names, *, before: str) -> Path:
    """Write some rows of a feature set into one new segment, and return when it is durable.

    The new segment stands right before the first that it replaces. So of all copies of a recording the first is never
    one that somebody is about to remove, whoever compacts at the same time.

    Parameters
    ----------
    folder : Path
        Folder of the feature set.
    index : FeatureSetIndex
        Where the rows are now.
    rows : ndarray of shape (n,), int64
        Rows of its table.
    names : Names
        Further names to write along.
    before : str
        Name of the first segment that it replaces.

    Returns
    -------
    Path
        The segment; the same rows give the same file.

    Raises
    ------
    StoreWriteError
        It cannot be written.
    """
    bags = index.load(rows)
    table, runs = repack(index.contents, rows)
    image = segment_image(index.spec, table, bags.values, bags.clip_times, names=names, runs=runs)
    digest = hashlib.sha256(image).hexdigest()
    path = folder / _named_before(before, image)
    while path.exists() and not _is_whole(path, digest):  # a damaged file holds the name that it once had by right
        taken, path = path, folder / _named_before(path.name, image)
        if path == taken:
            raise damaged(path, "there is no name before it, it stands at the beginning of time")
    if not path.exists():
        write_durably(path, image)
        return path
    try:
        sync_name(path)  # the process that wrote it may have died before its name was durable
    except OSError as error:
        raise write_error(path, error) from error
    return path


def _named_before(name: str, image: bytes) -> str:
    milliseconds, writer, number = name_before(name)
    return segment_name(image, milliseconds=milliseconds, writer=writer, number=number)


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except (OSError, StoreChangedError):
        return False


def repack(contents: SetContents, rows: NDArray[np.int64]) -> tuple[RecordingTable, list[str]]:
    """The table of some rows as it stands where they are packed, and the runs it refers to."""
    table = contents.table.take(rows)
    used, numbers = np.unique(table.runs, return_inverse=True)
    offsets = np.cumsum(table.n_clips) - table.n_clips
    packed = replace(table, offsets=offsets, runs=numbers.astype(np.int64).reshape(-1))
    return packed, [contents.runs[run] for run in used]


def live_names(index: FeatureSetIndex, numbers: Iterable[int] | None = None) -> Names:
    """The further names that are worth keeping, each once, and the paths of rows that do not count.

    Parameters
    ----------
    index : FeatureSetIndex
        The feature set.
    numbers : iterable of int, optional
        Only what these segments say. Default: all.
    """
    contents = index.contents
    chosen = np.arange(len(contents.segments)) if numbers is None else np.array(sorted(numbers), dtype=np.int64)
    here = contents.take_segments(chosen)
    pairs = dict.fromkeys(
        (key.tobytes().hex(), path)
        for keys, paths in ((here.names.keys, here.names.paths), (here.table.keys, here.table.paths))
        for key, path in zip(keys, paths, strict=True)
    )
    kept = []
    for key, path in pairs:
        row = index.row(key)
        if row is None or contents.table.paths[row] != path:  # of a recording that is still to come, or another path
            kept.append((key, path))
    return Names.pack(kept)


def check_file(segment: Segment) -> None:
    """Hold a segment against the digest in its name.

    Raises
    ------
    StoreDamagedError
        They differ: what is in it must not be carried on.
    StoreChangedError
        It is gone.
    """
    if file_digest(segment.path) != segment.digest:
        raise damaged(segment.path, "its bytes changed since it was written; run `poise store heal` first")


def file_digest(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits.

    Raises
    ------
    StoreChangedError
        It is gone.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        if path.exists():
            raise
        raise gone(path) from error


def remove_files(folder: Path, paths: Iterable[Path]) -> None:
    """Remove segments that others replace, durably.

    Raises
    ------
    StoreWriteError
        One cannot be removed; then it is there twice, which does no harm.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
    try:
        sync_folder(folder)
    except OSError as error:
        raise write_error(folder, error) from error
