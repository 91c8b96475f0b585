"""Video transformers as frozen encoders of pictures: frames spread over a clip in, one vector out.

What is done to a frame lives in ``pictures``, what is read of the model in ``readout``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError
from poise.extract.encoders.base import PreparedClip, VideoEncoder, centres_of_parts
from poise.extract.encoders.device import to_device
from poise.extract.encoders.frozen import FrozenModel
from poise.extract.encoders.pictures import PicturePreprocessing
from poise.extract.encoders.readout import Layers
from poise.extract.encoders.weights import Weights


class VideoTransformer(FrozenModel, VideoEncoder):
    """A pretrained transformer that looks at some frames of a clip.

    Parameters
    ----------
    weights, name, device, layers, pooling, precision
        As in :class:`poise.extract.encoders.frozen.FrozenModel`.
    n_frames : int or None
        Frames of a clip; most models take just the number they have been trained with. None for that number.

    Raises
    ------
    EncoderError
        The checkpoint does not fit these settings, or its preprocessing is not understood.
    """

    tokens: ClassVar[str] = "patch tokens"
    gpu_batch_size = 32
    title: ClassVar[str]
    frames_key: ClassVar[str] = "num_frames"
    size_key: ClassVar[str] = "image_size"
    input_name: ClassVar[str] = "pixel_values"
    preprocessing_options: ClassVar[Mapping[str, Any]] = {}
    forward_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        weights: Weights,
        *,
        name: str,
        n_frames: int | None = None,
        device: str = "auto",
        layers: Layers = "last",
        pooling: str = "mean",
        precision: str = "float32",
    ) -> None:
        super().__init__(weights, name=name, device=device, layers=layers, pooling=pooling, precision=precision)
        self.own_frames = int(self.config(self.frames_key))
        self.n_frames = self.own_frames if n_frames is None else n_frames
        self.check_frames()

    def read_preprocessing(self) -> None:
        """What is done to a frame."""
        self.preprocessing = PicturePreprocessing.read(self.weights, model=self.title, **self.preprocessing_options)
        size = self.config(self.size_key)
        expected = tuple(size) if isinstance(size, list | tuple) else (size, size)
        self.check_made("pictures", (self.preprocessing.height, self.preprocessing.width), expected)

    def check_frames(self) -> None:
        """Refuse a number of frames that the model cannot take."""
        if self.own_frames != self.n_frames:
            raise EncoderError(
                f"{self.weights.source} looks at {self.own_frames} frames of a clip, got n_frames={self.n_frames}. "
                f"Use --frames {self.own_frames}."
            )

    def input_settings(self) -> Mapping[str, Any]:
        """Preprocessing and frame rule."""
        return {
            "preprocessing": self.preprocessing.to_json(),
            "n_frames": self.n_frames,
            "frame_times": "centres of equal parts",
        }

    def frame_times(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Centres of ``n_frames`` equal parts of the span, shape (n_frames,), seconds."""
        return centres_of_parts(start_s, end_s, self.n_frames)

    def prepare_frame(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop as transformers' own processor does, bit for bit: shape (3, height, width), uint8."""
        return self.preprocessing.resize_and_crop(frame)

    def run(self, clips: Sequence[PreparedClip]) -> tuple[Any, None]:
        """The model's output; all tokens count."""
        pixels = to_device(np.stack([clip.data for clip in clips]), self._device)
        values = self.preprocessing.normalise(pixels)  # (n_clips, n_frames, 3, height, width)
        return self._model(**{self.input_name: values}, **self.forward_options, **self.readout.request), None


class VideoMAEEncoder(VideoTransformer):
    """A pretrained VideoMAE: tubelets of 2 frames, no CLS token.

    Z. Tong, Y. Song, J. Wang, L. Wang (2022), "VideoMAE: Masked Autoencoders are Data-Efficient Learners for
    Self-Supervised Video Pre-Training", arXiv:2203.12602. Its layer -1 is the last hidden state before the final layer
    norm, and the same where the checkpoint has none (``use_mean_pooling``).
    """

    model_types = frozenset({"videomae"})
    class_name = "VideoMAEModel"
    title = "VideoMAE"
    defaults: ClassVar[Mapping[str, Any]] = {**FrozenModel.defaults, "num_frames": 16, "image_size": 224}
    load_options: ClassVar[Mapping[str, Any]] = {"attn_implementation": "sdpa"}


class TimesformerEncoder(VideoTransformer):
    """A pretrained TimeSformer: a CLS token, then the patches of each place through time.

    G. Bertasius, H. Wang, L. Torresani (2021), "Is Space-Time Attention All You Need for Video Understanding?",
    arXiv:2102.05095. Its layer -1 is the last hidden state before the final layer norm.
    """

    model_types = frozenset({"timesformer"})
    class_name = "TimesformerModel"
    title = "TimeSformer"
    has_cls = True
    defaults: ClassVar[Mapping[str, Any]] = {**FrozenModel.defaults, "num_frames": 8, "image_size": 224}

    def check_frames(self) -> None:
        """Refuse a number of frames that the model cannot take, and models that look at single frames."""
        super().check_frames()
        if self.config("attention_type") == "space_only":
            raise EncoderError(
                f"{self.weights.source} looks at each frame alone (attention_type space_only). Expected "
                "divided_space_time or joint_space_time; use a TimeSformer that looks at clips."
            )


class VivitEncoder(VideoTransformer):
    """A pretrained ViViT: a CLS token, then tubelets of 2 frames.

    A. Arnab, M. Dehghani, G. Heigold, C. Sun, M. Lučić, C. Schmid (2021), "ViViT: A Video Vision Transformer",
    arXiv:2103.15691. Its layer -1 is the last hidden state before the final layer norm.
    """

    model_types = frozenset({"vivit"})
    class_name = "VivitModel"
    title = "ViViT"
    has_cls = True
    defaults: ClassVar[Mapping[str, Any]] = {**FrozenModel.defaults, "num_frames": 32, "image_size": 224}
    preprocessing_options: ClassVar[Mapping[str, Any]] = {"rescale": 1 / 127.5, "has_offset": True}
    # published checkpoints are of the classifier, which has no pooler
    load_options: ClassVar[Mapping[str, Any]] = {"attn_implementation": "sdpa", "add_pooling_layer": False}


class VJEPA2Encoder(VideoTransformer):
    """A pretrained V-JEPA 2, its encoder only: tubelets of 2 frames with rotary positions, no CLS token.

    M. Assran et al. (2025), "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning",
    arXiv:2506.09985. Rotary positions take fewer frames than it was trained with too, in whole tubelets. Its layer -1
    is the last hidden state before the final layer norm.
    """

    model_types = frozenset({"vjepa2"})
    class_name = "VJEPA2Model"
    title = "V-JEPA 2"
    gpu_batch_size = 8
    frames_key = "frames_per_clip"
    size_key = "crop_size"
    input_name = "pixel_values_videos"
    defaults: ClassVar[Mapping[str, Any]] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "frames_per_clip": 64,
        "crop_size": 256,
        "tubelet_size": 2,
    }
    # its processor in transformers takes the shorter edge from the crop, whatever the file says
    preprocessing_options: ClassVar[Mapping[str, Any]] = {"edge_of_crop": lambda height: int(height * 256 / 224)}
    forward_options: ClassVar[Mapping[str, Any]] = {"skip_predictor": True}
    load_options: ClassVar[Mapping[str, Any]] = {"attn_implementation": "sdpa"}

    def check_frames(self) -> None:
        """Refuse a number of frames that the model cannot take."""
        tubelet = int(self.config("tubelet_size"))
        if not tubelet <= self.n_frames <= self.own_frames or self.n_frames % tubelet:
            raise EncoderError(
                f"{self.weights.source} looks at up to {self.own_frames} frames of a clip in tubelets of {tubelet}, "
                f"got n_frames={self.n_frames}. Use --frames {self.own_frames}, or fewer that {tubelet} divides."
            )


VIDEO_FAMILIES: tuple[type[VideoTransformer], ...] = (
    VideoMAEEncoder,
    TimesformerEncoder,
    VivitEncoder,
    VJEPA2Encoder,
)
"""Every family of video models that poise can run."""
