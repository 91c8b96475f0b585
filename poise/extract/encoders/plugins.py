"""Encoders that other packages bring, through the entry-point group ``poise.encoders``.

An entry point's name is the encoder's name. Its object is called with those of the keyword arguments ``device`` and
``n_frames`` that it declares, and returns an :class:`~poise.extract.encoders.base.Encoder`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError, UnknownEncoderError
from poise.extract.encoders.base import AudioEncoder, Encoder, Modality, PreparedClip, VideoEncoder

GROUP = "poise.encoders"
"""The entry-point group."""


def plugin_names() -> tuple[str, ...]:
    """Names of the encoders that installed packages bring, sorted; nothing of them is imported."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def make_plugin(name: str, modality: Modality, *, n_frames: int | None, device: str) -> Encoder:
    """The encoder that a package brings under that name.

    Parameters
    ----------
    name : str
        One of :func:`plugin_names`.
    modality : {"video", "audio"}
        What it is to encode.
    n_frames : int or None
        Given to it if it declares it, unless None.
    device : str
        Given to it if it declares it.

    Returns
    -------
    Encoder
        Its settings hold the package's name and version too.

    Raises
    ------
    EncoderError
        Two packages bring that name, or the one that does fails to be imported, to make it, or to make an encoder.
    UnknownEncoderError
        It is an encoder of the other modality.
    """
    points = sorted(entry_points(group=GROUP, name=name), key=_distribution)
    if len(points) != 1:
        raise EncoderError(
            f"{len(points)} packages bring an encoder {name!r}: {', '.join(map(_distribution, points))}. Expected one; "
            "uninstall all others."
        )
    (point,) = points
    made = _made(point, {"device": device} | ({} if n_frames is None else {"n_frames": n_frames}))
    if not isinstance(made, VideoEncoder | AudioEncoder):
        raise EncoderError(
            f"The encoder {name!r} of {_distribution(point)} is a {type(made).__name__}. Expected a VideoEncoder or an "
            "AudioEncoder of poise.extract.encoders; this is a fault of that package."
        )
    if made.modality != modality:
        raise UnknownEncoderError(
            f"The encoder {name!r} of {_distribution(point)} is for {made.modality}, not {modality}. Give it with "
            f"--{made.modality}."
        )
    origin = {"name": point.dist.name, "version": point.dist.version} if point.dist else {}
    encoder: PluginVideoEncoder | PluginAudioEncoder
    if isinstance(made, VideoEncoder):
        encoder = PluginVideoEncoder(made, name=name, distribution=origin)
    else:
        encoder = PluginAudioEncoder(made, name=name, distribution=origin)
    encoder.wanted_device = device
    return encoder


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"


def _made(point: EntryPoint, options: Mapping[str, Any]) -> Any:
    try:
        factory = point.load()
        return factory(**{name: value for name, value in options.items() if name in _declared(factory)})
    except Exception as error:
        # it is the code of others, and may raise anything
        raise EncoderError(
            f"The encoder {point.name!r} of {_distribution(point)} cannot be made: {type(error).__name__}: {error}. "
            "This is a fault of that package, or of what it needs; update or uninstall it."
        ) from error


def _declared(factory: Any) -> set[str]:
    """Parameters that can be given by name."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # of a built-in that does not tell
        return set()
    return {parameter.name for parameter in parameters if parameter.kind in (parameter.KEYWORD_ONLY, _BY_NAME)}


_BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD


class _Plugin(Encoder):
    """An encoder of others, under the name of its entry point and with its package in its settings.

    Parameters
    ----------
    inner : Encoder
        What the package made.
    name : str
        Name of the entry point.
    distribution : mapping
        Name and version of the package.
    """

    def __init__(self, inner: Encoder, *, name: str, distribution: Mapping[str, str]) -> None:
        self.name = name
        self.inner = inner
        self.distribution = dict(distribution)
        self._look()

    def _look(self) -> None:
        self.dim, self.n_layers = self.inner.dim, self.inner.n_layers
        self.batch_size, self.max_clip_s = self.inner.batch_size, self.inner.max_clip_s
        self.uses_every_core, self.side_by_side = self.inner.uses_every_core, self.inner.side_by_side
        self.gpu_batch_size = self.inner.gpu_batch_size

    def settings(self) -> Mapping[str, Any]:
        """What the encoder says of itself, and the package it comes from."""
        layers = {} if self.n_layers is None else {"n_layers": self.n_layers}
        return {**layers, **self.inner.settings(), "distribution": self.distribution}

    def origin(self) -> Mapping[str, Any]:
        """What the encoder says of its origin."""
        return self.inner.origin()

    def for_reading(self) -> Encoder:
        """What the encoder itself gives to decoding processes."""
        return self.inner.for_reading()

    def arrive(self) -> None:
        """What the encoder itself refuses."""
        self.inner.arrive()

    def load(self) -> None:
        """Load the encoder."""
        self.inner.load()
        self._look()

    def encode(self, clips: Sequence[PreparedClip]) -> NDArray[np.float32]:
        """What the encoder gives, shape (n_clips, *shape), float32."""
        embeddings = self.inner.encode(clips)
        self._look()
        return embeddings


class PluginVideoEncoder(_Plugin, VideoEncoder):
    """An encoder of pictures that another package brings."""

    inner: VideoEncoder

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Times that the encoder looks at, seconds."""
        return self.inner.frame_times(start_s, end_s)

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        """A frame as the encoder wants it."""
        return self.inner.prepare_frame(frame)


class PluginAudioEncoder(_Plugin, AudioEncoder):
    """An encoder of sound that another package brings."""

    inner: AudioEncoder

    def __init__(self, inner: AudioEncoder, *, name: str, distribution: Mapping[str, str]) -> None:
        super().__init__(inner, name=name, distribution=distribution)
        self.sample_rate_hz, self.min_samples = inner.sample_rate_hz, inner.min_samples

    def prepare_samples(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples as the encoder wants them."""
        return self.inner.prepare_samples(samples)
