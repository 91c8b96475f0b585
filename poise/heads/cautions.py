"""Plain sentences on what makes a comparison flatter: random folds, speakers not given, the same bytes twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from poise.heads.splits import Protocol
from poise.manifest import Manifest
from poise.store.bags import Bags
from poise.text import name_some

_FLATTER = "recordings of one person may stand on both sides of a fold, and the figures flatter."


def find_cautions(
    manifest: Manifest, keys: Sequence[str], protocols: Sequence[Protocol], *, hindrance: str = ""
) -> list[str]:
    """What a reader of the leaderboard must know before believing it.

    Parameters
    ----------
    manifest : Manifest
    keys : sequence of str
        Key of each recording: equal keys are equal bytes.
    protocols : sequence of Protocol
        How the strategies are validated.
    hindrance : str
        Why the default protocols are not those that the manifest asks for; empty where they are.

    Returns
    -------
    list of str
        Sentences; none if there is nothing to say.
    """
    return [
        *_on_speakers(manifest, protocols, hindrance),
        *_on_absent_levels(manifest),
        *_on_twins(manifest, keys),
    ]


def tell_left_out(bags: Bags, manifest: Manifest, rows: NDArray[np.int64], modalities: Sequence[str]) -> str:
    """Which recordings are not looked at, and what they lack.

    Parameters
    ----------
    bags : Bags
    manifest : Manifest
    rows : ndarray of int64
        Those that are looked at; not all.
    modalities : sequence of str
        What is asked of a recording.
    """
    left = np.setdiff1d(np.arange(len(bags)), rows)
    present = {name: bags.modalities[name].present[left] for name in modalities}
    lacking = [f"{np.count_nonzero(~has)} lack {name}" for name, has in present.items() if not has.all()]
    paths = name_some([manifest.paths[row] for row in left.tolist()], 3)
    partly = len(present) > 1 and np.logical_or.reduce(list(present.values())).any()
    advice = " To use them, choose a --fusion that they have." if partly else ""
    why = f": {', '.join(lacking)}" if lacking else ", as their video and audio have no seconds in common"
    return f"{len(left)} of {len(bags)} recordings are left out ({paths}){why}.{advice}"


def _on_speakers(manifest: Manifest, protocols: Sequence[Protocol], hindrance: str) -> list[str]:
    if hindrance:
        return [
            f"{hindrance}. So the validation is {' and '.join(map(str, protocols))}: its figures flatter, and say "
            "nothing about people it has not heard. That needs recordings of several people with several levels each."
        ]
    if manifest.speakers is None:
        return [_on_no_speakers(manifest)]
    if (manifest.speakers == "").any():
        told = f"No speaker is given in {manifest.lines(np.flatnonzero(manifest.speakers == ''))}"
    elif not any(protocol.column for protocol in protocols):
        told = "No protocol keeps speakers together"
    else:
        return []
    return [f"{told}: {_FLATTER} Validate with logo:speaker to know how it does on people it has not heard."]


def _on_no_speakers(manifest: Manifest) -> str:
    others = f", or rename the one that says it ({', '.join(manifest.extra)})" if manifest.extra else ""
    return (
        f"The manifest has no column 'speaker': {_FLATTER} Add a column 'speaker' that says who speaks{others}; then "
        "poise can tell how it does on people it has not heard."
    )


def _on_absent_levels(manifest: Manifest) -> list[str]:
    absent = [name for rank, name in enumerate(manifest.label_names) if not (manifest.labels == rank).any()]
    if not absent:
        return []
    return [
        f"No recording has the level {' or '.join(map(repr, absent))}: nothing is learnt of it, and no recording is "
        "ever predicted to have it."
    ]


def _on_twins(manifest: Manifest, keys: Sequence[str]) -> list[str]:
    first: dict[str, int] = {}
    told = []
    for row, key in enumerate(keys):
        twin = first.setdefault(key, row)
        if manifest.sources[twin] == manifest.sources[row]:
            continue
        differ = "" if manifest.labels[twin] == manifest.labels[row] else ", with different labels"
        told.append(f"{manifest.line(row)} is the same as {manifest.line(twin)}{differ}")
    if not told:
        return []
    return [
        f"The same recording stands twice: {name_some(told, 5, between='; ')}. "
        "Protocols by group keep such rows on one side of a fold, random ones do not. "
        "Remove one, or name the other as its source."
    ]
