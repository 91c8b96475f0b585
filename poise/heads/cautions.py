"""Plain sentences on what makes a comparison flatter: random folds, speakers not given, the same bytes twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poise.heads.splits import Protocol
from poise.manifest import Manifest


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
    return [*_on_speakers(manifest, protocols, hindrance), *_on_twins(manifest, keys)]


def _on_speakers(manifest: Manifest, protocols: Sequence[Protocol], hindrance: str) -> list[str]:
    if hindrance:
        return [
            f"{hindrance}. So the validation is {' and '.join(map(str, protocols))}: its figures flatter, and say "
            "nothing about people it has not heard. That needs recordings of several people with several levels each."
        ]
    if manifest.speakers is None:
        others = f" (it has: {', '.join(manifest.extra)})" if manifest.extra else ""
        told = f"The manifest has no column 'speaker'{others}"
    elif (manifest.speakers == "").any():
        told = f"No speaker is given in {manifest.lines(np.flatnonzero(manifest.speakers == ''))}"
    elif not any(protocol.column for protocol in protocols):
        told = "No protocol keeps speakers together"
    else:
        return []
    return [
        f"{told}: recordings of one person may stand on both sides of a fold, and the figures flatter. Validate with "
        "logo:speaker to know how it does on people it has not heard."
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
    more = f" and {len(told) - 5} more" if len(told) > 5 else ""
    return [
        f"The same recording stands twice: {'; '.join(told[:5])}{more}. Protocols by group keep such rows on one side "
        "of a fold, random ones do not. Remove one, or name the other as its source."
    ]
