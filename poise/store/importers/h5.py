"""Recordings in HDF5 files of others: a dataset or a group for each, or a file for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
from numpy.typing import NDArray

from poise.errors import ImportFormatError
from poise.store.exported import KIND
from poise.store.folder import StoreFolder
from poise.store.format.hdf5 import LayoutError, child, child_group, first_line, open_hdf5, text_attribute
from poise.store.importers.arrays import as_clips
from poise.store.importers.datasets import read_dataset
from poise.store.importers.items import Found, Item, Refused
from poise.store.importers.plan import ImportOptions, ImportPlan, one_encoder
from poise.store.importers.report import ImportReport
from poise.store.importers.run import run_import
from poise.store.importers.sources import folder_files
from poise.store.schema import Modality

ENDINGS = (".h5", ".hdf5")

_SHOWN = 8


def import_h5_files(store: StoreFolder, source: Path, options: ImportOptions) -> ImportReport:
    """Import an HDF5 file, or a folder of them.

    A file in which ``key`` names a dataset is one recording, named by the file. In any other, each dataset at the top
    is a recording, and so is each group at the top, which holds its array under ``key``.

    Raises
    ------
    ImportFormatError
        The key is no path of plain names, or each of several files holds the same names and there is no key.
    """
    parts = _key_parts(options.key)
    files = list(folder_files(source, ENDINGS)) if source.is_dir() else [(source.name, source)]
    if not parts:
        _refuse_repeated_names([file for file in files if not isinstance(file, Refused)])
    plan = ImportPlan(
        source=source,
        options=options,
        layout="hdf5",
        encoders=one_encoder(source, options),
        expected="HDF5 files with a dataset (n_clips, dim), (dim,) or (n_clips, n_layers, dim) for each recording, or "
        "a group for each with the dataset that `key` names, or a file for each with such a dataset",
        nothing="it holds no .h5 file",
    )
    modality, alone = options.chosen_modality(), not source.is_dir()
    items = (item for file in files for item in _items(file, parts, modality, alone=alone))
    return run_import(store, plan, items)


def _key_parts(key: str | None) -> tuple[str, ...]:
    parts = tuple(key.split("/")) if key is not None else ()
    if any(part in ("", ".", "..") for part in parts):
        raise ImportFormatError(
            f"The key {key!r} is no path in an HDF5 file. Expected plain names with slashes between them, as "
            '"features" or "video/features".'
        )
    return parts


def _refuse_repeated_names(files: Sequence[tuple[str, Path]]) -> None:
    """Where each file holds one recording, its datasets would be taken for recordings; two files show it."""
    seen: list[tuple[str, list[str]]] = []
    for name, path in files:
        try:
            with open_hdf5(path) as file:
                _refuse_poise(file)
                seen.append((name, list(file)))
        except (LayoutError, OSError, ImportFormatError):
            continue
        if len(seen) == 2:
            break
    if len(seen) == 2 and seen[0][1] == seen[1][1] and seen[0][1]:
        held = ", ".join(seen[0][1][:_SHOWN])
        raise ImportFormatError(
            f"{seen[0][0]} and {seen[1][0]} hold the same names: {held}. If each file is a recording, say with a key "
            f'which dataset holds its features, as key="{seen[0][1][0]}". If not, give the recordings different names.'
        )


def _items(
    file: tuple[str, Path] | Refused, parts: tuple[str, ...], modality: Modality, *, alone: bool
) -> Iterator[Item]:
    if isinstance(file, Refused):
        yield file
        return
    inside, path = file
    try:
        with open_hdf5(path) as opened:
            _refuse_poise(opened)
            if parts and _is_dataset(opened, parts):
                yield _item(opened, parts, modality, path=inside, name=PurePosixPath(inside).stem)
                return
            if not len(opened):
                raise LayoutError("it holds nothing")
            for name in opened:
                yield _recording(opened, name, parts, modality, path=name if alone else f"{inside}/{name}")
    except (LayoutError, OSError, ImportFormatError) as error:
        yield Refused(path=inside, reason=first_line(error))


def _refuse_poise(file: h5py.File) -> None:
    """A file of poise's own is no source: its embeddings would come back as a recording called `embeddings`."""
    if _text(file, "kind") == KIND:
        raise ImportFormatError(
            "it was exported by poise; there is nothing to import: open it as a store (--store, FeatureStore.open)"
        )
    if _text(file, "fingerprint") is not None and _text(file, "spec") is not None:
        raise ImportFormatError(
            "it is a piece of a poise store; there is nothing to import: open the folder that holds its feature set "
            "as a store"
        )


def _text(file: h5py.File, name: str) -> str | None:
    try:
        return text_attribute(file, name)
    except (LayoutError, ValueError):
        return None


def _is_dataset(file: h5py.File, parts: tuple[str, ...]) -> bool:
    try:
        return isinstance(_walk(file, parts), h5py.Dataset)
    except LayoutError:
        return False


def _recording(file: h5py.File, name: str, parts: tuple[str, ...], modality: Modality, *, path: str) -> Item:
    try:
        is_group = isinstance(child(file, name), h5py.Group)
        if is_group and not parts:
            held = ", ".join(islice(child_group(file, name), _SHOWN)) or "nothing"
            raise LayoutError(f"it is a group that holds {held}; say with a key which of them are the features")
    except Exception as error:  # noqa: BLE001  as below
        return Refused(path=path, reason=first_line(error))
    return _item(file, (name, *parts) if is_group else (name,), modality, path=path, name=name)


def _item(file: h5py.File, parts: tuple[str, ...], modality: Modality, *, path: str, name: str) -> Item:
    """One recording; nothing here outlives the return, so that the next one finds the memory free."""
    try:
        return Found(path=path, name=name, arrays={modality: _array(file, parts)})
    except Exception as error:  # noqa: BLE001  each kind of damage has errors of its own, and none is another recording's affair
        return Refused(path=path, reason=first_line(error))


def _array(file: h5py.File, parts: tuple[str, ...]) -> NDArray[Any]:
    found = _walk(file, parts)
    if not isinstance(found, h5py.Dataset):
        raise LayoutError(f"{'/'.join(parts)} is not a dataset")
    return as_clips(read_dataset(found))


def _walk(file: h5py.File, parts: tuple[str, ...]) -> h5py.Group | h5py.Dataset:
    """What lies at a path, over hard links only."""
    group: h5py.Group = file
    for part in parts[:-1]:
        group = child_group(group, part)
    return child(group, parts[-1])
