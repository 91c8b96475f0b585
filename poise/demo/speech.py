"""Synthetic speech: text in, samples out, by espeak-ng from the wheel ``espeakng-loader``. What is said is not here."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError, MissingDependencyError

SAMPLE_RATE_HZ = 22_050

# names and numbers of espeak-ng's speak_lib.h
_RETRIEVE_SYNCHRONOUSLY = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
# the library keeps everything in globals
_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A few words and how they are spoken.

    Attributes
    ----------
    text : str
        English words.
    rate_wpm : int
        Words a minute, 80 to 450.
    pitch : int
        0 (low) to 99 (high), 50 is the voice's own.
    pitch_range : int
        0 (monotone) to 99 (lively), 50 is usual.
    """

    text: str
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50


def speak(voice: str, utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Speak each utterance; the result depends on the arguments alone.

    espeak-ng carries state from one utterance to the next and over its own termination, so every call loads it afresh
    and unloads it (about a millisecond). Calls from several threads wait for each other.

    Parameters
    ----------
    voice : str
        A voice of espeak-ng with an optional variant, such as ``"en-us+f3"``.
    utterances : sequence of Utterance
        What is spoken, in order.

    Returns
    -------
    list of ndarray of shape (n_samples,), float32
        22,050 samples a second, silence before and after trimmed.

    Raises
    ------
    MissingDependencyError
        ``espeakng-loader`` is not installed.
    EncoderError
        espeak-ng cannot be started, or has no such voice.
    """
    loader = _import_loader()
    with _LOCK, _loaded(loader) as library:
        parts: list[NDArray[np.int16]] = []

        def collect(samples: ctypes._Pointer[ctypes.c_short], n_samples: int, _events: int | None) -> int:
            if samples and n_samples > 0:
                parts.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
            return 0

        callback = _CALLBACK(collect)
        library.espeak_SetSynthCallback(callback)
        _choose(library, voice)
        spoken = []
        for utterance in utterances:
            parts.clear()
            _synthesise(library, utterance)
            spoken.append(_trim(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.float32))
        return spoken


def _import_loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError(
            "the demo's voices need espeak-ng, and the package espeakng-loader is not installed; "
            "expected it beside poise. Install it with: pip install 'poise[demo]'"
        ) from error
    module: ModuleType = espeakng_loader
    return module


@contextmanager
def _loaded(loader: ModuleType) -> Iterator[ctypes.CDLL]:
    """A fresh copy of the library, started; ended and unloaded afterwards."""
    library = ctypes.CDLL(loader.get_library_path())
    try:
        folder = str(loader.get_data_path())
        rate_hz = library.espeak_Initialize(_RETRIEVE_SYNCHRONOUSLY, 0, folder.encode(), _DONT_EXIT)
        if rate_hz != SAMPLE_RATE_HZ:
            raise EncoderError(
                f"espeak-ng does not start with its data in {folder}: it returned {rate_hz}, expected {SAMPLE_RATE_HZ} "
                "samples a second. Its paths are limited to about 150 characters: install poise in a folder with a "
                "shorter name, or reinstall with: pip install --force-reinstall espeakng-loader"
            )
        # breathy voices draw noise from the C library's rand(), which starting up seeds with the time
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        yield library
    finally:
        library.espeak_Terminate()
        getattr(_ctypes, "FreeLibrary" if os.name == "nt" else "dlclose")(library._handle)


def _choose(library: ctypes.CDLL, voice: str) -> None:
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise EncoderError(
            f"espeak-ng has no voice {voice!r}; expected a language with an optional variant, such as 'en-us+f3' or "
            "'en-gb+m2'"
        )


def _synthesise(library: ctypes.CDLL, utterance: Utterance) -> None:
    for parameter, value in (
        (_RATE, utterance.rate_wpm),
        (_PITCH, utterance.pitch),
        (_PITCH_RANGE, utterance.pitch_range),
    ):
        library.espeak_SetParameter(parameter, value, 0)
    text = utterance.text.encode()
    library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)


def _trim(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples as -1..1 without the silence around them."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 200)
    if not len(loud):
        return np.zeros(0, dtype=np.float32)
    return samples[loud[0] : loud[-1] + 1].astype(np.float32) / np.float32(32768)
