"""A store on the disk: a folder with a marker, and one sub-folder of segments for each feature set."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from poise.errors import (
    PoiseError,
    StoreChangedError,
    StoreDamagedError,
    StoreNotFoundError,
    StoreReadOnlyError,
    StoreVersionError,
)
from poise.store.durable import (
    is_temporary,
    make_folder,
    remove_leftovers,
    sync_folder,
    sync_name,
    write_durably,
    write_error,
)
from poise.store.format.cache import load_contents, save_contents
from poise.store.format.contents import SetContents, update_contents
from poise.store.format.layout import check_spec
from poise.store.format.segments import NAME, read_segment
from poise.store.identity import KeyCache
from poise.store.index import FeatureSetIndex
from poise.store.regular import read_regular
from poise.store.schema import FORMAT_VERSION, SET_NAME, Modality, Spec, canonical_json, parse_spec, set_name
from poise.store.writer import SegmentWriter

MARKER = "poise-store.json"
CACHE = "cache"
QUARANTINE = "quarantine"
EXPORT_SUFFIXES = (".h5", ".hdf5")
"""Endings of exported files, which no folder of a store may have."""

SPEC = "spec.json"

_SAVE_AFTER = 16  # so many segments read one by one are worth a copy of the index
_TRIES = 20
_MAX_SPEC_BYTES = 1 << 20


class StoreFolder:
    """The folder of a store.

    Parameters
    ----------
    path : Path
        An existing store.
    mapped : bool
        Whether numbers are read by mapping files.
    """

    def __init__(self, path: Path, *, mapped: bool = True) -> None:
        self.path = path
        self.keys = KeyCache(path / CACHE)
        self._mapped = mapped
        self._indexes: dict[str, FeatureSetIndex] = {}

    def names(self) -> list[str]:
        """Names of the feature sets that hold something."""
        return [folder.name for folder in self.set_folders() if _has_segments(folder)]

    def set_folders(self) -> list[Path]:
        """Folders of feature sets, those that hold nothing yet among them."""
        return sorted(path for path in self.path.iterdir() if SET_NAME.fullmatch(path.name) and path.is_dir())

    def index(self, name: str) -> FeatureSetIndex:
        """What a feature set holds now; only what changed since the last time is read.

        Raises
        ------
        StoreDamagedError
            Its spec or a segment is damaged.
        StoreNotFoundError
            There is no such feature set, or no longer.
        """
        folder = self.path / name
        spec = read_spec(folder)
        for _ in range(_TRIES):
            try:
                return self._update(folder, spec)
            except StoreChangedError:  # compacted between listing and reading: what was in it is in a newer segment
                continue
        raise _restless(folder)

    def read_index(self, name: str) -> FeatureSetIndex:
        """What a feature set holds now, read from every segment and from no copy of the index.

        Raises
        ------
        StoreDamagedError, StoreNotFoundError, StoreChangedError
            See :meth:`index`.
        """
        folder = self.path / name
        spec = read_spec(folder)
        for _ in range(_TRIES):
            try:
                return FeatureSetIndex(name, spec, self._contents(folder, spec, SetContents.empty())[0])
            except StoreChangedError:
                continue
        raise _restless(folder)

    def modality(self, name: str) -> Modality:
        """What a feature set was made from.

        Raises
        ------
        StoreDamagedError
            Its spec is damaged.
        StoreNotFoundError
            There is no such feature set.
        """
        known = self._indexes.get(name)
        spec = known.spec if known is not None else read_spec(self.path / name)
        modality: Modality = spec["modality"]
        return modality

    def find(self, spec: Spec) -> FeatureSetIndex | None:
        """The index of the feature set of ``spec``; None if there is none yet."""
        try:
            return self.index(set_name(spec))
        except StoreNotFoundError:
            return None

    def _update(self, folder: Path, spec: Spec) -> FeatureSetIndex:
        old = self._indexes.get(folder.name)
        cache = cache_file(folder)
        known = old.contents if old is not None else load_contents(cache, folder, spec, mapped=self._mapped)
        contents, n_changes = self._contents(folder, spec, known if known is not None else SetContents.empty())
        if n_changes >= _SAVE_AFTER:
            save_contents(cache, contents)
        if old is not None and contents is old.contents:
            return old
        index = self._indexes[folder.name] = FeatureSetIndex(folder.name, spec, contents)
        return index  # not what another thread, which looked earlier, may have put there since

    def _contents(self, folder: Path, spec: Spec, known: SetContents) -> tuple[SetContents, int]:
        return update_contents(
            known, list_segments(folder), lambda name: read_segment(folder / name, spec, mapped=self._mapped)
        )

    def make_set(self, spec: Spec) -> Path:
        """The folder of a feature set, made if there is none yet.

        Raises
        ------
        StoreWriteError
            The store cannot be written.
        StoreDamagedError
            The feature set's spec is not the one that its name says.
        """
        folder = self.path / set_name(spec)
        try:
            sync_name(self.path)
            folder.mkdir(exist_ok=True)
            sync_folder(self.path)
        except OSError as error:
            raise write_error(folder, error) from error
        for place in (self.path, self.path / CACHE, folder):
            remove_leftovers(place)
        if (folder / SPEC).is_file():
            read_spec(folder)
        else:
            write_durably(folder / SPEC, canonical_json(spec).encode())
        return folder

    def writer(
        self, spec: Spec, on_durable: Callable[[Sequence[str]], None] | None = None, *, run: str | None = None
    ) -> SegmentWriter:
        """A writer into the feature set of ``spec``; see :meth:`make_set` for what can go wrong."""
        check_spec(spec)
        return SegmentWriter(self.make_set(spec), spec, on_durable, run=run)


def open_folder(path: Path, *, mapped: bool = True) -> StoreFolder:
    """A store that exists.

    Raises
    ------
    StoreNotFoundError
        There is no store at that path.
    StoreDamagedError
        Its marker cannot be read.
    StoreVersionError
        It is of a format that this poise does not read.
    """
    marker = path / MARKER
    if not marker.is_file():
        what = "is not a feature store" if path.exists() else "does not exist"
        raise StoreNotFoundError(
            f"{path} {what}. Make one with `poise extract MANIFEST --store {path}` or "
            f"`poise store import SOURCE --store {path}`."
        )
    try:
        version = json.loads(read_regular(marker, max_bytes=_MAX_SPEC_BYTES))["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreDamagedError(f"{marker} cannot be read: {error}. `poise store heal {path}` mends it.") from error
    if version != FORMAT_VERSION:
        raise StoreVersionError(
            f"{path} has the format version {version}, this poise reads {FORMAT_VERSION}. Use a newer poise."
        )
    return StoreFolder(path, mapped=mapped)


def create_folder(path: Path, *, mapped: bool = True) -> StoreFolder:
    """A store, made if there is none.

    Raises
    ------
    StoreWriteError
        The folder cannot be made.
    StoreDamagedError
        The folder holds other things than a store.
    StoreReadOnlyError
        It is a file, or is called like an exported one.
    """
    if path.is_file():
        raise StoreReadOnlyError(
            f"{path} is a file. Features are written into the folder of a store; a file is only read. Give a folder."
        )
    if path.suffix.lower() in EXPORT_SUFFIXES and not path.is_dir():
        raise StoreReadOnlyError(f"{path} is the name of an exported file. A store is a folder: give it another name.")
    if not (path / MARKER).is_file():
        try:
            make_folder(path)
            others = [item for item in path.iterdir() if item.name != MARKER and not is_temporary(item)]
            if others and not (path / MARKER).is_file():  # another process may have just made it
                raise StoreDamagedError(
                    f"{path} holds other files and is not a feature store. Give a new or empty folder."
                )
            write_marker(path)
        except PoiseError:
            raise
        except OSError as error:
            raise write_error(path, error) from error
    return open_folder(path, mapped=mapped)


def write_marker(path: Path) -> None:
    """Make a folder a store."""
    write_durably(path / MARKER, canonical_json({"format_version": FORMAT_VERSION}).encode())


def _restless(folder: Path) -> StoreChangedError:
    return StoreChangedError(f"{folder} changes faster than it can be read. Try again when it is quiet.")


def cache_file(folder: Path) -> Path:
    """Where the copy of the index of a feature set's folder is kept."""
    return folder.parent / CACHE / f"index-{folder.name}.npz"


