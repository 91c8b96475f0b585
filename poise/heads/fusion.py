"""Fusion: which modalities a head sees, and how they meet clip by clip. Gates and averages live with the heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poise.errors import StrategyError
from poise.heads.parameters import FUSIONS, nearest
from poise.store.bags import Bags, ModalityBags

_SAME_TIME_S = 1e-3


TOGETHER = "video+audio"
"""Name of the block in which clips of both modalities stand side by side."""

LOOSE_FUSIONS = ("mid", "gated", "late")
"""Fusions that pool each modality for itself: a recording may lack one."""


def available_fusions(bags: Bags) -> list[str]:
    """The fusions that these bags allow without learning to fuse, the richest first."""
    single: list[str] = [
        name for name in ("video", "audio") if name in bags.modalities and bags.modalities[name].present.any()
    ]
    return ["early", *single] if len(single) == 2 else single


def modalities_of(fusion: str, bags: Bags) -> tuple[str, ...]:
    """Names of the modalities that a fusion needs; ``auto`` takes all that there are.

    Raises
    ------
    StrategyError
        The bags do not have them, or ``auto`` is to choose between others than video and audio.
    """
    there = tuple(bags.modalities)
    if fusion == "auto" and set(there) != {"video", "audio"} and len(there) != 1:
        raise StrategyError(
            f"The features are of: {', '.join(there) or 'nothing'}. fusion='auto' takes video and audio, or one "
            "modality; name the one to use."
        )
    if fusion in ("auto", "early", *LOOSE_FUSIONS):
        names = there if fusion == "auto" and len(there) == 1 else ("video", "audio")
    else:
        names = (fusion,)
    missing = [name for name in names if name not in there]
    if missing:
        near = "" if fusion in FUSIONS else nearest(fusion, (*FUSIONS, *there))
        raise StrategyError(
            f"Fusion {fusion!r} needs {' and '.join(missing)}, but the features are of: {', '.join(there)}.{near} "
            "Extract the modality, or choose another fusion."
        )
    return names


def usable(bags: Bags, fusion: str) -> NDArray[np.bool_]:
    """Which recordings have everything that a fusion needs.

    Parameters
    ----------
    bags : Bags
    fusion : {"auto", "video", "audio", "early", "mid", "gated", "late"} or the name of a modality

    Returns
    -------
    ndarray of shape (n_recordings,), bool
        ``mid``, ``gated`` and ``late`` need one modality of each recording, the others all.
    """
    names = modalities_of(fusion, bags)
    present = np.stack([bags.modalities[name].present for name in names])
    if fusion in LOOSE_FUSIONS:
        return np.asarray(present.any(axis=0))
    both: NDArray[np.bool_] = np.asarray(present.all(axis=0))
    if len(names) == 2:
        both[both] = [len(_shared_clips(bags, row)[0]) > 0 for row in np.flatnonzero(both).tolist()]
    return np.asarray(both)


def fuse(bags: Bags, fusion: str) -> Bags:
    """The clips that a head sees.

    ``early`` puts video and audio of the clips with identical spans side by side; clips that only one
    modality has are left out. Where spans are unknown (imported features), clips are matched by
    their place, and both modalities must have as many.

    Parameters
    ----------
    bags : Bags
    fusion : {"auto", "video", "audio", "early", "mid", "gated", "late"} or the name of a modality

    Returns
    -------
    Bags
        One block, of the modality or ``video+audio``, in which no recording is empty; or with ``mid``, ``gated`` and
        ``late`` a block for each modality, of which a recording has at least one.

    Raises
    ------
    StrategyError
        A recording lacks a modality, its clips cannot be matched, or one modality has layers and the other has not.
    """
    names = modalities_of(fusion, bags)
    _check_present(bags, fusion, names)
    if len(names) == 1 or fusion in LOOSE_FUSIONS:
        return Bags(keys=bags.keys, modalities={name: bags.modalities[name] for name in names})
    first, second = (bags.modalities[name] for name in names)
    if first.n_layers != second.n_layers:
        raise StrategyError(
            f"Clips of {names[0]} have {first.n_layers or 1} layers and those of {names[1]} {second.n_layers or 1}: "
            "early fusion cannot weigh them together. Use layer=mean, or the fusion mid."
        )
    rows = [_shared_clips(bags, row) for row in range(len(bags))]
    offsets = np.concatenate([[0], np.cumsum([len(clips) for clips, _ in rows])]).astype(np.int64)
    picked = [np.concatenate(side) if rows else np.zeros(0, dtype=np.int64) for side in zip(*rows, strict=True)]
    if not rows:
        picked = [np.zeros(0, dtype=np.int64)] * 2
    values = np.concatenate([first.values[picked[0]], second.values[picked[1]]], axis=-1)
    block = ModalityBags(values=values, offsets=offsets, clip_times=first.clip_times[picked[0]])
    return Bags(keys=bags.keys, modalities={TOGETHER: block})


def _check_present(bags: Bags, fusion: str, names: tuple[str, ...]) -> None:
    if fusion in LOOSE_FUSIONS:
        empty = np.flatnonzero(~usable(bags, fusion))
        if len(empty):
            raise StrategyError(
                f"{len(empty)} of {len(bags)} recordings have neither {' nor '.join(names)} "
                f"(first: {bags.keys[empty[0]]}). Leave them out first."
            )
        return
    lacking = {name: int(np.count_nonzero(~bags.modalities[name].present)) for name in names}
    if any(lacking.values()):
        counts = " and ".join(f"{count} lack {name}" for name, count in lacking.items() if count)
        raise StrategyError(
            f"Fusion {fusion!r} needs {' and '.join(names)} of every recording, but of {len(bags)} {counts}. "
            "Leave them out, or use the fusion mid, video or audio."
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
                "their times are unknown: early fusion cannot match them. Use the fusion mid, video or audio."
            )
        return in_video, in_audio
    ticks, other_ticks = (np.round(times / _SAME_TIME_S).astype(np.int64) for times in (spans, others))
    place = {tuple(tick): index for index, tick in enumerate(other_ticks.tolist())}
    pairs = [(index, place[tuple(tick)]) for index, tick in enumerate(ticks.tolist()) if tuple(tick) in place]
    picked = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return in_video[picked[:, 0]], in_audio[picked[:, 1]]
