"""The encoders of a bundle, made again on this machine, and proof that they give the same numbers."""

from __future__ import annotations

from collections.abc import Mapping

from poise.errors import BundleError, EncoderError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder
from poise.extract.encoders.registry import make_encoder, options_of
from poise.extract.fingerprint import build_spec
from poise.extract.media.decode import Decoder, check_decoder
from poise.serve.legacy.recipe import list_differences
from poise.store.schema import Modality, Spec, fingerprint


def shared_settings(specs: Mapping[Modality, Spec]) -> tuple[ClipSettings, Decoder]:
    """How recordings are cut and decoded, which all modalities of a model must share.

    Parameters
    ----------
    specs : mapping of modality to mapping
        Spec of each modality's features.

    Raises
    ------
    BundleError
        Features were not made by poise, or the modalities were cut differently.
    """
    for modality, spec in specs.items():
        if "imported" in spec:
            raise BundleError(
                f"The {modality} features were imported, so poise does not know how they were made and cannot make "
                "them for a new recording. Extract the recordings with `poise extract` and train on that."
            )
    clips = {fingerprint(spec["clips"]): spec["clips"] for spec in specs.values()}
    if len(clips) != 1:
        raise BundleError(
            "The model's modalities were extracted with different clips, so it cannot be served. "
            "Extract both with the same --window and --hop, and train on that."
        )
    # sound is always PyAV's, whatever decodes the pictures
    decoder = specs["video"]["decoder"]["backend"] if "video" in specs else "pyav"
    return ClipSettings.from_json(dict(next(iter(clips.values())))), check_decoder(str(decoder))


def rebuild_encoder(
    modality: Modality, spec: Spec, given: str | None, *, device: str, clips: ClipSettings, decoder: str
) -> Encoder:
    """The encoder that a spec describes.

    Parameters
    ----------
    modality : {"video", "audio"}
    spec : mapping
        Spec of the modality's features. One that says ``assumed`` is of features of which less is known: what it does
        not state is not compared.
    given : str or None
        Where the encoder is on this machine, if not where its name says.
    device : str
    clips : ClipSettings
    decoder : {"pyav", "decord"}

    Raises
    ------
    EncoderError
        It is not on this machine.
    BundleError
        What is on this machine gives other numbers.
    """
    name = given or str(spec["encoder"]["name"])
    try:
        encoder = make_encoder(name, modality, device=device, **options_of(spec["encoder"]))
    except EncoderError as error:
        trained = spec["encoder"]["name"]
        error.add_note(f"The model was trained with {trained!r}. Give the folder that it is in: --{modality} DIR.")
        raise
    rebuilt = build_spec(encoder, clips, decoder, str(spec["dtype"]))
    differences = list_differences(spec, rebuilt)
    if differences:
        raise BundleError(
            f"The {modality} encoder {name!r} of this machine is not the one that the model was trained with: "
            f"{'; '.join(differences[:5])}. Give the right one with --{modality}."
        )
    return encoder
