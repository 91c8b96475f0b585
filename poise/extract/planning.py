"""Which recording each row of a manifest is, and what of it is still to be extracted; found row by row.

Files are hashed here, which for many gigabytes takes minutes, so it is done while others are decoded and encoded. What
is done with a row is for :mod:`poise.extract.run`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from poise.errors import ExtractSettingsError, MediaError
from poise.extract.assignments import Assignment, stamp_of
from poise.extract.encoders.base import Encoder
from poise.extract.encoding import Collected
from poise.extract.jobs import Job
from poise.extract.media.opening import check_regular_file
from poise.extract.outcomes import RecordingOutcome, judge
from poise.extract.workers.channel import SilentError
from poise.extract.workers.watch import StoppedError, call_watched
from poise.manifest import Manifest
from poise.recipe import copy_key
from poise.store.identity import KeyCache, file_key
from poise.store.schema import Entry, Modality
from poise.text import describe_error


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """What is to be done for one row.

    Attributes
    ----------
    row : int
        Its number.
    key : str or None
        Hash of its bytes, and of what makes a copy of them; None if they cannot be read.
    outcome : RecordingOutcome or None
        How it ended, if that is known already.
    job : Job or None
        What is to be extracted. Neither outcome nor job: another row has the same bytes, and the job.
    new_names : tuple of modality
        Feature sets that know the bytes, or will, under other paths only.
    """

    row: int
    key: str | None
    outcome: RecordingOutcome | None = None
    job: Job | None = None
    new_names: tuple[Modality, ...] = ()


def plan_rows(
    manifest: Manifest,
    rows: range,
    encoders: Mapping[Modality, Encoder],
    entries: Mapping[Modality, Mapping[str, Entry]],
    keys: KeyCache,
    *,
    retry_failed: bool,
    stall_s: float,
    stop: threading.Event,
) -> Iterator[PlannedRow]:
    """Plan one row after the other.

    Parameters
    ----------
    manifest : Manifest
        The recordings.
    rows : range
        The rows to plan.
    encoders : mapping of modality to Encoder
        What is wanted of each.
    entries : mapping of modality to mapping of key to Entry
        What the store has of it.
    keys : KeyCache
        Finds the key of a file.
    retry_failed : bool
        Whether what failed before is tried again.
    stall_s : float
        How long nothing at all may come from a file that is hashed, seconds; then its row has failed.
    stop : threading.Event
        Set when no more rows are wanted.

    Yields
    ------
    PlannedRow
        One for each row.
    """
    begun: dict[str, tuple[Modality, ...]] = {}
    hash_file = partial(_hash, stall_s=stall_s, stop=stop)
    for row in rows:
        try:
            file = check_regular_file(manifest.file(row))
            stamp = stamp_of(file)
            key = copy_key(keys.key(file, hash_file), manifest.recipe(row))
        except StoppedError:
            return
        except (MediaError, OSError) as error:
            failed = RecordingOutcome(
                path=manifest.paths[row], key=None, outcome="failed", reason=describe_error(error)
            )
            yield PlannedRow(row=row, key=None, outcome=failed)
            continue
        if key in begun:
            yield PlannedRow(row=row, key=key, new_names=begun[key])
            continue
        path = manifest.paths[row]
        known = {modality: held[key] for modality, held in entries.items() if key in held}
        unnamed = tuple(modality for modality, entry in known.items() if path not in entry.paths)
        again = _to_repeat(known) if retry_failed else set()
        # sound first: its first clip is there sooner, and encoders need not wait
        order: tuple[Modality, ...] = ("audio", "video")
        todo = {m: encoders[m] for m in order if m in encoders and (m not in known or m in again)}
        if not todo:
            outcome = judge(path, key, known, already=True)
            yield PlannedRow(row=row, key=key, outcome=outcome, new_names=unnamed)
            continue
        begun[key] = tuple(todo)
        job = Job(
            row=row,
            path=path,
            key=key,
            assignment=Assignment(file=file, stamp=stamp, recipe=manifest.recipe(row), modalities=tuple(todo)),
            encoders=todo,
            known={modality: entry for modality, entry in known.items() if modality not in todo},
            attempts=1 + max((known[modality].attempts for modality in again), default=0),
            collected={modality: Collected(encoder.shape) for modality, encoder in todo.items()},
        )
        yield PlannedRow(row=row, key=key, job=job, new_names=unnamed)


def _hash(name: str, *, stall_s: float, stop: threading.Event) -> str:
    """The key of a file whose bytes may never come, as from a mount that hangs."""
    try:
        return call_watched(partial(file_key, name), stall_s=stall_s, stop=stop)
    except SilentError as error:
        raise MediaError(
            f"{name}: no byte of it could be read for {stall_s:g} s. If the disk is that slow, allow more with --stall."
        ) from error


def _to_repeat(known: Mapping[Modality, Entry]) -> set[Modality]:
    """Feature sets in which a recording failed; where it failed in all of them, also those in which it is missing."""
    everything_failed = all(entry.outcome != "stored" for entry in known.values())
    return {
        modality
        for modality, entry in known.items()
        if entry.outcome == "failed" or (entry.outcome == "missing" and everything_failed)
    }


def shard_rows(n_rows: int, shard: tuple[int, int] | None) -> range:
    """The rows of one shard; all of them for None.

    Raises
    ------
    ExtractSettingsError
        There is no such shard.
    """
    if shard is None:
        return range(n_rows)
    number, n_shards = shard
    if not 1 <= number <= n_shards:
        raise ExtractSettingsError(
            f"There is no shard {number} of {n_shards}. Expected i/n with i from 1 to n, as --shard 2/4."
        )
    return range(number - 1, n_rows, n_shards)
