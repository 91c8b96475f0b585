"""What an encoder is: clips of one modality in, one embedding for each out. No encoder lives here."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from poise.errors import ExtractSettingsError

Modality = Literal["video", "audio"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedClip:
    """One clip as an encoder's ``prepare`` left it, ready to be encoded.

    Attributes
    ----------
    start_s, end_s : float
        Span of the clip in its recording, seconds.
    data : ndarray
        Video: prepared frames, shape (n_frames, ...). Audio: prepared samples, shape (n_samples,).
    times_s : ndarray of shape (n_frames,), float64
        Video: the timestamp that each frame really has, seconds from the start of the recording. The same time
        twice is the same frame twice. Audio: empty.
    flags : tuple of str
        Words that qualify it, see :mod:`poise.extract.quality`.
    """

    start_s: float
    end_s: float
    data: NDArray[Any]
    times_s: NDArray[np.float64]
    flags: tuple[str, ...] = ()


class Encoder(ABC):
    """A frozen function from clips to embeddings; the weights are loaded at the first :meth:`encode`.

    Attributes
    ----------
    name : str
        What the feature set is called.
    modality : {"video", "audio"}
        What it looks at or listens to.
    dim : int
        Length of one embedding, or of each layer of it.
    n_layers : int or None
        Layers of one embedding; None where there is no axis for them.
    max_clip_s : float
        The longest clip it takes, seconds.
    batch_size : int
        How many clips :meth:`encode` likes to get at once.
    gpu_batch_size : int or None
        The same on a GPU, where that is another number.
    uses_every_core : bool
        Whether :meth:`encode` keeps all cores busy, as large models do on a processor.
    side_by_side : bool
        Whether several threads may call :meth:`encode` at the same time once it is loaded, so that each clip has a
        share of torch's threads instead of all of them.
    wanted_device : str
        Where it may run: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where there is one.
    """

    modality: ClassVar[Modality]
    name: str
    dim: int
    n_layers: int | None = None
    max_clip_s: float = math.inf
    batch_size: int = 8
    gpu_batch_size: int | None = None
    uses_every_core: bool = False
    side_by_side: bool = False
    wanted_device: str = "auto"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one embedding: ``(dim,)``, or ``(n_layers, dim)``."""
        return (self.dim,) if self.n_layers is None else (self.n_layers, self.dim)

    def check_window(self, window_s: float) -> None:
        """Refuse clips that are longer than it takes, before anything is decoded.

        Raises
        ------
        ExtractSettingsError
            A clip of ``window_s`` seconds is too long for it.
        """
        if window_s > self.max_clip_s:
            raise ExtractSettingsError(
                f"{self.name} takes clips of at most {self.max_clip_s:g} s, got windows of {window_s:g} s. "
                f"Use --window {self.max_clip_s:g} or less."
            )

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """Everything that changes the numbers, as JSON values; part of the fingerprint. Must not load weights."""

    def origin(self) -> Mapping[str, Any]:
        """What else is known of where its numbers come from, as JSON values; kept with every run, and changes nothing.

        May be asked for before :meth:`load`.
        """
        return {}

    def for_reading(self) -> Encoder:
        """What decoding processes get of it, by pickle: enough for ``frame_times`` and the ``prepare`` methods.

        Default: all of it. An encoder that has loaded weights leaves them out here.
        """
        return self

    def arrive(self) -> None:  # noqa: B027
        """Refuse, before :meth:`load`, what is other than on the machine that this encoder was sent from, by pickle.

        Raises
        ------
        EncoderError
            Files that it needs are not here, or are others.
        """

    def load(self) -> None:  # noqa: B027
        """Load what :meth:`encode` needs now, in this thread, before others use the encoder; safe to call twice."""

    @abstractmethod
    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """Embeddings of shape (len(clips), *shape), float32; a clip's does not depend on its neighbours."""


class VideoEncoder(Encoder):
    """An encoder of pictures."""

    modality: ClassVar[Modality] = "video"

    @abstractmethod
    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Times in ``[start_s, end_s)`` to look at, seconds, ascending; at each the frame then on screen is taken."""

    @abstractmethod
    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """One decoded frame (height, width, 3), RGB uint8, as :meth:`encode` wants it; called in decode workers."""


def centres_of_parts(start_s: float, end_s: float, n_parts: int) -> NDArray[np.float64]:
    """The centres of ``n_parts`` equal parts of a span, shape (n_parts,), seconds; never its end."""
    return start_s + (end_s - start_s) * (np.arange(n_parts) + 0.5) / n_parts


class AudioEncoder(Encoder):
    """An encoder of sound."""

    modality: ClassVar[Modality] = "audio"
    sample_rate_hz: int = 16_000
    min_samples: int = 1_600

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono samples of one clip as :meth:`encode` wants them; called in decode workers. Default: unchanged."""
        return samples
