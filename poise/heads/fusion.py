"""Fusion: which modalities a head sees, and how they meet clip by clip. Learnt fusion does not live here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.store.bags import Bags, ModalityBags

_SAME_TIME_S = 1e-3


def available_fusions(bags: Bags) -> list[str]:
    """The fusions that these bags allow, the richest first."""
    single: list[str] = [
        name for name in ("video", "audio") if name in bags.modalities and bags.modalities[name].present.any()
    ]
    return ["early", *single] if len(single) == 2 else single


def modalities_of(fusion: str, bags: Bags) -> tuple[str, ...]:
    """Names of the modalities that a fusion needs; ``auto`` takes all that there are.

    Raises
    ------
    StrategyError
        The bags do not have them.
    """
    match fusion:
        case "auto":
            known = {"video", "audio"} & set(bags.modalities)
            names = ("video", "audio") if len(known) == 2 else tuple(bags.modalities)
        case "early":
            names = ("video", "audio")
        case _:
            names = (fusion,)
    missing = [name for name in names if name not in bags.modalities]
    if missing or not 1 <= len(names) <= 2:
        raise StrategyError(
            f"Fusion {fusion!r} needs {' and '.join(missing or ['video', 'audio'])}, but the features are of: "
            f"{', '.join(bags.modalities) or 'nothing'}. Extract the modality, or choose another fusion."
        )
    return names


def usable(bags: Bags, fusion: str) -> NDArray[np.bool_]:
    """Which recordings have everything that a fusion needs.

    Parameters
    ----------
    bags : Bags
    fusion : {"auto", "video", "audio", "early"} or the name of a modality

    Returns
    -------
    ndarray of shape (n_recordings,), bool
    """
    names = modalities_of(fusion, bags)
    if len(names) == 1:
        return bags.modalities[names[0]].present
    both = np.logical_and.reduce([bags.modalities[name].present for name in names])
    both[both] = [len(_shared_clips(bags, row)[0]) > 0 for row in np.flatnonzero(both).tolist()]
    return np.asarray(both)


def fuse(bags: Bags, fusion: str) -> ModalityBags:
    """The clips that a head sees.

    ``early`` concatenates video and audio of the clips with identical spans; clips that only one
    modality has are left out. Where spans are unknown (imported features), clips are matched by
    their place, and both modalities must have as many.

    Parameters
    ----------
    bags : Bags
    fusion : {"auto", "video", "audio", "early"} or the name of a modality

    Returns
    -------
    ModalityBags
        No recording is empty.

    Raises
    ------
    StrategyError
        A recording lacks a modality, its clips cannot be matched, or embeddings have several layers.
    """
    names = modalities_of(fusion, bags)
    layered = {name: bags.modalities[name].n_layers for name in names if bags.modalities[name].n_layers is not None}
    if layered:
        kept = ", ".join(f"{name} has {count}" for name, count in layered.items())
        raise StrategyError(
            f"The features keep several layers of each clip ({kept}), a head takes one. Choose it with bags.layer(-1), "
            'or take their mean with bags.layer("mean").'
        )
    _check_present(bags, fusion, names)
    if len(names) == 1:
        return bags.modalities[names[0]]
    first, second = (bags.modalities[name] for name in names)
    rows = [_shared_clips(bags, row) for row in range(len(bags))]
    offsets = np.concatenate([[0], np.cumsum([len(clips) for clips, _ in rows])]).astype(np.int64)
    picked = [np.concatenate(side) if rows else np.zeros(0, dtype=np.int64) for side in zip(*rows, strict=True)]
    values = np.hstack([first.values[picked[0]], second.values[picked[1]]])  # (n_clips_total, dim_video + dim_audio)
    return ModalityBags(values=values, offsets=offsets, clip_times=first.clip_times[picked[0]])


def _check_present(bags: Bags, fusion: str, names: tuple[str, ...]) -> None:
    lacking = {name: int(np.count_nonzero(~bags.modalities[name].present)) for name in names}
    if any(lacking.values()):
        counts = " and ".join(f"{count} lack {name}" for name, count in lacking.items() if count)
        raise StrategyError(
            f"Fusion {fusion!r} needs {' and '.join(names)} of every recording, but of {len(bags)} {counts}. "
            "Leave them out, or use --fusion video or --fusion audio."
        )
    unmatched = np.flatnonzero(~usable(bags, fusion))
    if len(unmatched):
        raise StrategyError(
            f"{len(unmatched)} of {len(bags)} recordings have no clip with the same span in {' and '.join(names)} "
            f"(first: {bags.keys[unmatched[0]]}). Extract both with the same --window and --hop, or use one modality."
        )


def _shared_clips(bags: Bags, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Packed indices of the clips of one recording that video and audio share, in order of time."""
    video, audio = bags.modalities["video"], bags.modalities["audio"]
    in_video, in_audio = (np.arange(side.offsets[row], side.offsets[row + 1]) for side in (video, audio))
    spans, others = video.clip_times[in_video], audio.clip_times[in_audio]
    if np.isnan(spans).any() or np.isnan(others).any():
        if len(in_video) != len(in_audio):
            raise StrategyError(
                f"Recording {bags.keys[row]} has {len(in_video)} clips of video and {len(in_audio)} of audio, and "
                "their times are unknown: early fusion cannot match them. Use --fusion video or --fusion audio."
            )
        return in_video, in_audio
    ticks, other_ticks = (np.round(times / _SAME_TIME_S).astype(np.int64) for times in (spans, others))
    place = {tuple(tick): index for index, tick in enumerate(other_ticks.tolist())}
    pairs = [(index, place[tuple(tick)]) for index, tick in enumerate(ticks.tolist()) if tuple(tick) in place]
    picked = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return in_video[picked[:, 0]], in_audio[picked[:, 1]]
