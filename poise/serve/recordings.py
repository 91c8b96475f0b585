"""From an encoded file to what a head sees of it: exactly what the store would hold."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from poise.errors import MediaError
from poise.extract.encoding import EncodedModality
from poise.heads.fusion import LOOSE_FUSIONS, usable
from poise.store.bags import Bags, ModalityBags
from poise.store.schema import Modality, Spec

_MEANS = {"video": "picture", "audio": "sound"}


def as_bags(
    path: str, encoded: Mapping[Modality, EncodedModality], specs: Mapping[Modality, Spec], fusion: str
) -> Bags:
    """One recording as bags.

    Parameters
    ----------
    path : str
        The media file; the key of the recording.
    encoded : mapping of modality to EncodedModality
    specs : mapping of modality to mapping
        Spec of the features that the model was trained on.
    fusion : str
        How the model fuses modalities.

    Raises
    ------
    MediaError
        The recording lacks what the fusion needs.
    """
    stored = {modality: round_as_stored(encoded[modality], specs[modality]) for modality in specs}
    modalities = {
        str(modality): ModalityBags(
            values=found.embeddings,
            offsets=np.array([0, len(found.embeddings)], dtype=np.int64),
            clip_times=found.clip_times,
        )
        for modality, found in stored.items()
    }
    bags = Bags(keys=(path,), modalities=modalities)
    lacking = [modality for modality, found in stored.items() if not len(found.embeddings)]
    if lacking and fusion not in LOOSE_FUSIONS:
        needed = _MEANS[lacking[0]]
        raise MediaError(f"{path}: the model needs {needed}, and there is none: {_why(stored[lacking[0]].reason)}.")
    if len(lacking) == len(stored):
        why = " and ".join(f"{_MEANS[modality]}: {_why(stored[modality].reason)}" for modality in lacking)
        raise MediaError(f"{path}: the model needs picture or sound, and there is neither: {why}.")
    if not usable(bags, fusion)[0]:
        spans = [f"{name} in {_list_spans(side.clip_times)}" for name, side in modalities.items()]
        raise MediaError(
            f"{path}: the model needs picture and sound at the same time, but there is {' and '.join(spans)}. "
            "Look at the file, or record it again."
        )
    return bags


def round_as_stored(found: EncodedModality, spec: Spec) -> EncodedModality:
    """Embeddings as the store keeps them; none, with the reason, where they do not fit in its numbers.

    Parameters
    ----------
    found : EncodedModality
    spec : mapping
        Spec of the features.
    """
    with np.errstate(over="ignore"):
        values = found.embeddings.astype(spec["dtype"])
    if np.isfinite(values).all():
        return found._replace(embeddings=values)
    return found._replace(
        embeddings=values[:0],
        clip_times=found.clip_times[:0],
        reason=f"an embedding does not fit in {spec['dtype']}, as the model expects",
    )


def _why(reason: str) -> str:
    """A reason without the words that said already that there is none, and without a full stop."""
    return re.sub(r"^no (picture|sound): ", "", reason).rstrip(".")


def _list_spans(clip_times: NDArray[np.float64]) -> str:
    return ", ".join(f"{start:g}-{end:g} s" for start, end in clip_times[:5]) + (" …" if len(clip_times) > 5 else "")
