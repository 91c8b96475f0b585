"""Recordings in ``.npz`` and ``.npy`` files, one file for each: poise's old layout, or one array by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError
from poise.store.folder import StoreFolder
from poise.store.importers.arrays import MAX_BYTES, TOO_LARGE, NpzFile, as_clips, foreign, read_npy
from poise.store.importers.items import Found, Item, Refused
from poise.store.importers.plan import ImportOptions, ImportPlan, one_encoder
from poise.store.importers.report import ImportReport
from poise.store.importers.run import run_import
from poise.store.importers.sources import SourceFile, array_files
from poise.store.schema import Modality

_DIM = 768
_ENCODERS: dict[Modality, str] = {"video": "videomae-base", "audio": "wavlm-base-plus"}

UNDERSTOOD = "`clips` (n, 1536) = video 768 ++ audio 768, or `vmae` and / or `wavl` (768,)"


def import_npz_files(store: StoreFolder, source: Path, options: ImportOptions) -> ImportReport:
    """Import ``.npz`` files with one recording each: the array ``key``, else the layout of :data:`UNDERSTOOD`."""
    key = options.key
    arrays = f"an array `{key}`; other arrays need another key" if key else f"{UNDERSTOOD}; other arrays need a key"
    plan = ImportPlan(
        source=source,
        options=options,
        layout="npz",
        encoders=one_encoder(source, options) if key else _ENCODERS,
        expected=f".npz with {arrays}",
        nothing="it holds no .npz file",
    )
    return run_import(store, plan, _items(source, ".npz", options))


def import_npy_files(store: StoreFolder, source: Path, options: ImportOptions) -> ImportReport:
    """Import ``.npy`` files with one recording each."""
    plan = ImportPlan(
        source=source,
        options=options,
        layout="npy",
        encoders=one_encoder(source, options),
        expected=".npy with (n_clips, dim), (dim,) or (n_clips, n_layers, dim) numbers",
        nothing="it holds no .npy file",
    )
    return run_import(store, plan, _items(source, ".npy", options))


def _items(source: Path, ending: str, options: ImportOptions) -> Iterator[Item]:
    for file in array_files(source, ending):
        yield file if isinstance(file, Refused) else _item(file, ending, options)


def _item(file: SourceFile, ending: str, options: ImportOptions) -> Item:
    """One recording; nothing here outlives the return, so that the next one finds the memory free."""
    try:
        return Found(path=file.name, name=file.stem, arrays=_arrays(file, ending, options))
    except ImportFormatError as error:
        return Refused(path=file.name, reason=str(error))


def _arrays(file: SourceFile, ending: str, options: ImportOptions) -> dict[Modality, NDArray[Any]]:
    with file.open() as opened:
        if ending == ".npz":
            npz = NpzFile(opened)
            if options.key is None:
                return _two_modalities(npz)
            return {options.chosen_modality(): _named(npz, options.key)}
        with foreign("an .npy"):
            return {options.chosen_modality(): as_clips(_npy(opened))}


def _npy(opened: IO[bytes]) -> NDArray[Any]:
    n_bytes = opened.seek(0, os.SEEK_END)
    if n_bytes > MAX_BYTES:
        raise ImportFormatError(TOO_LARGE)
    opened.seek(0)
    return read_npy(opened, n_bytes)


def _named(npz: NpzFile, key: str) -> NDArray[Any]:
    if key not in npz:
        raise ImportFormatError(f"it holds {npz.describe()}; expected an array `{key}`")
    return as_clips(npz.read(key))


def _two_modalities(npz: NpzFile) -> dict[Modality, NDArray[Any]]:
    """Both modalities of one file, each (n_clips, 768); no clips where it is missing."""
    if "clips" in npz:
        clips = npz.read("clips")
        if clips.ndim == 2 and clips.shape[1] == 2 * _DIM and len(clips) and clips.dtype.kind == "f":
            return {"video": clips[:, :_DIM], "audio": clips[:, _DIM:]}
    else:
        means = {name: npz.read(name) for name in ("vmae", "wavl") if name in npz}
        if means and all(mean.shape == (_DIM,) and mean.dtype.kind == "f" for mean in means.values()):
            return {"video": _one_clip(means.get("vmae")), "audio": _one_clip(means.get("wavl"))}
    raise ImportFormatError(f"it holds {npz.describe()}; expected {UNDERSTOOD}")


def _one_clip(mean: NDArray[Any] | None) -> NDArray[Any]:
    return np.empty((0, _DIM), np.float32) if mean is None else mean[None]  # (1, 768)
