"""Bundles: one ZIP with a trained head and everything needed to serve it. No pickle, neither in nor out.

What ``bundle.json`` must say lives in ``schema``, bundles of older software in ``legacy``. Building the head and
running it does not live here.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import BundleError, OutputError, StoreWriteError
from poise.heads.classifier import ClipClassifier
from poise.heads.state import HeadState
from poise.serve.archive import MAX_BYTES, MAX_RATIO, SMALL_BYTES, Archive, read_bytes
from poise.serve.card import write_card
from poise.serve.legacy.older import UNKNOWN_AUDIT, UNKNOWN_TRAINING, Older, read_older
from poise.serve.schema import SCHEMA_VERSION, check_document
from poise.serve.tensors import read_tensors, write_tensors
from poise.serve.values import MAX_JSON_BYTES, parse_json
from poise.store.durable import write_durably
from poise.store.schema import Spec, canonical_json
from poise.text import one_line, readable

DOCUMENT, WEIGHTS, CARD = "bundle.json", "head.safetensors", "MODEL_CARD.md"

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes
_LONGEST_REASON = 1000


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
        Verdict, sentence, ladder and warnings: whether those figures are real. The verdict ``unknown`` if nobody
        asked. The sentence and each warning are put on one line.
    training : mapping
        How many recordings and of whom, and a digest of keys and labels; all None where an older bundle does not say.
    versions : mapping of str to str
        Libraries it was trained with.
    converted_from : mapping or None
        Of an older bundle: the ``file`` with its weights, the ``sha256`` of that, how it was saved (``style``) and
        its ``architecture``.
    """

    label_names: tuple[str, ...]
    extraction: dict[str, Spec]
    strategy: str
    head: HeadState
    validation: tuple[Mapping[str, Any], ...]
    audit: Mapping[str, Any]
    training: Mapping[str, Any]
    versions: Mapping[str, str]
    converted_from: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "audit", {name: _on_one_line(value) for name, value in self.audit.items()})

    def to_json(self) -> dict[str, Any]:
        """The content of ``bundle.json``: everything but the arrays of the head."""
        return {
            "schema_version": SCHEMA_VERSION,
            "label_names": list(self.label_names),
            "extraction": self.extraction,
            "strategy": self.strategy,
            "head": self.head.config,
            "validation": list(self.validation),
            "audit": dict(self.audit),
            "training": dict(self.training),
            "versions": dict(self.versions),
            "converted_from": self.converted_from and dict(self.converted_from),
        }

    def card(self) -> str:
        """The model card as Markdown, made anew from what the bundle says: the one in a file is anybody's text."""
        return write_card(self.to_json())


def read_bundle(path: str | os.PathLike[str], *, trust_pickle: bool = False) -> Bundle:
    """Read a bundle, of this or of older software, without running anything in it.

    Parameters
    ----------
    path : path
        A ZIP that :func:`write_bundle` made; or an older one, which holds a ``.pt`` or ``.pth`` file.
    trust_pickle : bool
        Whether an older bundle may hold Python objects. Unpickling them runs whatever code its maker put in, with all
        that you may do; they are unpickled in a process of their own, which protects you from accidents alone.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleError
        The file is not a bundle, is damaged, says what cannot be, or is of a schema that this poise does not know.
    """
    _check_there(path, f"Make one with `poise train MANIFEST --store DIR --out {path}`.")
    with _naming(path):
        archive = Archive.of_bytes(read_bytes(Path(path)))
        if DOCUMENT in archive.files:
            return _read(archive)
        return _convert(read_older(archive, trust_pickle=trust_pickle))


