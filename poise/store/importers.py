"""Reading features that other software made, from ``.npz`` files with one recording each, into a store."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import ImportFormatError, InvalidFeaturesError
from poise.store.identity import name_key
from poise.store.index import FeatureSetIndex
from poise.store.schema import Entry, Modality, RecordingFeatures
from poise.store.store import FeatureStore

_DIM = 768
_ENCODERS: dict[Modality, str] = {"video": "videomae-base", "audio": "wavlm-base-plus"}
_MAX_FILE_BYTES = 1 << 30
_TOO_LARGE = "larger than 1 GB"

UNDERSTOOD = "`clips` (n, 1536) = video 768 ++ audio 768, or `vmae` and / or `wavl` (768,)"


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What :func:`import_npz` did.

    Attributes
    ----------
    n_stored, n_already : int
        Recordings that were stored now, and that were there before.
    n_clips : int
        Clips of the recordings stored now.
    failed : tuple of (str, str)
        Files that were refused, each with the reason.
    feature_sets : tuple of str
        Where the features are now.
    """

    n_stored: int
    n_already: int
    n_clips: int
    failed: tuple[tuple[str, str], ...]
    feature_sets: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``poise store import --json`` prints it."""
        return {
            "stored": self.n_stored,
            "already": self.n_already,
            "failed": len(self.failed),
            "n_clips": self.n_clips,
            "feature_sets": list(self.feature_sets),
            "problems": [{"path": path, "reason": reason} for path, reason in self.failed],
        }


def import_npz(store: FeatureStore, source: Path, *, collection: str | None = None) -> ImportReport:
    """Import a folder or ZIP of ``.npz`` files, one for each recording.

    Understood are ``clips`` of shape (n_clips, 1536), VideoMAE's 768 numbers and then WavLM's 768, and
    the means ``vmae`` and ``wavl`` of shape (768,). The file's name without its ending is the recording's name.

    Parameters
    ----------
    store : FeatureStore
        Where the features go, as feature sets ``videomae-base`` and ``wavlm-base-plus`` marked imported.
    source : Path
        A folder or a ZIP.
    collection : str, optional
        Name of the collection, which keeps features of different origin apart. Default: the name of ``source``.

    Returns
    -------
    ImportReport

    Raises
    ------
    ImportFormatError
        ``source`` is neither a folder nor a ZIP, or none of its files is understood.
    """
    specs = {modality: import_spec(modality, collection or source.stem) for modality in _ENCODERS}
    writers = {modality: store.writer(spec) for modality, spec in specs.items()}
    old = {modality: store.index(spec) for modality, spec in specs.items()}
    known = {modality: index.entries() if index is not None else {} for modality, index in old.items()}
    failed: list[tuple[str, str]] = []
    n_stored = n_already = n_clips = 0
    seen: dict[str, str] = {}
    for name, content in _npz_files(source):
        try:
            arrays = _read_arrays(content)
            stem = PurePosixPath(name).stem
            if stem in seen:
                raise ImportFormatError(f"{seen[stem]} has the same name; recordings are told apart by it")
            seen[stem] = name
            new = {m: _features(name, array) for m, array in arrays.items() if _is_new(known[m], old[m], name, array)}
            for features in new.values():
                features.check("float32")
        except (ImportFormatError, InvalidFeaturesError) as error:
            failed.append((name, str(error)))
            continue
        for modality, features in new.items():
            writers[modality].add(features)
        is_new = bool(new)
        n_stored, n_already = n_stored + is_new, n_already + (not is_new)
        n_clips += is_new * max(len(array) for array in arrays.values())
    for writer in writers.values():
        writer.close()
    if not n_stored and not n_already:
        shown = "; ".join(f"{name}: {reason}" for name, reason in failed[:3]) or "it holds no .npz file"
        raise ImportFormatError(f"Nothing in {source} can be imported: {shown}. Understood are .npz with {UNDERSTOOD}.")
    return ImportReport(
        n_stored=n_stored,
        n_already=n_already,
        n_clips=n_clips,
        failed=tuple(failed),
        feature_sets=tuple(writer.folder.name for writer in writers.values()),
    )


def import_spec(modality: Modality, collection: str) -> dict[str, Any]:
    """The spec of imported features: what is known of them, and that the rest is not."""
    return {
        "schema": 1,
        "modality": modality,
        "encoder": {"name": _ENCODERS[modality], "dim": _DIM},
        "imported": {"collection": collection, "layout": "npz"},
        "dtype": "float32",
    }


def _is_new(known: Mapping[str, Entry], old: FeatureSetIndex | None, name: str, array: NDArray[np.float32]) -> bool:
    key = name_key(PurePosixPath(name).stem)
    if old is None or key not in known or known[key].outcome != ("stored" if len(array) else "missing"):
        return True
    if not np.array_equal(old.load([key]).values, array):
        raise ImportFormatError("the store has other values under this name; import it as another --collection")
    return False


def _features(name: str, array: NDArray[np.float32]) -> RecordingFeatures:
    return RecordingFeatures(
        key=name_key(PurePosixPath(name).stem),
        path=name,
        duration_s=float("nan"),
        outcome="stored" if len(array) else "missing",
        embeddings=array,
        clip_times=np.full((len(array), 2), np.nan),
        reason="" if len(array) else "not in the imported file",
    )


def _npz_files(source: Path) -> Iterator[tuple[str, bytes | str]]:
    """Name and content of every .npz file; a text in place of the content is the reason why it has none."""
    if source.is_dir():
        for path in sorted(source.rglob("*.npz")):
            yield path.relative_to(source).as_posix(), _read_file(path)
        return
    if not source.is_file():
        raise ImportFormatError(f"There is no folder or ZIP at {source}.")
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(info.filename).parts)
                if info.filename.endswith(".npz") and not hidden:
                    yield info.filename, _read_member(archive, info)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise ImportFormatError(f"{source} is neither a folder nor a ZIP that can be read: {error}.") from error


def _read_file(path: Path) -> bytes | str:
    try:
        if not path.is_file():  # a pipe would be waited on for ever
            return "not a regular file"
        return path.read_bytes() if path.stat().st_size <= _MAX_FILE_BYTES else _TOO_LARGE
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | str:
    if info.file_size > _MAX_FILE_BYTES:
        return _TOO_LARGE
    try:
        return archive.read(info)
    except Exception as error:  # noqa: BLE001  each way of compressing has errors of its own
        return f"cannot be unpacked: {_first_line(error)}"


def _read_arrays(content: bytes | str) -> dict[Modality, NDArray[np.float32]]:
    """The two modalities of one file, each (n_clips, 768); no clips where it is missing."""
    if isinstance(content, str):
        raise ImportFormatError(content)
    try:
        arrays = _load_npz(content)
    except ImportFormatError:
        raise
    except Exception as error:  # what foreign bytes do to a parser is that file's affair
        raise ImportFormatError(f"not an .npz that can be read: {_first_line(error)}") from error
    clips = arrays.get("clips")
    if clips is not None and clips.ndim == 2 and clips.shape[1] == 2 * _DIM and len(clips) and _is_float(clips):
        return {"video": clips[:, :_DIM].astype(np.float32), "audio": clips[:, _DIM:].astype(np.float32)}
    means = {key: arrays[key] for key in ("vmae", "wavl") if key in arrays}
    if clips is None and means and all(mean.shape == (_DIM,) and _is_float(mean) for mean in means.values()):
        empty = np.empty((0, _DIM), np.float32)
        video, audio = (means[key][None].astype(np.float32) if key in means else empty for key in ("vmae", "wavl"))
        return {"video": video, "audio": audio}
    held = ", ".join(f"`{key}` {array.shape} {array.dtype}" for key, array in arrays.items()) or "nothing"
    raise ImportFormatError(f"it holds {held}; expected {UNDERSTOOD}")


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f"


def _load_npz(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz, unpacked only as far as its own directory says that they are small."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(info.file_size for info in archive.infolist()) > _MAX_FILE_BYTES:
            raise ImportFormatError(_TOO_LARGE)
        return {info.filename.removesuffix(".npy"): _load_npy(archive.read(info)) for info in archive.infolist()}


def _load_npy(content: bytes) -> NDArray[Any]:
    """One array, after its header was held against its bytes: it may claim any size."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ImportFormatError("not an .npz that can be read: it holds Python objects, which are never loaded")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ImportFormatError(f"not an .npz that can be read: {shape} {dtype} is not what its bytes hold")
    values = np.frombuffer(content, dtype=dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
