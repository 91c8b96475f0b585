"""Choosing and removing feature sets and recordings; what remains is durable before anything goes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from poise.errors import FeatureSetNotFoundError, FeaturesMissingError, StoreChangedError
from poise.store.durable import sync_folder, temporary_name, write_error
from poise.store.folder import StoreFolder, cache_file
from poise.store.format.recordings import Digests
from poise.store.index import FeatureSetIndex
from poise.store.schema import Outcome
from poise.store.upkeep.rewriting import check_file, remove_files, rewrite_rows

_TRIES = 5


def remove_set(store: StoreFolder, name: str) -> None:
    """Remove a feature set; it vanishes at once, whatever happens while its files are deleted.

    Raises
    ------
    FeatureSetNotFoundError
        There is none of that name.
    StoreWriteError
        It cannot be removed.
    """
    folder = store.path / name
    if folder not in store.set_folders():
        raise FeatureSetNotFoundError(f"{store.path} has no feature set {name}.")
    try:
        going = temporary_name(store.path)
        os.rename(folder, going)
        sync_folder(store.path)
        if going.is_symlink():
            going.unlink()
        else:
            shutil.rmtree(going)
        cache_file(folder).unlink(missing_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error


def remove_recordings(store: StoreFolder, name: str, keys: Iterable[str]) -> None:
    """Remove recordings from a feature set: all that is known of them, their names and their failures too.

    Raises
    ------
    FeaturesMissingError
        A key is none; nothing was removed. One that is not there is gone already.
    StoreDamagedError
        A segment that holds some of them is damaged; heal the store first.
    StoreWriteError
        Something cannot be written or removed; then the recordings may still be there.
    """
    wanted = list(keys)
    for key in wanted:
        if not re.fullmatch(r"[0-9a-f]{64}", key):
            raise FeaturesMissingError(f"{key!r} is no key: expected 64 hexadecimal digits. Nothing was removed.")
    gone = {bytes.fromhex(key) for key in wanted}
    for _ in range(_TRIES - 1):
        try:
            return _remove(store, name, gone)
        except StoreChangedError:  # compacted meanwhile
            continue
    return _remove(store, name, gone)


def _remove(store: StoreFolder, name: str, gone: set[bytes]) -> None:
    folder, index = store.path / name, store.read_index(name)
    contents = index.contents
    rows_go, names_go = _among(contents.table.keys, gone), _among(contents.names.keys, gone)
    segment_of_rows = contents.segment_of_rows()
    segment_of_names = np.repeat(np.arange(len(contents.segments)), contents.n_names)
    for number in np.union1d(segment_of_rows[rows_go], segment_of_names[names_go]).tolist():
        segment = contents.segments[number]
        check_file(segment)
        rows = np.flatnonzero((segment_of_rows == number) & ~rows_go)
        names = contents.names.take(np.flatnonzero((segment_of_names == number) & ~names_go))
        if len(rows) or len(names):
            rewrite_rows(folder, index, rows, names, before=segment.path.name)
        remove_files(folder, [segment.path])


def _among(keys: Digests, wanted: set[bytes]) -> NDArray[np.bool_]:
    """Which of the keys are wanted, shape (n,)."""
    held = np.ascontiguousarray(keys).view("V32").ravel().tolist()
    return np.fromiter((key in wanted for key in held), dtype=np.bool_, count=len(held))


def matching_keys(
    index: FeatureSetIndex,
    *,
    paths: Sequence[str] = (),
    keys: Sequence[str] = (),
    outcomes: Sequence[Outcome] = (),
    keep: Collection[str] | None = None,
) -> list[str]:
    """Keys of the recordings of a feature set that answer to every condition given.

    Parameters
    ----------
    index : FeatureSetIndex
        The feature set.
    paths : sequence of str
        Shell patterns; one must match one of the paths that the recording was given under.
    keys : sequence of str
        Beginnings of keys.
    outcomes : sequence of {"stored", "missing", "failed"}
        How the recording ended.
    keep : collection of str, optional
        Keys that do not match.
    """
    found = []
    for key in index:
        if (keep is not None and key in keep) or (keys and not key.startswith(tuple(keys))):
            continue
        entry = index[key] if paths or outcomes else None
        if entry is not None and outcomes and entry.outcome not in outcomes:
            continue
        if (
            entry is not None
            and paths
            and not any(fnmatchcase(path, pattern) for path in entry.paths for pattern in paths)
        ):
            continue
        found.append(key)
    return found
