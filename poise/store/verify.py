"""Checking that a store still holds what was written: every byte of every segment. Nothing here changes the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poise.errors import StoreDamagedError
from poise.store.durable import is_temporary
from poise.store.index import read_spec
from poise.store.schema import Spec
from poise.store.segments import NAME, Segment, read_segment
from poise.store.store import FeatureStore


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes
    ----------
    segment : str
        File, relative to the store.
    recordings : tuple of str
        Paths of the recordings in it, as far as they can still be read.
    what : str
        What is wrong.
    """

    segment: str
    recordings: tuple[str, ...]
    what: str


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


def verify(store: FeatureStore) -> VerifyReport:
    """Check every segment: its digest against its name, its structure, and that all values are finite.

    Parameters
    ----------
    store : FeatureStore
        An open store; readers and writers may be at work meanwhile.

    Returns
    -------
    VerifyReport
    """
    problems: list[Problem] = []
    n_checked = 0
    for folder in sorted(path for path in store.path.iterdir() if path.is_dir() and path.name != "cache"):
        try:
            spec = read_spec(folder)
        except StoreDamagedError as error:
            problems.append(Problem(segment=f"{folder.name}/spec.json", recordings=(), what=str(error)))
            continue
        for path in sorted(folder.iterdir()):
            if path.name == "spec.json" or is_temporary(path):
                continue
            n_checked += 1
            problems += _check(path, spec)
    return VerifyReport(n_checked=n_checked, problems=tuple(problems))


def _check(path: Path, spec: Spec) -> list[Problem]:
    name = f"{path.parent.name}/{path.name}"
    match = NAME.fullmatch(path.name)
    if match is None:
        return [Problem(segment=name, recordings=(), what="not a file of the store")]
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [Problem(segment=name, recordings=(), what=f"cannot be read: {error.strerror}")]
    try:
        segment = read_segment(path, spec)
    except StoreDamagedError as error:
        return [Problem(segment=name, recordings=(), what=str(error))]
    if digest != match[1]:
        return [Problem(segment=name, recordings=segment.paths, what="its bytes changed since it was written")]
    wrong = _not_finite(segment)
    return [Problem(segment=name, recordings=wrong, what="holds NaN or infinity")] if wrong else []


def _not_finite(segment: Segment) -> tuple[str, ...]:
    values = segment.embeddings()
    if not len(values):
        return ()
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return tuple(
        path
        for path, offset, n_clips in zip(segment.paths, segment.offsets, segment.n_clips, strict=True)
        if not finite[offset : offset + n_clips].all()
    )
