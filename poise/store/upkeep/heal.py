"""Healing a store: what is damaged is put aside, what is sound in it is kept, and the rest can be extracted again.

Nothing is deleted: damaged and foreign files go into the store's ``quarantine`` folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poise.errors import StoreChangedError, StoreDamagedError, StoreError, StoreNotFoundError, StoreReadOnlyError
from poise.store.durable import is_temporary, make_folder, remove_leftovers, sync_folder, write_durably, write_error
from poise.store.folder import (
    CACHE,
    EXPORT_SUFFIXES,
    MARKER,
    QUARANTINE,
    SPEC,
    StoreFolder,
    open_folder,
    read_spec,
    write_marker,
)
from poise.store.format.hdf5 import LayoutError, open_hdf5, text_attribute
from poise.store.format.segments import NAME
from poise.store.index import FeatureSetIndex
from poise.store.schema import SET_NAME, Spec, canonical_json, parse_spec
from poise.store.upkeep.rewriting import rewrite_rows
from poise.store.upkeep.verify import check_segment, remembered_contents, single_index, unsound_rows


@dataclass(frozen=True, kw_only=True)
class HealReport:
    """What healing did.

    Attributes
    ----------
    put_aside : tuple of str
        Files that are in quarantine now, relative to the store.
    restored : tuple of str
        Files that were written again from what segments say.
    n_kept : int
        Recordings of damaged segments that are sound and were kept.
    lost : tuple of str
        Paths of recordings that must be extracted or imported again, as far as they are known.
    n_unreadable : int
        Damaged segments of which it is not known which recordings were in them: those are lost too.
    left_alone : tuple of (str, str)
        Files that this process may not or cannot read, each with the reason; they may be sound.
    """

    put_aside: tuple[str, ...]
    restored: tuple[str, ...]
    n_kept: int
    lost: tuple[str, ...]
    n_unreadable: int
    left_alone: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """As ``poise store heal --json`` prints it."""
        return {
            "put_aside": list(self.put_aside),
            "restored": list(self.restored),
            "kept": self.n_kept,
            "lost": list(self.lost),
            "unreadable": self.n_unreadable,
            "left_alone": [{"path": path, "reason": reason} for path, reason in self.left_alone],
        }


def heal(path: str | os.PathLike[str]) -> HealReport:
    """Put aside what is damaged or foreign in a store, keeping every recording that is sound.

    Parameters
    ----------
    path : path
        Folder of the store.

    Raises
    ------
    StoreNotFoundError
        The folder is not a store.
    StoreReadOnlyError
        It is an exported file.
    StoreWriteError
        Something cannot be written or moved.
    """
    place = Path(path)
    if place.is_file() and place.suffix.lower() in EXPORT_SUFFIXES:
        raise StoreReadOnlyError(f"{place} is an exported file and is only read. Export it again from its store.")
    healer = _Healer(place)
    healer.heal_marker()
    remove_leftovers(place)
    for item in sorted(place.iterdir()):
        if item.name in (MARKER, CACHE, QUARANTINE) or is_temporary(item):
            continue
        try:
            healer.heal_item(item)
        except FileNotFoundError:
            if os.path.lexists(item):
                raise
            # another heal put it aside, or somebody removed it
    return HealReport(
        put_aside=tuple(healer.put_aside),
        restored=tuple(healer.restored),
        n_kept=healer.n_kept,
        lost=healer.really_lost(),
        n_unreadable=healer.n_unreadable,
        left_alone=tuple(healer.left_alone),
    )


class _Healer:
    """Heals one store and remembers what it did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put_aside: list[str] = []
        self.restored: list[str] = []
        self.n_kept = 0
        self.lost: list[tuple[str, str, str]] = []
        self.n_unreadable = 0
        self.left_alone: list[tuple[str, str]] = []

    def really_lost(self) -> tuple[str, ...]:
        """Paths of recordings that no other segment has either."""
        store = StoreFolder(self.path)
        held = {name: store.index(name) for name in {name for name, _, _ in self.lost} & set(store.names())}
        gone = [path for name, key, path in self.lost if name not in held or key not in held[name]]
        return tuple(dict.fromkeys(gone))

    def heal_marker(self) -> None:
        """Write the marker again if it is damaged and the folder holds feature sets."""
        try:
            open_folder(self.path)
        except (StoreDamagedError, StoreNotFoundError):
            if not self.path.is_dir() or not any(SET_NAME.fullmatch(item.name) for item in self.path.iterdir()):
                raise
            if os.path.lexists(self.path / MARKER) and not (self.path / MARKER).is_file():
                self._put_aside(self.path / MARKER)
            write_marker(self.path)
            self.restored.append(MARKER)

    def heal_item(self, item: Path) -> None:
        """Heal a feature set, or put aside what is none."""
        if not item.is_dir() or not SET_NAME.fullmatch(item.name):
            self._put_aside(item)
            return
        remove_leftovers(item)
        spec = self._heal_spec(item)
        if spec is None:
            return
        for file in sorted(item.iterdir()):
            if file.name == SPEC or is_temporary(file):
                continue
            problems = check_segment(file, spec)
            if any(problem.is_unread for problem in problems):
                self.left_alone += [(problem.segment, problem.what) for problem in problems]
            elif problems:
                self._heal_unless_gone(file, spec)

    def _heal_spec(self, folder: Path) -> Spec | None:
        try:
            return read_spec(folder)
        except (StoreDamagedError, StoreNotFoundError) as error:
            if isinstance(error.__cause__, PermissionError) or not all(map(_may_read, folder.iterdir())):
                self.left_alone.append((folder.name, f"not all of it may be read: {error}"))
                return None
            found = next(filter(None, (_spec_in(file, folder.name) for file in sorted(folder.iterdir()))), None)
        if os.path.lexists(folder / SPEC) and not (folder / SPEC).is_file():
            self._put_aside(folder / SPEC)
        if found is not None:
            write_durably(folder / SPEC, canonical_json(found).encode())
            self.restored.append(f"{folder.name}/{SPEC}")
        elif any(not is_temporary(item) for item in folder.iterdir()):
            self._put_aside(folder)
        return found

    def _heal_unless_gone(self, file: Path, spec: Spec) -> None:
        try:
            self._heal_segment(file, spec)
        except (StoreChangedError, FileNotFoundError):
            if os.path.lexists(file):
                raise
            # another heal was faster

    def _heal_segment(self, file: Path, spec: Spec) -> None:
        match = NAME.fullmatch(file.name)
        index = _readable_index(file, spec) if match is not None else None
        if index is not None and match is not None:
            table, wrong = index.contents.table, unsound_rows(index)
            sound, names = np.setdiff1d(np.arange(len(table)), wrong), index.contents.names
            names = names.take(np.flatnonzero(names.are_sound()))
            if len(sound) or len(names):
                rewrite_rows(file.parent, index, sound, names, before=file.name)
            self.n_kept += len(sound)
            self.lost += [(index.name, table.key(row), table.paths[row]) for row in wrong.tolist()]
        elif match is not None and os.path.lexists(file):
            self.n_unreadable += 1
        self._put_aside(file)

    def _put_aside(self, item: Path) -> None:
        name = item.relative_to(self.path).as_posix()
        target = self.path / QUARANTINE / name
        aside = self.path / QUARANTINE
        if os.path.lexists(aside) and (aside.is_symlink() or not aside.is_dir()):
            raise StoreDamagedError(f"{aside} is a file or a link to elsewhere. Remove it and heal again.")
        try:
            make_folder(target.parent)
            number = 0
            while os.path.lexists(target):
                number += 1
                target = target.with_name(f"{item.name}.{number}")
            os.rename(item, target)
            sync_folder(target.parent)
            sync_folder(item.parent)
        except FileNotFoundError as error:
            if os.path.lexists(item):
                raise write_error(target, error) from error
            return  # another heal was faster
        except OSError as error:
            raise write_error(target, error) from error
        self.put_aside.append(name)


def _may_read(file: Path) -> bool:
    """Whether this process may read a file, if it is one."""
    return not file.is_file() or os.access(file, os.R_OK)


def _spec_in(file: Path, name: str) -> Spec | None:
    """The spec that a segment was made with, if it is that of the feature set ``name``."""
    if not NAME.fullmatch(file.name):
        return None
    try:
        with open_hdf5(file) as root:
            return parse_spec(text_attribute(root, "spec"), name)
    except (LayoutError, ValueError, OSError):
        return None


def _readable_index(file: Path, spec: Spec) -> FeatureSetIndex | None:
    """What a damaged segment says, or else what the copy of the index remembers of it; None if neither is to be had."""
    try:
        return single_index(file, spec)
    except (StoreError, OSError):
        contents = remembered_contents(file, spec)
        return None if contents is None else FeatureSetIndex(file.parent.name, spec, contents)
