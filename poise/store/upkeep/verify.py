"""Checking that a store still holds what was written: every byte of every segment. Nothing here changes the store."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import StoreChangedError, StoreDamagedError, StoreNotFoundError
from poise.store.durable import is_temporary
from poise.store.exported import ExportedFile
from poise.store.folder import CACHE, MARKER, QUARANTINE, SPEC, StoreFolder, cache_file, read_spec
from poise.store.format.cache import load_contents
from poise.store.format.contents import SetContents, join_contents
from poise.store.format.segments import NAME, read_segment
from poise.store.index import FeatureSetIndex
from poise.store.schema import SET_NAME, Spec
from poise.store.upkeep.rewriting import file_digest

_BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes
    ----------
    segment : str
        File, relative to the store.
    recordings : tuple of str
        Paths of the recordings that are lost with it, as far as they are known.
    what : str
        What is wrong.
    """

    segment: str
    recordings: tuple[str, ...]
    what: str
    is_unread: bool = False
    """Whether the system did not give its bytes, which says nothing of what is in it."""


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What :func:`verify` found: how many segments were checked, and every problem."""

    n_checked: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As ``poise store verify --json`` prints it."""
        problems = [{"segment": p.segment, "recordings": list(p.recordings), "what": p.what} for p in self.problems]
        return {"ok": self.ok, "checked": self.n_checked, "problems": problems}


def verify(source: StoreFolder | ExportedFile) -> VerifyReport:
    """Check everything: digests, structure, and that all values are finite.

    Parameters
    ----------
    source : StoreFolder or ExportedFile
        An open store; readers and writers may be at work meanwhile.

    Returns
    -------
    VerifyReport
    """
    if isinstance(source, ExportedFile):
        found = [_check_exported(source, name) for name in source.names()]
        return VerifyReport(n_checked=len(found), problems=tuple(p for problems in found for p in problems))
    problems: list[Problem] = []
    n_checked = 0
    for path in sorted(source.path.iterdir()):
        if path.name in (MARKER, CACHE, QUARANTINE) or is_temporary(path):
            continue
        if not path.is_dir() or not SET_NAME.fullmatch(path.name):
            problems.append(Problem(segment=path.name, recordings=(), what="not a file of the store"))
            continue
        try:
            spec = read_spec(path)
        except (StoreDamagedError, StoreNotFoundError, OSError) as error:
            # without any file it is one that a writer has just begun
            if any(not is_temporary(item) for item in path.iterdir()):
                problems.append(Problem(segment=f"{path.name}/{SPEC}", recordings=(), what=str(error)))
            continue
        for file in sorted(path.iterdir()):
            if file.name != SPEC and not is_temporary(file):
                n_checked += 1
                problems += check_segment(file, spec)
    return VerifyReport(n_checked=n_checked, problems=tuple(problems))


def check_segment(path: Path, spec: Spec) -> list[Problem]:
    """What is wrong with one file in the folder of a feature set."""
    match = NAME.fullmatch(path.name)
    if match is None or not path.is_file():
        # a segment that is gone was compacted since it was listed
        return [_problem(path, (), "not a file of the store, or a link to nowhere")] if os.path.lexists(path) else []
    try:
        is_same = file_digest(path) == match[4]
        index = single_index(path, spec)
        lost = tuple(index.contents.table.paths.take(unsound_rows(index)))
    except StoreChangedError:
        return []
    except StoreDamagedError as error:
        return [_problem(path, _remembered(path, spec), f"it cannot be read as a segment: {error.__cause__ or error}")]
    except OSError as error:
        what = f"the system does not give its bytes: {error.strerror or error}"
        return [replace(_problem(path, (), what), is_unread=True)]
    if not is_same:
        what = "its bytes changed since it was written" + ("" if lost else "; all its recordings are sound")
        return [_problem(path, lost, what)]
    return [_problem(path, lost, "holds what must not be stored")] if lost else []


def _problem(path: Path, recordings: tuple[str, ...], what: str) -> Problem:
    return Problem(segment=f"{path.parent.name}/{path.name}", recordings=recordings, what=what)


def single_index(path: Path, spec: Spec) -> FeatureSetIndex:
    """The index of one segment by itself.

    Raises
    ------
    StoreDamagedError
        Its structure is damaged.
    """
    return FeatureSetIndex(path.parent.name, spec, join_contents([read_segment(path, spec, mapped=False)]))


def unsound_rows(index: FeatureSetIndex) -> NDArray[np.int64]:
    """Rows of the table whose digest is not that of what is stored, or whose values are not finite."""
    table = index.contents.table
    return np.array([row for row in range(len(table)) if not _is_sound(index, row)], dtype=np.int64)


def remembered_contents(path: Path, spec: Spec) -> SetContents | None:
    """What the copy of the index knows of a segment that cannot be read itself; None if nothing."""
    contents = load_contents(cache_file(path.parent), path.parent, spec, mapped=False)
    if contents is None:
        return None
    numbers = [i for i, segment in enumerate(contents.segments) if segment.path.name == path.name]
    if not numbers:
        return None
    found = contents.take_segments(np.array(numbers))
    # cut or grown: the digests say which recordings are still there
    segments = tuple(replace(segment, n_bytes=path.stat().st_size) for segment in found.segments)
    return replace(found, segments=segments)


def _remembered(path: Path, spec: Spec) -> tuple[str, ...]:
    contents = remembered_contents(path, spec)
    return () if contents is None else tuple(contents.table.paths)


def _is_sound(index: FeatureSetIndex, row: int) -> bool:
    try:
        if not index.is_sound(row):
            return False
        values = index.load(np.array([row])).values
    except StoreDamagedError:
        return False
    blocks = (values[first : first + _BLOCK_ROWS] for first in range(0, len(values), _BLOCK_ROWS))
    return all(bool(np.isfinite(block).all()) for block in blocks)


def _check_exported(source: ExportedFile, name: str) -> list[Problem]:
    try:
        index = source.index(name)
        lost = index.contents.table.paths.take(unsound_rows(index))
        names = np.count_nonzero(~index.contents.names.are_sound())
    except (StoreDamagedError, OSError) as error:
        return [Problem(segment=name, recordings=(), what=str(error))]
    what = "recordings are not what was stored" if len(lost) else "a name of a recording changed since it was written"
    return [Problem(segment=name, recordings=tuple(lost), what=what)] if len(lost) or names else []
