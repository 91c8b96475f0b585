"""An older bundle, read: its network as a head of poise, and what is known and what is not of how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from poise.errors import BundleError
from poise.heads.state import HeadState
from poise.serve.archive import Archive
from poise.serve.legacy.checkpoint import Checkpoint, ObjectsRefusedError, read_checkpoint
from poise.serve.legacy.finding import SCALERS, find_weights, list_files, order_names, read_class_map
from poise.serve.legacy.networks import recognise, scale
from poise.serve.legacy.recipe import make_specs
from poise.serve.legacy.unpickling import SCALER, WEIGHTS, unpickle

UNKNOWN_AUDIT: Mapping[str, Any] = {
    "verdict": "unknown",
    "sentence": "Unknown: this model was made by older software, which kept no record of how it was validated. Nobody "
    "can tell from the file how well it does on people it has not heard.",
    "ladder": [],
    "warnings": [],
}
"""The audit of a model that nobody audited."""

UNKNOWN_TRAINING: Mapping[str, Any] = {"n_recordings": None, "n_copies": None, "n_speakers": None, "digest": None}
"""What an older bundle says of its training set."""

MAX_BYTES = 1 << 27
"""No file of weights is larger: 4096 units of attention and as many hidden ones take half of it."""

_CONSENT = (
    "Unpickling it would run whatever code its maker put in, so it is not read. Have it saved again where it was "
    'trained, with torch.save({"state_dict": model.state_dict()}, "model.pt"). Or, if you made it yourself or trust '
    "its maker as you trust a program that you run: poise bundle convert OLD --out NEW --trust-pickle"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Older:
    """What an older bundle gives.

    Attributes
    ----------
    label_names : tuple of str
    extraction : dict of str to dict
        Assumed; see :mod:`poise.serve.legacy.recipe`.
    strategy : str
    head : HeadState
    converted_from : dict
        ``file``, its ``sha256``, ``style`` and ``architecture``.
    """

    label_names: tuple[str, ...]
    extraction: dict[str, Any]
    strategy: str
    head: HeadState
    converted_from: dict[str, Any]


def read_older(archive: Archive, *, trust_pickle: bool = False) -> Older:
    """Read a bundle of older software.

    Parameters
    ----------
    archive : Archive
    trust_pickle : bool
        Whether Python objects in it may be unpickled, in a process of their own.

    Raises
    ------
    BundleError
        It is none, is damaged, holds objects without consent, or a network that is not known.
    """
    files = list_files(archive)
    name = find_weights(files)
    content = _read_file(archive, files[name])
    scalers = {place: _read_file(archive, files[place]) for place in SCALERS if place in files}
    try:
        found = _read(content, scalers, trust_pickle=trust_pickle)
        network = recognise(found)
        names = _name_classes(archive, files, name, found, network.n_classes)
    except BundleError as error:
        raise BundleError(f"{name}: {error}") from error
    return Older(
        label_names=tuple(names),
        extraction=make_specs(),
        strategy=str(network.strategy),
        head=network.head,
        converted_from={
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "style": found.style,
            "architecture": network.architecture,
        },
    )


def _read_file(archive: Archive, name: str) -> bytes:
    size = archive.files[name].file_size
    if size > MAX_BYTES:
        raise BundleError(f"{name} is {size:,} bytes, expected at most {MAX_BYTES:,}. It is not read")
    return archive.read(name)


def _read(content: bytes, scalers: Mapping[str, bytes], *, trust_pickle: bool) -> Checkpoint:
    """The weights, those of a scaler worked into them."""
    if scalers and not trust_pickle:
        raise BundleError(f"{next(iter(scalers))} beside it is a pickle, and changes what the network sees. {_CONSENT}")
    pickles = {SCALER: next(iter(scalers.values()))} if scalers else {}
    found: Checkpoint | None = None
    try:
        found = read_checkpoint(content)
    except ObjectsRefusedError as error:
        if not trust_pickle:
            raise BundleError(f"{error}. {_CONSENT}") from error
        pickles[WEIGHTS] = content
    unpickled, scaler = unpickle(pickles) if pickles else (None, None)
    found = found or unpickled
    if found is None:
        raise BundleError("it holds no weights")
    return found if scaler is None else replace(found, weights=scale(found.weights, *scaler))


def _name_classes(archive: Archive, files: Mapping[str, str], name: str, found: Checkpoint, n: int) -> list[str]:
    """Names from the file beside the weights, else from the weights, else numbers as the old training wrote them."""
    names = read_class_map(archive, files, name)
    if names is None and found.class_names is not None:
        names = order_names(found.class_names, "aux.class_names")
    if names is None:
        return [f"class_{number}" for number in range(n)]
    if len(names) != n:
        raise BundleError(f"its network tells {n} classes apart, but {len(names)} have names: {', '.join(names)[:200]}")
    return names
