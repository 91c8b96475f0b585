"""From prepared clips to embeddings: batches, and what is collected of a recording.

Whole files are for :mod:`poise.extract.file_encoder`, many at a time and the store for :mod:`poise.extract.pipeline`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from poise.errors import EncoderError, InvalidFeaturesError
from poise.extract.encoders.base import Encoder, PreparedClip
from poise.extract.lanes import Lanes
from poise.extract.quality import summarise
from poise.extract.reading import Notes
from poise.store.schema import Outcome
from poise.text import describe_error

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
_CHECK_S = 0.2
_Result = NDArray[np.float32] | Exception


class Batcher(Generic[OwnerT]):
    """Clips of one encoder that wait for a full batch, whichever recording they are of.

    Parameters
    ----------
    encoder : Encoder
        What encodes them.
    lanes : Lanes
        Where batches are encoded, if the encoder can work on several at a time; else here and now.
    deliver : callable
        Called for each clip in the order they were added, in the thread that adds them, with its owner, the clip, and
        its embedding (dim,) or the error that encoding it alone raised.
    check : callable, optional
        Called a few times a second while lanes are waited for; what it raises ends the waiting.
    """

    def __init__(
        self,
        encoder: Encoder,
        lanes: Lanes,
        deliver: Callable[[OwnerT, PreparedClip, _Result], None],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._encoder = encoder
        self._lanes = lanes
        self._deliver = deliver
        self._check = check
        self._waiting: list[tuple[OwnerT, PreparedClip]] = []
        self._under_way: deque[tuple[list[tuple[OwnerT, PreparedClip]], Future[list[_Result]]]] = deque()
        self._works = False
        self._n_given_up = 0

    def add(self, owner: OwnerT, clip: PreparedClip) -> None:
        """Take a clip, and encode if that fills the batch.

        Raises
        ------
        EncoderError
            The encoder itself does not work; errors of single clips are delivered.
        """
        self._waiting.append((owner, clip))
        if len(self._waiting) >= self._encoder.batch_size:
            self.begin()
        self.deliver_done(may_wait=2 * self._lanes.n)  # as many again as are worked on, so that no lane ever waits

    def deliver_done(self, *, may_wait: float) -> None:
        """Deliver what is encoded, and wait until no more than ``may_wait`` batches are not.

        Raises
        ------
        EncoderError
            The encoder itself does not work.
        """
        while self._under_way and (len(self._under_way) > may_wait or self._under_way[0][1].done()):
            batch, future = self._under_way.popleft()
            self._hand_over(batch, self._result(future))

    def _result(self, future: Future[list[_Result]]) -> list[_Result]:
        while not wait([future], timeout=_CHECK_S).done:
            self._check()
        return future.result()

    def flush(self) -> None:
        """Encode and deliver all that waits.

        Raises
        ------
        EncoderError
            The encoder itself does not work.
        """
        self.begin()
        self.deliver_done(may_wait=0)

    def begin(self) -> None:
        """Encode what waits, though the batch is not full.

        Raises
        ------
        EncoderError
            The encoder itself does not work.
        """
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        clips = [clip for _, clip in batch]
        if self._encoder.side_by_side:
            self._under_way.append((batch, self._lanes.submit(lambda: self._encode(clips))))
        else:
            self._hand_over(batch, self._encode(clips))

    def _encode(self, clips: Sequence[PreparedClip]) -> list[_Result]:
        try:
            embeddings = np.asarray(self._encoder.encode(clips), dtype=np.float32)
        except EncoderError:
            raise
        except Exception as error:  # noqa: BLE001
            # one clip must not cost the recordings that share its batch
            return [error] if len(clips) == 1 else [self._encode([clip])[0] for clip in clips]
        expected = (len(clips), *self._encoder.shape)
        if embeddings.shape != expected:
            raise EncoderError(
                f"{self._encoder.name} gave embeddings of shape {embeddings.shape}, expected {expected}. This is a "
                "fault of the encoder."
            )
        return [self._checked(clip, row) for clip, row in zip(clips, embeddings, strict=True)]

    def _checked(self, clip: PreparedClip, embedding: NDArray[np.float32]) -> _Result:
        if np.isfinite(embedding).all():
            return embedding
        return InvalidFeaturesError(
            f"{self._encoder.name} gave NaN or infinity for the clip {clip.start_s:g}-{clip.end_s:g} s"
        )

    def _hand_over(self, batch: Sequence[tuple[OwnerT, PreparedClip]], results: Sequence[_Result]) -> None:
        self._judge(results)
        for (owner, clip), result in zip(batch, results, strict=True):
            self._deliver(owner, clip, result)

    def _judge(self, results: Sequence[_Result]) -> None:
        """After several clips that could not be encoded and not one that could, it is the encoder that is broken."""
        errors = [r for r in results if isinstance(r, Exception) and not isinstance(r, InvalidFeaturesError)]
        self._works = self._works or len(errors) < len(results)
        self._n_given_up += len(errors)
        if not self._works and self._n_given_up >= _ENOUGH_FAILURES:
            raise EncoderError(
                f"{self._encoder.name} cannot encode any of the first {self._n_given_up} clips: "
                f"{describe_error(errors[-1])}. Nothing was noted against the recordings; mend the encoder."
            ) from errors[-1]


def single_threaded_blas() -> threadpool_limits:
    """A context in which numpy's BLAS uses one thread; torch has threads of its own.

    The weight-free encoders solve thousands of tiny systems: handing each to several threads doubled the time of
    ``motion`` and ``prosody`` on two cores.
    """
    return threadpool_limits(limits=1, user_api="blas")
