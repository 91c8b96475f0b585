"""The feature store as one object: finding feature sets, loading, writing, and keeping the store in order.

How it lies on the disk is for :mod:`poise.store.folder` and :mod:`poise.store.exported`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poise.errors import (
    FeatureSetNotFoundError,
    FeaturesMissingError,
    StoreChangedError,
    StoreReadOnlyError,
)
from poise.manifest import Manifest
from poise.store.bags import Bags
from poise.store.choice import choose_set
from poise.store.exported import ExportedFile
from poise.store.folder import EXPORT_SUFFIXES, StoreFolder, create_folder, open_folder
from poise.store.identity import KeyCache
from poise.store.importers.importing import import_features, import_npz
from poise.store.importers.report import ImportReport
from poise.store.index import FeatureSetIndex
from poise.store.lookup import find_keys
from poise.store.schema import Entry, FeatureSet, Modality, Spec
from poise.store.upkeep.compact import CompactReport, compact
from poise.store.upkeep.export import export
from poise.store.upkeep.removal import remove_recordings, remove_set
from poise.store.upkeep.verify import VerifyReport, verify
from poise.store.writer import SegmentWriter

_TRIES = 50
"""A store that is compacted without a pause is looked at so often before a reader gives up."""


class FeatureStore:
    """Embeddings of recordings, kept per encoder and settings, safe against crashes.

    Open one with :meth:`open` or :meth:`create`. Every call looks at what is there now; what it returns is a
    snapshot that does not change.

    Attributes
    ----------
    path : Path
        The folder, or the exported file.
    keys : KeyCache
        Keys of files that were hashed before.

    Examples
    --------
    >>> store = FeatureStore.open("features")                       # doctest: +SKIP
    >>> bags = store.load(manifest, video="videomae-base", audio="wavlm-base-plus")  # doctest: +SKIP
    """

    def __init__(self, source: StoreFolder | ExportedFile) -> None:
        self._source = source

    @property
    def path(self) -> Path:
        """The folder, or the exported file."""
        return self._source.path

    @property
    def keys(self) -> KeyCache:
        """Keys of files that were hashed before."""
        return self._source.keys

    @property
    def read_only(self) -> bool:
        """Whether it is an exported file."""
        return isinstance(self._source, ExportedFile)

    @property
    def folder(self) -> StoreFolder:
        """The folder that can be written.

        Raises
        ------
        StoreReadOnlyError
            It is an exported file.
        """
        if isinstance(self._source, ExportedFile):
            raise StoreReadOnlyError(f"{self.path} is an exported file and is only read. Use the store it came from.")
        return self._source

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, mmap: bool = True) -> FeatureStore:
        """Open a store that exists: its folder, or an ``.h5`` file that :meth:`export` wrote.

        Parameters
        ----------
        path : path
        mmap : bool
            Map files, which is fastest. False reads them with plain reads: for network file systems on which another
            machine may compact the store meanwhile.

        Raises
        ------
        StoreNotFoundError
            There is no store at that path.
        StoreDamagedError
            What is there cannot be read.
        """
        place = Path(path)
        if place.suffix.lower() in EXPORT_SUFFIXES and not place.is_dir():
            return cls(ExportedFile(place, mapped=mmap))
        return cls(open_folder(place, mapped=mmap))

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, mmap: bool = True) -> FeatureStore:
        """Open a store, making an empty one if there is none.

        Parameters
        ----------
        path, mmap
            As for :meth:`open`.

        Raises
        ------
        StoreWriteError
            The folder cannot be made.
        StoreDamagedError
            The folder holds other things than a store.
        """
        return cls(create_folder(Path(path), mapped=mmap))

    def names(self) -> list[str]:
        """Names of the feature sets that hold something, ``encoder@fingerprint``."""
        return self._source.names()

    def indexes(self) -> Iterator[FeatureSetIndex]:
        """The index of every feature set."""
        return (self._source.index(name) for name in self.names())

    def feature_sets(self) -> list[FeatureSet]:
        """What the store holds, by name."""
        return [index.describe() for index in self.indexes()]

    def entries(self, spec: Spec) -> Mapping[str, Entry]:
        """What is known of each recording in the feature set of ``spec``, by key; empty if there is none yet."""
        index = self.index(spec)
        return index if index is not None else {}

    def index(self, spec: Spec) -> FeatureSetIndex | None:
        """The index of the feature set of ``spec``; None if there is none yet."""
        return self._source.find(spec)

    def writer(
        self, spec: Spec, on_durable: Callable[[Sequence[str]], None] | None = None, *, run: str | None = None
    ) -> SegmentWriter:
        """A writer into the feature set of ``spec``, which is made if there is none yet.

        Parameters
        ----------
        spec : mapping
            Everything that changes the numbers.
        on_durable : callable, optional
            Called with the keys of recordings once they are safe on the disk.
        run : str, optional
            JSON that says which run this is, see :func:`poise.store.runs.describe_run`.

        Raises
        ------
        StoreWriteError
            The store cannot be written.
        StoreReadOnlyError
            It is an exported file.
        StoreDamagedError
            The feature set's spec is not the one that its name says.
        InvalidFeaturesError
            The spec cannot be stored.
        """
        return self.folder.writer(spec, on_durable, run=run)

    def find(self, name: str | None, modality: Modality) -> FeatureSetIndex | None:
        """The one feature set that a name means.

        Parameters
        ----------
        name : str or None
            ``encoder``, ``encoder@fingerprint`` or the start of one; ``none`` for no feature set; None
            for the only one of the modality, if there is any.
        modality : {"video", "audio"}
            What it must be made from.

        Raises
        ------
        FeatureSetNotFoundError
            No feature set answers to the name.
        AmbiguousFeatureSetError
            Several do; the message lists them and how they differ.
        """
        return choose_set(self._source, name, modality)

    def load(
        self,
        manifest: Manifest | None = None,
        *,
        video: str | None = None,
        audio: str | None = None,
        verify: bool = False,
    ) -> Bags:
        """Features of every recording of a manifest, aligned with its rows.

        Parameters
        ----------
        manifest : Manifest, optional
            The recordings. A media file need not be on this machine: then its path as given counts.
            Default: every recording of the chosen feature sets, in the order in which they are stored.
        video, audio : str, optional
            Feature set of each modality, see :meth:`find`.
        verify : bool
            Hold every recording against the digest that it was stored with, which takes about three times as long.

        Returns
        -------
        Bags
            A recording whose modality is missing, or that could not be read, has no clips there.

        Raises
        ------
        FeaturesMissingError
            A recording was never extracted, or its file changed since.
        FeatureSetNotFoundError, AmbiguousFeatureSetError
            See :meth:`find`.
        StoreDamagedError
            A file of the store is damaged.
        """
        names: dict[Modality, str | None] = {"video": video, "audio": audio}
        for _ in range(_TRIES - 1):
            try:
                return self._load(manifest, names, verify=verify)
            except StoreChangedError:  # compacted between listing and reading
                continue
        return self._load(manifest, names, verify=verify)

    def _load(self, manifest: Manifest | None, names: Mapping[Modality, str | None], *, verify: bool) -> Bags:
        found = {modality: choose_set(self._source, name, modality) for modality, name in names.items()}
        chosen = {modality: index for modality, index in found.items() if index is not None}
        if not chosen:
            raise FeatureSetNotFoundError(
                f"{self.path} has no feature set to load. Run `poise extract` or `poise store import` first."
            )
        keys, rows = self._rows(chosen, manifest)
        if verify:
            for modality, index in chosen.items():
                index.check(rows[modality])
                index.check_names()
        return Bags(
            keys=tuple(keys), modalities={modality: index.load(rows[modality]) for modality, index in chosen.items()}
        )

    def _rows(
        self, chosen: Mapping[Modality, FeatureSetIndex], manifest: Manifest | None
    ) -> tuple[list[str], dict[Modality, NDArray[np.int64]]]:
        """Keys of the recordings asked for, and where they lie in each feature set."""
        if manifest is None:
            first, *others = chosen.values()
            if not others:
                return list(first), dict.fromkeys(chosen, first.all_rows())
            every = list(dict.fromkeys(key for index in chosen.values() for key in index))
            return every, {modality: index.rows(every) for modality, index in chosen.items()}
        keys: list[str] = []
        rows = {}
        for modality, index in chosen.items():
            found = find_keys(index, manifest, self.keys)
            unknown = [row for row, key in enumerate(found) if key is None]
            if unknown:
                raise FeaturesMissingError(_missing(self.path, index, manifest, unknown))
            rows[modality] = index.rows(found)
            keys = keys or [str(key) for key in found]
        return keys, rows

    def import_npz(self, source: str | os.PathLike[str], *, collection: str | None = None) -> ImportReport:
        """Import ``.npz`` files with ``clips`` (n_clips, 1536), or ``vmae`` and / or ``wavl`` (768,).

        See :func:`poise.store.importers.importing.import_npz`.
        """
        return import_npz(self.folder, Path(source), collection=collection)

    def import_features(
        self,
        source: str | os.PathLike[str],
        *,
        collection: str | None = None,
        encoder: str | None = None,
        key: str | None = None,
        modality: Modality | None = None,
        id_column: str | None = None,
        start_column: str | None = None,
        end_column: str | None = None,
        columns: Sequence[str] | None = None,
        dtype: str = "float32",
    ) -> ImportReport:
        """Import features that other software made: arrays, HDF5 files or tables.

        See :func:`poise.store.importers.importing.import_features` for what is understood and for every parameter.
        """
        return import_features(
            self.folder,
            Path(source),
            collection=collection,
            encoder=encoder,
            key=key,
            modality=modality,
            id_column=id_column,
            start_column=start_column,
            end_column=end_column,
            columns=columns,
            dtype=dtype,
        )

    def verify(self) -> VerifyReport:
        """Check every byte: digests, structure, finite values. See :func:`poise.store.upkeep.verify.verify`."""
        return verify(self._source)

    def compact(self, name: str | None = None) -> list[CompactReport]:
        """Merge small segments and drop rows that do not count. See :func:`poise.store.upkeep.compact.compact`.

        Parameters
        ----------
        name : str, optional
            Only this feature set, ``encoder@fingerprint``. Default: all.

        Raises
        ------
        StoreReadOnlyError
            It is an exported file.
        StoreDamagedError, StoreWriteError
            See :func:`poise.store.upkeep.compact.compact`.
        """
        folder = self.folder
        return [compact(folder, held) for held in ([name] if name is not None else self.names())]

    def export(
        self, path: str | os.PathLike[str], *, names: str | Sequence[str] | None = None, replace: bool = False
    ) -> Path:
        """Write feature sets into one self-contained ``.h5`` file. See :func:`poise.store.upkeep.export.export`.

        Parameters
        ----------
        path : path
            The file, ending in ``.h5``.
        names : str or sequence of str, optional
            Only these feature sets, ``encoder@fingerprint``. Default: all.
        replace : bool
            Put it in the place of a file that is there.

        Raises
        ------
        FeatureSetNotFoundError
            There is nothing to export.
        OutputError, StoreWriteError, StoreDamagedError
            See :func:`poise.store.upkeep.export.export`.
        """
        chosen = (
            list(dict.fromkeys([names] if isinstance(names, str) else names)) if names is not None else self.names()
        )
        if not chosen:
            raise FeatureSetNotFoundError(f"{self.path} holds no feature set to export.")
        for _ in range(_TRIES - 1):
            try:
                return export([self._source.index(name) for name in chosen], Path(path), replace=replace)
            except StoreChangedError:  # compacted meanwhile
                continue
        return export([self._source.index(name) for name in chosen], Path(path), replace=replace)

    def remove(self, name: str, keys: Iterable[str] | None = None) -> None:
        """Remove a feature set, or some recordings from it.

        Parameters
        ----------
        name : str
            The feature set, ``encoder@fingerprint``.
        keys : iterable of str, optional
            Keys of the recordings. Default: the whole feature set.

        Raises
        ------
        FeatureSetNotFoundError
            There is no such feature set.
        StoreReadOnlyError
            It is an exported file.
        StoreDamagedError, StoreWriteError
            See :mod:`poise.store.upkeep.removal`.
        """
        if keys is None:
            remove_set(self.folder, name)
        else:
            remove_recordings(self.folder, name, keys)


def _missing(path: Path, index: FeatureSetIndex, manifest: Manifest, rows: Sequence[int]) -> str:
    held = ", ".join(repr(index[key].paths[0]) for key in islice(index, 3))
    remedy = (
        f"Imported features are matched by file name; the set holds {held}, … Import them, or correct the names."
        if index.imported
        else ("Each was never extracted, or its file changed since. Run `poise extract` on this manifest again.")
    )
    return (
        f"{len(rows)} of {len(manifest)} recordings have no features in {path / index.name}: "
        f"{manifest.lines(rows)}. {remedy}"
    )
