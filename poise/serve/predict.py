"""Prediction: the bundle's own extraction settings applied to a media file, then its head.

Extraction and prediction run the same code, so a prediction equals that of the stored features. What is said of a
recording lives in ``prediction``, when not to believe it in ``doubts``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, MediaError, StrategyError
from poise.extract.file_encoder import FileEncoder
from poise.extract.parts import EncodedFile
from poise.extract.turns import Cancelled, Progress
from poise.extract.workers.source import DecodeLimits, Reading
from poise.heads.classifier import ClipClassifier
from poise.heads.fitting import decode
from poise.serve.bundle import Bundle, read_bundle
from poise.serve.clips import explain_clips, flag_recording
from poise.serve.confidence import read_confidence
from poise.serve.doubts import judge_model, judge_recording
from poise.serve.encoders import rebuild_encoder, shared_settings
from poise.serve.familiarity import read_ranges
from poise.serve.prediction import Prediction
from poise.serve.recordings import as_bags
from poise.store.bags import Bags
from poise.store.schema import Modality, Spec


class Predictor:
    """A bundle made ready to serve. Encoders, and the processes that decode, are loaded once and stay.

    A context manager; it is closed too when nobody holds it any more. Several threads may use it: in a process one
    file is worked on at a time, and the others wait for their turn.

    Parameters
    ----------
    bundle : Bundle
        What to serve.
    encoders : mapping of str to str, optional
        Where the encoder of a modality is on this machine, if it is not found by the name it was trained with.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    workers : int, optional
        Processes that decode; by default as many as there are cores to spare. 0 decodes in this process, which a file
        may then crash or hang.
    limits : DecodeLimits, optional
        What such a process may do before it is ended.

    Raises
    ------
    BundleError
        The features were not made by poise, or the encoder found here gives other numbers.
    EncoderError
        An encoder is not on this machine.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        encoders: Mapping[Modality, str] | None = None,
        device: str = "auto",
        workers: int | None = None,
        limits: DecodeLimits | None = None,
    ) -> None:
        self.bundle = bundle
        self.model = ClipClassifier.from_state(bundle.head)
        needed: Sequence[str] = tuple(self.model.modalities_)
        lacking = [modality for modality in needed if modality not in bundle.extraction]
        if lacking:
            raise BundleError(f"The model needs {lacking[0]}, but says nothing about how it was extracted.")
        self._specs: dict[Modality, Spec] = {
            modality: bundle.extraction[modality] for modality in ("video", "audio") if modality in needed
        }
        self._levels = [bundle.label_names[rank] for rank in self.model.classes_.tolist()]
        self._confidence = read_confidence(bundle.training)
        self._ranges = read_ranges(bundle.training, bundle.head.arrays, self.model.modalities_)
        clips, decoder = shared_settings(self._specs)
        given = encoders or {}
        self._files = FileEncoder(
            {
                modality: rebuild_encoder(
                    modality, spec, given.get(modality), device=device, clips=clips, decoder=decoder
                )
                for modality, spec in self._specs.items()
            },
            Reading(clips=clips, decoder=decoder, limits=limits or DecodeLimits()),
            workers=workers,
        )

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        *,
        encoders: Mapping[Modality, str] | None = None,
        device: str = "auto",
        workers: int | None = None,
        limits: DecodeLimits | None = None,
        trust_pickle: bool = False,
    ) -> Self:
        """A predictor from the file that ``poise train`` wrote, or from an older bundle.

        Parameters
        ----------
        path : path
        encoders, device, workers, limits
            As for the class.
        trust_pickle : bool
            Run what an older bundle has pickled, see :func:`poise.serve.bundle.read_bundle`.

        Raises
        ------
        BundleError
            The file is not a bundle, or cannot be served here.
        EncoderError
            An encoder is not on this machine.
        """
        bundle = read_bundle(path, trust_pickle=trust_pickle)
        return cls(bundle, encoders=encoders, device=device, workers=workers, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that decode; a later prediction would start new ones."""
        self._files.close()

    def load(self) -> None:
        """Load the weights of the encoders now; else the first prediction does.

        Raises
        ------
        EncoderError
            An encoder cannot be run.
        """
        self._files.load()

    def predict(
        self,
        path: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Prediction:
        """Predict the level of one recording.

        Parameters
        ----------
        path : path
            A media file.
        progress : callable, optional
            Called with the number of clips that are encoded, of all clips (0 while unknown), and what is being done:
            ``waiting`` for another thread's file, ``loading`` weights, ``decoding`` or ``encoding``.
        cancelled : callable, optional
            Asked about once a second whether the result is no longer wanted. Both are called in this thread.

        Returns
        -------
        Prediction

        Raises
        ------
        MediaError
            The file cannot be read or encoded, or lacks what the model needs.
        EncoderError
            An encoder cannot be run, or a callback of a file asks for another one.
        CancelledError
            ``cancelled`` said so.
        """
        began = time.perf_counter()
        found = self._files.encode(path, progress=progress, cancelled=cancelled)
        encoded = time.perf_counter()
        bags = as_bags(os.fspath(path), found.modalities, self._specs, self.model.fusion)
        try:
            said = self._say(bags, found)
        except (StrategyError, ValueError) as error:
            raise MediaError(f"{os.fspath(path)}: the model can make nothing of it. {error}") from error
        ended = time.perf_counter()
        timings = {**found.seconds, "head": ended - encoded, "total": ended - began}
        return Prediction(path=os.fspath(path), duration_s=found.duration_s, timings=timings, **said)

    def _say(self, bags: Bags, found: EncodedFile) -> dict[str, Any]:
        proba = self.model.predict_proba(bags)[0]
        rank = int(decode(proba[None], self.model.head)[0])
        likely = self._likely(proba, rank)
        flags = flag_recording(bags, found.modalities, self._ranges)
        judged = judge_recording(flags, likely or (), self._levels)
        return {
            "label": self._levels[rank],
            "proba": self._name(proba),
            "likely": likely,
            "because": judged.because,
            "doubts": (*judged.doubts, *self._doubts_of_model()),
            "notes": judged.notes,
            "flags": tuple(sorted(flags)),
            "verdict": str(self.bundle.audit.get("verdict")),
            "clips": explain_clips(self.model, bags, flags, self._name),
        }

    def _doubts_of_model(self) -> tuple[str, ...]:
        return judge_model(self.bundle.strategy, self.bundle.validation, self.bundle.audit)

    def _likely(self, proba: NDArray[np.float64], rank: int) -> tuple[str, ...] | None:
        if self._confidence is None:
            return None
        return tuple(self._levels[place] for place in self._confidence.levels(proba, rank))

    def _name(self, proba: NDArray[np.float64]) -> dict[str, float]:
        """Probabilities by level; a level that was never trained on has none."""
        return dict.fromkeys(self.bundle.label_names, 0.0) | dict(zip(self._levels, proba.tolist(), strict=True))
