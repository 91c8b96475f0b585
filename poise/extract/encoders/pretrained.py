"""Loading a frozen model of transformers, and knowing that every weight of it came from its files."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from poise.errors import EncoderError
from poise.extract.encoders.weights import Weights

if TYPE_CHECKING:
    import torch

_NOT_USED_TO_ENCODE = ("masked_spec_embed",)  # only training masks anything
_LOADING = threading.Lock()  # transformers' lazy imports and its global settings


def load_model(weights: Weights, class_name: str, device: torch.device, **options: Any) -> Any:
    """A model of transformers in float32, frozen, in evaluation mode.

    Parameters
    ----------
    weights : Weights
        Its files.
    class_name : str
        Name of its class in transformers, with the module's if transformers does not export it.
    device : torch.device
        Where it is to run.
    **options
        Further arguments of ``from_pretrained``.

    Raises
    ------
    EncoderError
        The files are damaged, do not fit the model, or leave some of its weights out.
    """
    with _LOADING, quiet_transformers() as transformers:
        import torch

        try:
            model, info = _class_of(transformers, class_name).from_pretrained(
                os.fspath(weights.folder),
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=not weights.pickled,
                output_loading_info=True,
                **options,
            )
        except Exception as error:
            # what damaged files raise ranges from KeyError to SafetensorError, without a common base
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EncoderError(
                f"{weights.folder}: the model cannot be loaded: {reason}. Copy the weights again from their origin."
            ) from error
    missing = sorted(name for name in info["missing_keys"] if not name.endswith(_NOT_USED_TO_ENCODE))
    missing += sorted(str(item[0]) for item in info["mismatched_keys"])
    if missing:
        raise EncoderError(
            f"{weights.folder}: {len(missing)} weights of {class_name.rpartition('.')[2]} are not in "
            f"{weights.files[0].name} and would be random: {', '.join(missing[:4])}. Expected all of them; this is a "
            "checkpoint of another model."
        )
    return model.to(device).eval().requires_grad_(requires_grad=False)


def _class_of(transformers: Any, class_name: str) -> Any:
    module, _, name = class_name.rpartition(".")
    return getattr(importlib.import_module(module) if module else transformers, name)


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Transformers without its progress bars and remarks, which are meant for those who train."""
    import transformers
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
