"""Where a model runs and in what precision: devices, autocast, copies to a GPU, batches that fit into its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from poise.errors import EncoderError, ExtractSettingsError

if TYPE_CHECKING:
    import torch

ItemT = TypeVar("ItemT")

Precision = Literal["float32", "bfloat16", "float16"]
"""What a model computes in; embeddings are pooled in float32 whatever it is."""


def choose_device(device: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means on this machine.

    Raises
    ------
    EncoderError
        There is no such device.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise EncoderError(
            f"The device {device!r} cannot be used: {reason}. Expected auto, cpu, cuda or cuda:N; use --device auto."
        ) from error
    return chosen


def check_precision(precision: str, device_type: str) -> None:
    """Refuse a precision that there is not, or that the device is slow in.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16"}
        What a model is to compute in.
    device_type : str
        ``cpu``, ``cuda``, or ``auto`` where it is not known yet.

    Raises
    ------
    ExtractSettingsError
        It is not one of these, or not float32 on a processor.
    """
    if precision not in get_args(Precision):
        raise ExtractSettingsError(
            f"There is no precision {precision!r}. Expected one of {', '.join(get_args(Precision))}."
        )
    if precision != "float32" and device_type == "cpu":
        raise ExtractSettingsError(
            f"The precision {precision} is for CUDA devices, and this model is to run on a processor, where it would "
            "be 7 times slower than float32 and less exact. Use float32."
        )


@contextmanager
def exact_inference(device: torch.device) -> Iterator[None]:
    """No gradients, and float32 that is float32: cuDNN would otherwise round inputs of convolutions to 10 bits."""
    import torch

    if device.type == "cpu":
        with torch.inference_mode():
            yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Autocast to ``precision``; nothing at all for float32."""
    import torch

    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, dtype=getattr(torch, precision)):
        yield


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array as a tensor there; to a CUDA device from pinned memory, so that the copy waits for nothing."""
    import torch

    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def encode_fitting(
    encode: Callable[[Sequence[ItemT]], NDArray[np.float32]], items: Sequence[ItemT], *, batch_size: int
) -> tuple[NDArray[np.float32], int]:
    """Encode in batches, halving them each time the device runs out of memory, down to one item.

    Parameters
    ----------
    encode : callable
        From a sequence of n items to an array of n rows.
    items : sequence
        What to encode, at least one.
    batch_size : int
        How many to try first.

    Returns
    -------
    rows : ndarray of shape (len(items), ...), float32
        What ``encode`` made of each item, in their order.
    batch_size : int
        How many fitted at once: the given number, unless that was too much.

    Raises
    ------
    EncoderError
        Not even one item fits.
    """
    import torch

    rows: list[NDArray[np.float32]] = []
    done = 0
    while done < len(items):
        batch = items[done : done + batch_size]
        problem = ""
        try:
            rows.append(encode(batch))
        except torch.OutOfMemoryError as error:
            problem = str(error).splitlines()[0]
        # outside of the except clause: there the error's traceback still holds the tensors that did not fit
        if not problem:
            done += len(batch)
            continue
        if len(batch) == 1:
            raise EncoderError(
                f"Not even one clip fits into the memory of the device: {problem}. Use shorter clips, a smaller model, "
                "or --device cpu."
            )
        batch_size = len(batch) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return np.concatenate(rows), batch_size
