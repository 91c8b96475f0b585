"""Bundles: one ZIP with a trained head and everything needed to serve it. No pickle, neither in nor out.

What ``bundle.json`` must say lives in ``schema``; building the head and running it does not live here.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, OutputError, StoreWriteError
from poise.heads.state import HeadState
from poise.serve.card import write_card
from poise.serve.schema import SCHEMA_VERSION, check_document, parse_json
from poise.store.durable import write_durably
from poise.store.schema import Spec, canonical_json

_NAMES = re.compile(r"bundle\.json|head\.safetensors|MODEL_CARD\.md")
_MAX_ENTRIES = 8
_MAX_BYTES = 1 << 30
_MAX_JSON_BYTES = 1 << 20
_MAX_RATIO = 200
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A trained head with everything needed to serve it.

    Attributes
    ----------
    label_names : tuple of str
        Names of the levels, lowest first.
    extraction : dict of str to mapping
        Spec of the feature set of each modality that the head reads.
    strategy : str
        How the head was made, as ``mean/early/logistic``.
    head : HeadState
        The fitted head.
    validation : tuple of mapping
        Lines of the leaderboard: how the strategy was validated, and the baselines beside it.
    audit : mapping
        Verdict, sentence and ladder: whether those figures are real.
    training : mapping
        How many recordings and of whom, and a digest of keys and labels.
    versions : mapping of str to str
        Libraries it was trained with.
    """

    label_names: tuple[str, ...]
    extraction: dict[str, Spec]
    strategy: str
    head: HeadState
    validation: tuple[Mapping[str, Any], ...]
    audit: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, str]


def write_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write a bundle; the same bundle always gives the same bytes.

    Parameters
    ----------
    path : path
        A file ending in ``.zip``; an older one is replaced once the new one is whole.
    bundle : Bundle
        What to write.

    Raises
    ------
    OutputError
        The file cannot be written, or there is another kind of file in its place.
    """
    import safetensors.numpy

    check_target(Path(path))
    document = {
        "schema_version": SCHEMA_VERSION,
        "label_names": list(bundle.label_names),
        "extraction": bundle.extraction,
        "strategy": bundle.strategy,
        "head": bundle.head.config,
        "validation": list(bundle.validation),
        "audit": dict(bundle.audit),
        "training": dict(bundle.training),
        "versions": dict(bundle.versions),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(bundle.head.arrays.items())}
    contents = {
        "bundle.json": json.dumps(document, indent=2, sort_keys=True, allow_nan=False).encode(),
        "head.safetensors": safetensors.numpy.save(arrays),
        "MODEL_CARD.md": write_card(document).encode(),
    }
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name, date_time=_ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_durably(Path(path), buffer.getvalue())
    except OSError as error:
        reason = error.__cause__ if isinstance(error, StoreWriteError) else error
        raise OutputError(f"The model cannot be written to {path}: {reason}. Give another --out.") from error


def check_target(path: Path) -> None:
    """Refuse to replace anything but an older model: a slip of the hand must not cost a table of labels.

    Raises
    ------
    OutputError
        There is a folder or another kind of file.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file, as model.zip.")
    if path.exists() and not _is_bundle(path):
        raise OutputError(f"{path} exists and is not a model, so it is left as it is. Give another --out.")


def _is_bundle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "bundle.json" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle without running anything in it.

    Parameters
    ----------
    path : path
        A ZIP that :func:`write_bundle` made.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        The file is not a bundle, is damaged, or is of a schema that this poise does not know.
    """
    contents = _read_members(Path(path))
    document = _read_document(path, contents)
    return Bundle(
        label_names=tuple(document["label_names"]),
        extraction=document["extraction"],
        strategy=document["strategy"],
        head=HeadState(config=document["head"], arrays=_read_arrays(path, contents)),
        validation=tuple(document["validation"]),
        audit=document["audit"],
        training=document["training"],
        versions=document["versions"],
    )


def training_digest(keys: tuple[str, ...], labels: NDArray[np.int64]) -> str:
    """sha256 over the recordings' keys and labels, 64 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(canonical_json(sorted(zip(keys, labels.tolist(), strict=True))).encode()).hexdigest()


def _read_members(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise BundleError(
            f"There is no model at {path}. Make one with `poise train MANIFEST --store DIR --out {path}`."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_members(path, members)
            return {info.filename: _read_member(path, archive, info) for info in members}
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{path} is not a model that poise made: {error}. Expected a ZIP from `poise train`."
        ) from error


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in members]
    strange = [name for name in names if not _NAMES.fullmatch(name)]
    if strange:
        raise BundleError(
            f"{path} is not a model that poise made: it holds {strange[0]!r}. Expected a ZIP from `poise train`."
        )
    if len(names) > _MAX_ENTRIES or len(set(names)) != len(names):
        raise BundleError(f"{path} is not a model that poise made: {len(names)} files, some with the same name.")
    lacking = {"bundle.json", "head.safetensors"} - set(names)
    if lacking:
        raise BundleError(f"{path} is not a model that poise made: it has no {', '.join(sorted(lacking))}.")
    for info in members:
        ratio = info.file_size / max(info.compress_size, 1)
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{path}: {info.filename} is encrypted or compressed in an unusual way. It is not read.")
        if info.file_size > _MAX_BYTES or (ratio > _MAX_RATIO and info.file_size > _MAX_JSON_BYTES):
            raise BundleError(f"{path}: {info.filename} would unpack to {info.file_size:,} bytes. It is not read.")
    if sum(info.file_size for info in members) > _MAX_BYTES:
        raise BundleError(f"{path} would unpack to more than {_MAX_BYTES:,} bytes. It is not read.")


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise BundleError(
            f"{path}: {info.filename} is {len(content):,} bytes, expected {info.file_size:,}. It is damaged."
        )
    return content


def _read_document(path: str | os.PathLike[str], contents: Mapping[str, bytes]) -> dict[str, Any]:
    if len(contents["bundle.json"]) > _MAX_JSON_BYTES:
        raise BundleError(f"{path}: bundle.json is larger than {_MAX_JSON_BYTES:,} bytes. It is not read.")
    try:
        document = parse_json(contents["bundle.json"])
    except ValueError as error:
        raise BundleError(f"{path}: bundle.json cannot be read: {error}. The file is damaged.") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BundleError(
            f"{path} has the schema version {version!r}, this poise reads {SCHEMA_VERSION}. Use the poise that made it."
        )
    try:
        check_document(document)
    except BundleError as error:
        raise BundleError(f"{path}: bundle.json does not say what it must: {error}. Train the model again.") from error
    return dict(document)


def _read_arrays(path: str | os.PathLike[str], contents: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    import safetensors
    import safetensors.numpy

    content = contents["head.safetensors"]
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
        parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])  # the library takes the last of two
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: head.safetensors cannot be read: {error}. The file is damaged.") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BundleError(f"{path}: the weights {name!r} are not finite. Train the model again.")
    return arrays
