"""From prepared clips to embeddings: batches, and one whole file at a time for prediction.

Many files at a time, and the store, are for :mod:`poise.extract.pipeline`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from poise.errors import EncoderError, InvalidFeaturesError
from poise.extract.clips import ClipSettings
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.media.decode import check_decoder
from poise.extract.quality import summarise
from poise.extract.reading import Notes, RecordingReader
from poise.store.schema import Modality, Outcome

OwnerT = TypeVar("OwnerT")

_FAILED = {"damaged", "unreadable"}


class EncodedModality(NamedTuple):
    """One modality of one recording.

    Attributes
    ----------
    embeddings : ndarray of shape (n_clips, [n_layers,] dim), float32
        One for each clip; none if the modality is missing.
    clip_times : ndarray of shape (n_clips, 2), float64
        Start and end of each clip in seconds.
    flags : tuple of str
        Words that qualify it, and clips of it as ``dark:0-3,7``.
    reason : str
        Why it is missing, or what about it is incomplete.
    """

    embeddings: NDArray[np.float32]
    clip_times: NDArray[np.float64]
    flags: tuple[str, ...]
    reason: str

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if len(self.embeddings):
            return "stored"
        return "failed" if _FAILED & set(self.flags) else "missing"


class Collected:
    """Embeddings of one modality of one recording, as they come."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._times: list[tuple[float, float]] = []
        self._flags: list[tuple[str, ...]] = []
        self._embeddings: list[NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._times)

    def add(self, clip: PreparedClip, embedding: NDArray[np.float32]) -> None:
        """Take the embedding ([n_layers,] dim) of the next clip."""
        self._times.append((clip.start_s, clip.end_s))
        self._flags.append(clip.flags)
        self._embeddings.append(embedding)

    def finish(self, notes: Notes) -> EncodedModality:
        """All of it, with what the reader noted."""
        flags = tuple(sorted({*notes.flags, *summarise(self._flags)}))
        if not self._times:
            none = np.empty((0, *self._shape), np.float32), np.empty((0, 2), np.float64)
            return EncodedModality(*none, flags=flags, reason=notes.reason)
        return EncodedModality(np.stack(self._embeddings), np.array(self._times, np.float64), flags, notes.reason)


_ENOUGH_FAILURES = 8


class Batcher(Generic[OwnerT]):
    """Clips of one encoder that wait for a full batch, whichever recording they are of.

    Parameters
    ----------
    encoder : Encoder
        What encodes them.
    deliver : callable
        Called for each clip in the order they were added, with its owner, the clip, and its embedding (dim,) or the
        error that encoding it alone raised.
    """

    def __init__(
        self, encoder: Encoder, deliver: Callable[[OwnerT, PreparedClip, NDArray[np.float32] | Exception], None]
    ) -> None:
        self._encoder = encoder
        self._deliver = deliver
        self._waiting: list[tuple[OwnerT, PreparedClip]] = []
        self._works = False
        self._n_given_up = 0

    def add(self, owner: OwnerT, clip: PreparedClip) -> None:
        """Take a clip, and encode if that fills the batch."""
        self._waiting.append((owner, clip))
        if len(self._waiting) >= self._encoder.batch_size:
            self.flush()

    def flush(self) -> None:
        """Encode what waits.

        Raises
        ------
        EncoderError
            The encoder itself does not work; errors of single clips are delivered.
        """
        batch, self._waiting = self._waiting, []
        results = self._encode([clip for _, clip in batch])
        for (owner, clip), result in zip(batch, results, strict=True):
            self._deliver(owner, clip, result)

    def _encode(self, clips: Sequence[PreparedClip]) -> Sequence[NDArray[np.float32] | Exception]:
        if not clips:
            return []
        try:
            embeddings = np.asarray(self._encoder.encode(clips), dtype=np.float32)
        except EncoderError:
            raise
        except Exception as error:  # noqa: BLE001
            # one clip must not cost the recordings that share its batch
            return self._give_up(error) if len(clips) == 1 else [self._encode([clip])[0] for clip in clips]
        self._works = True
        expected = (len(clips), *self._encoder.shape)
        if embeddings.shape != expected:
            raise EncoderError(
                f"{self._encoder.name} gave embeddings of shape {embeddings.shape}, expected {expected}. This is a "
                "fault of the encoder."
            )
        return [self._checked(clip, row) for clip, row in zip(clips, embeddings, strict=True)]

    def _give_up(self, error: Exception) -> list[Exception]:
        """A clip that cannot be encoded; after several and not one success it is the encoder that is broken."""
        self._n_given_up += 1
        if not self._works and self._n_given_up >= _ENOUGH_FAILURES:
            raise EncoderError(
                f"{self._encoder.name} cannot encode any of the first {self._n_given_up} clips: "
                f"{type(error).__name__}: {error}. Nothing was noted against the recordings; mend the encoder."
            ) from error
        return [error]

    def _checked(self, clip: PreparedClip, embedding: NDArray[np.float32]) -> NDArray[np.float32] | Exception:
        if np.isfinite(embedding).all():
            return embedding
        return InvalidFeaturesError(
            f"{self._encoder.name} gave NaN or infinity for the clip {clip.start_s:g}-{clip.end_s:g} s"
        )


def encode_file(
    path: str | os.PathLike[str],
    encoders: Sequence[Encoder],
    *,
    clips: ClipSettings | None = None,
    decoder: str = "pyav",
) -> dict[Modality, EncodedModality]:
    """Decode and encode one media file, exactly as extraction does.

    Parameters
    ----------
    path : path
        The file.
    encoders : sequence of Encoder
        At most one of each modality.
    clips : ClipSettings, optional
        How the recording is cut. Default: ``ClipSettings()``.
    decoder : {"pyav", "decord"}
        What decodes the pictures.

    Returns
    -------
    dict of modality to EncodedModality
        One for each encoder, empty where the file has no such modality.

    Raises
    ------
    MediaError
        The file cannot be read.
    EncoderError
        An encoder cannot be run.
    InvalidFeaturesError
        An embedding is not finite.
    """
    by_modality: dict[Modality, Encoder] = {encoder.modality: encoder for encoder in encoders}
    collected = {modality: Collected(encoder.shape) for modality, encoder in by_modality.items()}

    def deliver(modality: Modality, clip: PreparedClip, result: NDArray[np.float32] | Exception) -> None:
        if isinstance(result, Exception):
            raise result
        collected[modality].add(clip, result)

    batchers = {modality: Batcher(encoder, deliver) for modality, encoder in by_modality.items()}
    settings = clips if clips is not None else ClipSettings()
    for encoder in encoders:
        encoder.check_window(settings.window_s)
        encoder.load()
    reader = RecordingReader(path, by_modality, clips=settings, decoder=check_decoder(decoder))
    with single_threaded_blas():
        for modality, clip in reader.read():
            batchers[modality].add(modality, clip)
        for batcher in batchers.values():
            batcher.flush()
    return {modality: collected[modality].finish(reader.notes[modality]) for modality in by_modality}


def single_threaded_blas() -> threadpool_limits:
    """A context in which numpy's BLAS uses one thread; torch has threads of its own.

    The weight-free encoders solve thousands of tiny systems: handing each to several threads doubled the time of
    ``motion`` and ``prosody`` on two cores.
    """
    return threadpool_limits(limits=1, user_api="blas")
