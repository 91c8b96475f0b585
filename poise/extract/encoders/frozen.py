"""What all pretrained transformers have in common: their files, what is read of them, and in what precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from poise.errors import EncoderError
from poise.extract.encoders.base import PreparedClip
from poise.extract.encoders.device import check_precision, computing_in
from poise.extract.encoders.readout import Layers, Readout
from poise.extract.encoders.torch_model import TorchModel
from poise.extract.encoders.weights import Weights

if TYPE_CHECKING:
    import torch


class FrozenModel(TorchModel):
    """A pretrained transformer: its weights are found when it is made and read when it is loaded.

    ``layers`` and ``pooling`` say what is made of the hidden states: the mean over the tokens of the last one by
    default. A CLS token is never part of a mean. Where the model ends with a layer norm, the last hidden state has
    gone through it, and the numbered ones have not, unless the family's own description says otherwise.

    Parameters
    ----------
    weights : Weights
        Its files.
    name : str
        What its feature set is called.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    layers : "last", "all" or sequence of int
        Hidden states, numbered as transformers numbers them: 0 goes into the first block, k comes out of block k,
        negative numbers count from the end.
    pooling : {"mean", "cls", "mean-std"}
        How the tokens of one layer become one vector; ``mean-std`` has the population's standard deviation, and twice
        the length.
    precision : {"float32", "bfloat16", "float16"}
        What it computes in; anything but float32 is for CUDA devices.

    Raises
    ------
    ExtractSettingsError
        The model has no such layer or token, or cannot run in that precision.
    EncoderError
        The checkpoint's preprocessing is not understood, or does not fit the model.
    """

    model_types: ClassVar[frozenset[str]]
    """What ``config.json`` calls models of this family."""
    weights: Weights
    class_name: str
    """Name of the model's class in transformers."""
    defaults: ClassVar[Mapping[str, Any]] = {"hidden_size": 768, "num_hidden_layers": 12}
    """Values of transformers' own configuration, which ``config.json`` leaves out where nothing else is meant."""
    width_key: ClassVar[str] = "hidden_size"
    blocks_key: ClassVar[str] = "num_hidden_layers"
    has_cls: ClassVar[bool] = False
    tokens: ClassVar[str]
    load_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        weights: Weights,
        *,
        name: str,
        device: str = "auto",
        layers: Layers = "last",
        pooling: str = "mean",
        precision: str = "float32",
    ) -> None:
        check_precision(precision, device)
        super().__init__(device=device)
        self.name = name
        self.weights = weights
        self.precision = precision
        self.readout = Readout.choose(
            layers,
            pooling,
            source=weights.source,
            n_blocks=int(self.config(self.blocks_key)),
            width=self.width(layers),
            has_cls=self.has_cls,
            tokens=self.tokens,
        )
        self.dim = self.readout.dim
        self.n_layers = self.readout.n_layers
        self.read_preprocessing()

    @abstractmethod
    def read_preprocessing(self) -> None:
        """Take what the checkpoint's own preprocessor file says, when the encoder is made.

        Raises
        ------
        EncoderError
            It is not understood, or does not fit the model.
        """

    def check_made(self, what: str, made: tuple[int, ...], expected: tuple[int, ...]) -> None:
        """Refuse preprocessing that makes inputs of another size than the model's.

        Raises
        ------
        EncoderError
            The sizes differ.
        """
        if made != expected:
            raise EncoderError(
                f"{self.weights.folder}: the preprocessing makes {what} of {made}, the model expects {expected}. "
                f"Take config.json and {self.weights.preprocessor_file.name} from the same checkpoint."
            )

    def config(self, key: str) -> Any:
        """A value of ``config.json``, or what transformers takes where it is left out."""
        return self.weights.config.get(key, self.defaults.get(key))

    def width(self, layers: Layers) -> int:  # noqa: ARG002
        """Length of one token of the layers."""
        return int(self.config(self.width_key))

    def adapt(self, model: Any) -> None:
        """Change a model that was just loaded, in place; its numbers stay as they are."""

    @abstractmethod
    def run(self, clips: Sequence[PreparedClip]) -> tuple[Any, Sequence[int] | None]:
        """The model's output for clips that may share a batch, and how many tokens of each count, None for all."""

    @abstractmethod
    def input_settings(self) -> Mapping[str, Any]:
        """What changes the numbers before the model sees them, as JSON values."""

    def settings(self) -> Mapping[str, Any]:
        """Weights by content, preprocessing, layers, pooling and precision."""
        return {
            "model_type": str(self.weights.config["model_type"]),
            "weights": self.weights.digest,
            **self.input_settings(),
            **self.readout.settings(),
            "precision": self.precision,
        }

    def build(self, device: torch.device) -> Any:
        """The model of transformers with its weights."""
        from poise.extract.encoders.pretrained import load_model

        check_precision(self.precision, device.type)
        model = load_model(self.weights, self.class_name, device, **self.load_options)
        self.adapt(model)
        return model

    def embed(self, clips: Sequence[PreparedClip]) -> torch.Tensor:
        """Embeddings of clips that may share a batch."""
        with computing_in(self.precision, self._device):
            output, n_tokens = self.run(clips)
        return self.readout.read(output, n_tokens)
