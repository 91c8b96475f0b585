"""What single clips of a recording say, when they are, and what is unusual about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from poise.extract.encoding import EncodedModality
from poise.extract.quality import summarise
from poise.heads.classifier import ClipClassifier
from poise.heads.fusion import modalities_of
from poise.serve.doubts import clips_of
from poise.serve.familiarity import Familiarity
from poise.serve.prediction import ClipPrediction
from poise.store.bags import Bags, ModalityBags
from poise.store.schema import Modality

Flags = dict[str, NDArray[np.float64]]
"""Flags of a recording, and for each the spans of its modality's clips in seconds, shape (n_clips, 2)."""

_SENSE: Mapping[Modality, str] = {"video": "picture", "audio": "sound"}
_NEEDS_SEVERAL = "mean-std"


def flag_recording(bags: Bags, encoded: Mapping[Modality, EncodedModality], ranges: Mapping[str, Familiarity]) -> Flags:
    """What extraction noted, and what is seen beside the training recordings.

    Parameters
    ----------
    bags : Bags
        One recording.
    encoded : mapping of modality to EncodedModality
        What extraction made of it.
    ranges : mapping of str to Familiarity
        Where training clips lie, of the modalities of which that is known.

    Returns
    -------
    dict of str to ndarray of shape (n_clips, 2), float64
        With ``no-picture``, ``no-sound``, ``unfamiliar-picture`` and ``unfamiliar-sound`` in addition.
    """
    flags: Flags = {}
    for modality, found in encoded.items():
        side = bags.modalities[modality]
        flags |= dict.fromkeys(found.flags, found.clip_times)
        if not len(side.values):
            flags[f"no-{_SENSE[modality]}"] = side.clip_times
        elif modality in ranges:
            far = ranges[modality].is_far(side.values)
            words = summarise([(f"unfamiliar-{_SENSE[modality]}",) if one else () for one in far])
            flags |= dict.fromkeys(words, found.clip_times)
    return flags


def explain_clips(
    model: ClipClassifier, bags: Bags, flags: Flags, name: Callable[[NDArray[np.float64]], dict[str, float]]
) -> tuple[ClipPrediction, ...]:
    """What each clip contributed to the prediction of one recording.

    Parameters
    ----------
    model : ClipClassifier
    bags : Bags
        One recording.
    flags : dict of str to ndarray
        What :func:`flag_recording` gave.
    name : callable
        Gives the probabilities of one row by level.
    """
    ((spans, shares),) = model.timeline(bags)
    alone = [None] * len(spans) if model.pooling == _NEEDS_SEVERAL else _proba_of_clips(model, bags, spans, name)
    words: dict[tuple[float, ...], set[str]] = {}
    for flag, times in flags.items():
        for number in clips_of(flag):
            words.setdefault(_tick(times[number]), set()).add(flag.partition(":")[0])
    return tuple(
        ClipPrediction(
            start_s=float(span[0]),
            end_s=float(span[1]),
            attention=float(share),
            proba=proba,
            flags=tuple(sorted(words.get(_tick(span), ()))),
        )
        for span, share, proba in zip(spans, shares, alone, strict=True)
    )


def _proba_of_clips(
    model: ClipClassifier,
    bags: Bags,
    spans: NDArray[np.float64],
    name: Callable[[NDArray[np.float64]], dict[str, float]],
) -> list[dict[str, float]]:
    """Probabilities from each clip alone: each becomes a recording of one clip."""
    single = {}
    for modality in modalities_of(model.fusion, bags):
        side = bags.modalities[modality]
        place = {_tick(span): row for row, span in enumerate(side.clip_times)}
        rows = [place.get(_tick(span), -1) for span in spans]
        there = np.array([row for row in rows if row >= 0], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum([row >= 0 for row in rows])]).astype(np.int64)
        single[modality] = ModalityBags(values=side.values[there], offsets=offsets, clip_times=side.clip_times[there])
    clips = Bags(keys=tuple(map(str, range(len(spans)))), modalities=single)
    return [name(row) for row in model.predict_proba(clips)]


def _tick(span: NDArray[np.float64]) -> tuple[float, ...]:
    """A span to the millisecond, by which clips of several modalities are known to be the same."""
    return tuple(np.round(span, 3).tolist())