def list_segments(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the last change (ns) of every segment of a feature set, in the order in which they count.

    Whatever is written and compacted meanwhile, no recording is missing that was there before.

    Raises
    ------
    StoreNotFoundError
        The feature set is gone.
    """
    try:
        before = {name for name in os.listdir(folder) if NAME.fullmatch(name)}
        while True:
            found = _scan(folder)
            now = {name for name, _, _ in found}
            # A listing may miss a segment that was made and the one it replaces that went, both while it was made.
            # What was there before it began is not missed: if nothing of that is gone, nothing was replaced.
            if before <= now:
                return sorted(found)
            before = now
    except FileNotFoundError as error:
        raise StoreNotFoundError(f"The feature set {folder} is gone.") from error


def _scan(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    with os.scandir(folder) as items:
        for item in items:
            if NAME.fullmatch(item.name):
                try:
                    status = item.stat()
                except FileNotFoundError:  # compacted just now
                    continue
                if stat.S_ISREG(status.st_mode):
                    found.append((item.name, status.st_size, status.st_mtime_ns))
    return found


def read_spec(folder: Path) -> Spec:
    """The spec of a feature set, compared with the name of its folder.

    Raises
    ------
    StoreDamagedError
        It cannot be read, or is not the one that the name says.
    StoreNotFoundError
        There is no such feature set.
    """
    try:
        return parse_spec(read_regular(folder / SPEC, max_bytes=_MAX_SPEC_BYTES).decode(), folder.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.is_dir() or not _has_segments(folder):
            raise StoreNotFoundError(f"There is no feature set at {folder}.") from error
        raise StoreDamagedError(
            f"{folder / SPEC} is gone. `poise store heal {folder.parent}` takes it from a segment."
        ) from error
    except (OSError, ValueError) as error:
        raise StoreDamagedError(
            f"{folder / SPEC} cannot be read: {error}. `poise store heal {folder.parent}` takes it from a segment."
        ) from error


def _has_segments(folder: Path) -> bool:
    try:
        with os.scandir(folder) as items:
            return any(NAME.fullmatch(item.name) for item in items)
    except FileNotFoundError:  # removed just now
        return False
