"""The spec of a feature set: everything that changes the numbers, and nothing else (no device, batch size or path)."""

from __future__ import annotations

from typing import Any

from poise.errors import EncoderError, ExtractSettingsError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder
from poise.extract.media.decode import DECODER_CONTRACT, check_decoder
from poise.store.schema import DTYPES

SPEC_SCHEMA = 1
"""Version of the spec's own layout."""


def build_spec(encoder: Encoder, clips: ClipSettings, decoder: str, dtype: str) -> dict[str, Any]:
    """The spec that an extraction's feature set is known by.

    Parameters
    ----------
    encoder : Encoder
        What encodes; its weights are hashed if it has any.
    clips : ClipSettings
        How recordings are cut.
    decoder : {"pyav", "decord"}
        What decodes the pictures; sound is always PyAV's.
    dtype : {"float16", "float32"}
        What the embeddings are stored as.

    Returns
    -------
    dict
        JSON values; hashed by :func:`poise.store.schema.fingerprint`.

    Raises
    ------
    ExtractSettingsError
        There is no such decoder or dtype.
    EncoderError
        The encoder has no name, or no length of its embeddings.
    """
    name, dim = getattr(encoder, "name", None), getattr(encoder, "dim", None)
    if not isinstance(name, str) or not name or isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise EncoderError(
            f"{type(encoder).__name__} has the name {name!r} and the dim {dim!r}. Expected a text, the name of the "
            "feature set, and a whole number from 1 on, the length of one embedding; set both in the class."
        )
    if dtype not in DTYPES:
        raise ExtractSettingsError(f"Embeddings cannot be stored as {dtype!r}. Expected one of {', '.join(DTYPES)}.")
    backend = check_decoder(decoder) if encoder.modality == "video" else "pyav"
    return {
        "schema": SPEC_SCHEMA,
        "modality": encoder.modality,
        "encoder": {"name": encoder.name, "dim": encoder.dim, **encoder.settings()},
        "clips": clips.to_json(),
        "decoder": {"backend": backend, "contract": DECODER_CONTRACT},
        "dtype": dtype,
    }