def convert_bundle(old: str | os.PathLike[str], new: str | os.PathLike[str], *, trust_pickle: bool = False) -> Bundle:
    """Write a bundle of older software as one of this.

    Parameters
    ----------
    old : path
        A ZIP that holds a ``.pt`` or ``.pth`` file.
    new : path
        The bundle to write.
    trust_pickle : bool
        As in :func:`read_bundle`.

    Returns
    -------
    Bundle
        What was written: the same predictions, and the verdict ``unknown``.

    Raises
    ------
    BundleError
        The old file is none of older software, or cannot be read.
    OutputError
        The new file cannot be written, or there is another kind of file in its place.
    """
    check_target(Path(new))
    _check_there(old, "Give the ZIP of older software that is to be converted.")
    bundle = read_bundle(old, trust_pickle=trust_pickle)
    if _is_bundle(Path(old)):
        raise BundleError(f"{old} is a bundle of this poise: there is nothing to convert. Use it as it is.")
    write_bundle(new, bundle)
    return bundle


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
    BundleError
        It could not be read again.
    OutputError
        The file cannot be written, or there is another kind of file in its place.
    """
    check_target(Path(path))
    document = bundle.to_json()
    check_document(document)
    ClipClassifier.from_state(bundle.head)
    contents = {
        DOCUMENT: json.dumps(document, indent=2, sort_keys=True, allow_nan=False).encode(),
        WEIGHTS: write_tensors(bundle.head.arrays),
        CARD: bundle.card().encode(),
    }
    if len(contents[DOCUMENT]) > MAX_JSON_BYTES or sum(map(len, contents.values())) > MAX_BYTES:
        raise BundleError(
            f"The model is {sum(map(len, contents.values())):,} bytes, its {DOCUMENT} {len(contents[DOCUMENT]):,}; "
            f"expected at most {MAX_BYTES:,} and {MAX_JSON_BYTES:,}. Take fewer units, components or seeds."
        )
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_durably(Path(path), _pack(contents))
    except (OSError, ValueError) as error:
        reason = error.__cause__ if isinstance(error, StoreWriteError) else error
        raise OutputError(f"The model cannot be written to {path}: {reason}. Give another --out.") from error


def check_target(path: Path) -> None:
    """Refuse to replace anything but a model of this poise: a slip of the hand must not cost a table of labels.

    Raises
    ------
    OutputError
        There is a folder or another kind of file.
    """
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder. Give the name of a file, as model.zip.")
    if os.path.exists(path) and not _is_bundle(path):
        raise OutputError(f"{path} exists and is not a model, so it is left as it is. Give another --out.")


def training_digest(keys: tuple[str, ...], labels: NDArray[np.int64]) -> str:
    """sha256 over the recordings' keys and labels, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(sorted(zip(keys, labels.tolist(), strict=True))).encode()).hexdigest()


def _check_there(path: str | os.PathLike[str], advice: str) -> None:
    """Refuse a place without a file; why another cannot be read is told where it is read."""
    try:
        os.stat(path)
    except FileNotFoundError as error:
        raise BundleError(f"There is no model at {path}. {advice}") from error
    except (OSError, ValueError):
        return


def _on_one_line(value: Any) -> Any:
    """A sentence, or each of a list of them, on one line; whatever else is there as it is."""
    if isinstance(value, list):
        return [one_line(each) if isinstance(each, str) else each for each in value]
    return one_line(value) if isinstance(value, str) else value


def _is_bundle(path: Path) -> bool:
    try:
        return DOCUMENT in Archive.of_bytes(read_bytes(path)).files
    except BundleError:
        return False


def _pack(contents: Mapping[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name, date_time=_ZIP_DATE)
            # what shrinks more than a reader takes for honest is left as it is
            dense = len(content) > SMALL_BYTES and len(content) > MAX_RATIO // 2 * len(zlib.compress(content))
            info.compress_type = zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def _read(archive: Archive) -> Bundle:
    strange = sorted(archive.files.keys() - {DOCUMENT, WEIGHTS, CARD})
    if strange or WEIGHTS not in archive.files:
        why = f"it holds {strange[0]!r}" if strange else f"it has no {WEIGHTS}"
        raise BundleError(f"it is not a model that poise made: {why}. Expected a ZIP of `poise train`")
    document = _read_document(archive)
    content = archive.read(WEIGHTS)
    try:
        arrays = read_tensors(content)
    except BundleError as error:
        raise BundleError(f"{WEIGHTS}: {error}") from error
    if CARD in archive.files:
        archive.read(CARD)  # it is written anew from the document, but a damaged file is damaged
    return Bundle(
        label_names=tuple(document["label_names"]),
        extraction=document["extraction"],
        strategy=document["strategy"],
        head=HeadState(config=document["head"], arrays=arrays),
        validation=tuple(document["validation"]),
        audit=document["audit"],
        training=document["training"],
        versions=document["versions"],
        converted_from=document.get("converted_from"),
    )


def _convert(older: Older) -> Bundle:
    """What an older bundle does not say is not known."""
    return Bundle(
        label_names=older.label_names,
        extraction=older.extraction,
        strategy=older.strategy,
        head=older.head,
        validation=(),
        audit=UNKNOWN_AUDIT,
        training=UNKNOWN_TRAINING,
        versions={},
        converted_from=older.converted_from,
    )


def _read_document(archive: Archive) -> dict[str, Any]:
    size = archive.files[DOCUMENT].file_size
    if size > MAX_JSON_BYTES:
        raise BundleError(f"{DOCUMENT} is {size:,} bytes, expected at most {MAX_JSON_BYTES:,}. It is not read")
    try:
        document = parse_json(archive.read(DOCUMENT))
    except BundleError:
        raise
    except ValueError as error:
        raise BundleError(f"{DOCUMENT} cannot be read: {error}. The file is damaged") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BundleError(
            f"it has the schema version {version!r:.80}, this poise reads {SCHEMA_VERSION}. Use the poise that made it"
        )
    try:
        check_document(document)
    except BundleError as error:
        raise BundleError(f"{DOCUMENT} does not say what it must: {error}. Train the model again") from error
    return dict(document)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in every error."""
    try:
        yield
    except BundleError as error:
        said = readable(str(error), _LONGEST_REASON)
        raise BundleError(f"{path}: {said}{'' if said.endswith('.') else '.'}") from error
