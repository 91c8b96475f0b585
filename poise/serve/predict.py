"""Prediction: the bundle's own extraction settings applied to a media file, then its head.

Extraction and prediction run the same code, so a prediction equals that of the stored features.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, EncoderError, InvalidFeaturesError, MediaError, PoiseError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder
from poise.extract.encoders.registry import make_encoder, options_of
from poise.extract.encoding import EncodedModality, encode_file
from poise.extract.fingerprint import build_spec
from poise.heads.classifier import ClipClassifier
from poise.heads.fusion import LOOSE_FUSIONS, modalities_of, usable
from poise.heads.splits import Protocol
from poise.serve.bundle import Bundle, read_bundle
from poise.serve.legacy.recipe import list_differences
from poise.serve.schema import UNKNOWN
from poise.store.bags import Bags, ModalityBags
from poise.store.schema import Modality, Spec, fingerprint

_DOUBTS = {
    "short": "shorter than the shortest clip of the training recordings",
    "truncated": "the file ends before it should",
    "damaged": "parts of the file could not be decoded",
    "sound-sanitised": "the sound has impossible values",
}
"""Flags that make a prediction untrustworthy, and why."""


@dataclass(frozen=True, kw_only=True)
class ClipPrediction:
    """What one clip contributed.

    Attributes
    ----------
    start_s, end_s : float
        Span of the clip in seconds.
    attention : float
        Its share in the recording's prediction; the shares of a recording sum to 1.
    proba : dict of str to float, or None
        Probabilities of the levels from this clip alone; None where the pooling needs several clips.
    """

    start_s: float
    end_s: float
    attention: float
    proba: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one recording.

    Attributes
    ----------
    path : str
        The media file.
    label : str
        The predicted level.
    proba : dict of str to float
        Probability of each level, lowest first.
    clips : tuple of ClipPrediction
        When in the recording it came from.
    flags : tuple of str
        What is unusual about the recording.
    trusted : bool
        False when something speaks against believing it.
    doubts : tuple of str
        What that is, in words.
    timings : dict of str to float
        Seconds spent in ``extract`` and ``head``.
    """

    path: str
    label: str
    proba: dict[str, float]
    clips: tuple[ClipPrediction, ...]
    flags: tuple[str, ...]
    trusted: bool
    doubts: tuple[str, ...]
    timings: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As ``poise predict --json`` prints it."""
        clips = [
            {"start_s": clip.start_s, "end_s": clip.end_s, "attention": clip.attention, "proba": clip.proba}
            for clip in self.clips
        ]
        return {
            "path": self.path,
            "label": self.label,
            "proba": self.proba,
            "trusted": self.trusted,
            "doubts": list(self.doubts),
            "flags": list(self.flags),
            "clips": clips,
            "seconds": self.timings,
        }


class Predictor:
    """A bundle made ready to serve; the encoders' weights are loaded once and stay.

    Parameters
    ----------
    bundle : Bundle
        What to serve.
    encoders : mapping of str to str, optional
        Where the encoder of a modality is on this machine, if it is not found by the name it was trained with.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    BundleError
        The features were not made by poise, or the encoder found here gives other numbers.
    """

    def __init__(self, bundle: Bundle, *, encoders: Mapping[Modality, str] | None = None, device: str = "auto") -> None:
        self.bundle = bundle
        self.model = ClipClassifier.from_state(bundle.head)
        needed: Sequence[str] = tuple(self.model.modalities_)
        lacking = [modality for modality in needed if modality not in bundle.extraction]
        if lacking:
            raise BundleError(f"The model needs {lacking[0]}, but says nothing about how it was extracted.")
        self._specs: dict[Modality, Spec] = {
            modality: bundle.extraction[modality] for modality in ("video", "audio") if modality in needed
        }
        self._clips, self._decoder = _shared_settings(self._specs)
        given = encoders or {}
        self._encoders = {
            modality: _rebuild(modality, spec, given.get(modality), device, self._clips, self._decoder)
            for modality, spec in self._specs.items()
        }

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        *,
        encoders: Mapping[Modality, str] | None = None,
        device: str = "auto",
    ) -> Self:
        """A predictor from the file that ``poise train`` wrote.

        Raises
        ------
        BundleError
            The file is not a bundle, or cannot be served here.
        """
        return cls(read_bundle(path), encoders=encoders, device=device)

    def predict(self, path: str | os.PathLike[str]) -> Prediction:
        """Predict the level of one recording.

        Parameters
        ----------
        path : path
            A media file.

        Returns
        -------
        Prediction

        Raises
        ------
        MediaError
            The file cannot be read or encoded, or lacks what the model needs.
        """
        began = time.perf_counter()
        encoded = self._encode(path)
        extracted = time.perf_counter()
        bags = self._bags(os.fspath(path), encoded)
        proba = self._name(self.model.predict_proba(bags)[0])
        label = self.bundle.label_names[int(self.model.predict(bags)[0])]
        clips = self._explain(bags)
        flags = tuple(sorted({flag for modality in encoded.values() for flag in modality.flags}))
        doubts = tuple(_DOUBTS[flag] for flag in flags if flag in _DOUBTS) + self._doubts_of_model()
        return Prediction(
            path=os.fspath(path),
            label=label,
            proba=proba,
            clips=clips,
            flags=flags,
            trusted=not doubts,
            doubts=doubts,
            timings={"extract": extracted - began, "head": time.perf_counter() - extracted},
        )

    def _bags(self, path: str, encoded: Mapping[Modality, EncodedModality]) -> Bags:
        modalities = {}
        for modality, spec in self._specs.items():
            found = encoded[modality]
            if not len(found.embeddings) and self.model.fusion not in LOOSE_FUSIONS:
                raise MediaError(f"{path}: the model needs {modality}, but there is none: {found.reason}.")
            with np.errstate(over="ignore"):
                values = found.embeddings.astype(spec["dtype"])  # the store's rounding, so that both give one number
            if not np.isfinite(values).all():
                raise MediaError(
                    f"{path}: an embedding of its {modality} does not fit in {spec['dtype']}, as the model expects. "
                    "Look at the file, or record it again."
                )
            modalities[str(modality)] = ModalityBags(
                values=values,
                offsets=np.array([0, len(found.embeddings)], dtype=np.int64),
                clip_times=found.clip_times,
            )
        bags = Bags(keys=(path,), modalities=modalities)
        if self.model.fusion in LOOSE_FUSIONS and not usable(bags, self.model.fusion)[0]:
            why = " and ".join(f"{modality}: {encoded[modality].reason}" for modality in self._specs)
            raise MediaError(f"{path}: the model needs picture or sound, but there is neither: {why}.")
        if not usable(bags, self.model.fusion)[0]:
            spans = [f"{name} in {_list_spans(side.clip_times)}" for name, side in modalities.items()]
            raise MediaError(
                f"{path}: the model needs picture and sound at the same time, but there is {' and '.join(spans)}. "
                "Look at the file, or record it again."
            )
        return bags

    def _encode(self, path: str | os.PathLike[str]) -> dict[Modality, EncodedModality]:
        try:
            return encode_file(path, tuple(self._encoders.values()), clips=self._clips, decoder=self._decoder)
        except PoiseError as error:
            if not isinstance(error, InvalidFeaturesError):
                raise
            raise MediaError(f"{os.fspath(path)}: {error}. Expected numbers; look at the file.") from error
        except Exception as error:
            # what an encoder raises for one clip is that file's, as in an extraction
            raise MediaError(
                f"{os.fspath(path)} cannot be encoded: {type(error).__name__}: {error}. Look at the file."
            ) from error

    def _explain(self, bags: Bags) -> tuple[ClipPrediction, ...]:
        ((spans, shares),) = self.model.timeline(bags)
        several = self.model.pooling == "mean-std"
        alone = [None] * len(spans) if several else self._proba_of_clips(bags, spans)
        return tuple(
            ClipPrediction(start_s=float(start), end_s=float(end), attention=float(share), proba=proba)
            for (start, end), share, proba in zip(spans, shares, alone, strict=True)
        )

    def _proba_of_clips(self, bags: Bags, spans: NDArray[np.float64]) -> list[dict[str, float]]:
        """Probabilities from each clip alone: each becomes a recording of one clip."""
        single = {}
        for name in modalities_of(self.model.fusion, bags):
            side = bags.modalities[name]
            place = {tuple(span): row for row, span in enumerate(np.round(side.clip_times, 3).tolist())}
            rows = [place.get(tuple(span), -1) for span in np.round(spans, 3).tolist()]
            there = np.array([row for row in rows if row >= 0], dtype=np.int64)
            offsets = np.concatenate([[0], np.cumsum([row >= 0 for row in rows])]).astype(np.int64)
            single[name] = ModalityBags(values=side.values[there], offsets=offsets, clip_times=side.clip_times[there])
        clips = Bags(keys=tuple(map(str, range(len(spans)))), modalities=single)
        return [self._name(row) for row in self.model.predict_proba(clips)]

    def _name(self, proba: NDArray[np.float64]) -> dict[str, float]:
        """Probabilities by level; a level that was never trained on has none."""
        named = dict.fromkeys(self.bundle.label_names, 0.0)
        for rank, value in zip(self.model.classes_.tolist(), proba.tolist(), strict=True):
            named[self.bundle.label_names[rank]] = value
        return named

    def _doubts_of_model(self) -> tuple[str, ...]:
        """Only a protocol that keeps speakers apart speaks for the model; of several, the one that flatters least."""
        if self.bundle.audit["verdict"] == UNKNOWN:
            return (f"its audit does not support the model. {self.bundle.audit['sentence']}",)
        found = [
            (row["interval"]["qwk"], row["protocol"])
            for row in self.bundle.validation
            if row["strategy"] == self.bundle.strategy
            and Protocol.parse(row["protocol"]).keeps_speakers_apart
            and row["interval"].get("qwk") is not None
        ]
        if not found:
            return ("the model's validation says nothing about speakers it has not heard",)
        (low, high), protocol = min(found)
        if low <= 0:
            return (
                f"the model was no better than chance under {protocol}: its quadratic kappa may be "
                f"anything from {low:.2f} to {high:.2f}",
            )
        if self.bundle.audit["verdict"] != "supported":
            return (f"its audit does not support the model. {self.bundle.audit['sentence']}",)
        return ()


def _list_spans(clip_times: NDArray[np.float64]) -> str:
    return ", ".join(f"{start:g}-{end:g} s" for start, end in clip_times[:5]) + (" …" if len(clip_times) > 5 else "")


def _shared_settings(specs: Mapping[Modality, Spec]) -> tuple[ClipSettings, Any]:
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
    return ClipSettings.from_json(dict(next(iter(clips.values())))), str(decoder)


def _rebuild(
    modality: Modality, spec: Spec, given: str | None, device: str, clips: ClipSettings, decoder: str
) -> Encoder:
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
