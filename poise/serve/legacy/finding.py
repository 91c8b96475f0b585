"""Which file of an older bundle holds the weights, and what its classes are called.

Looked for as the old software did: a single folder at the top is looked through; then well-known names, other names at
the top in alphabetical order, and names anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from poise.errors import BundleError
from poise.serve.archive import Archive
from poise.serve.values import MAX_JSON_BYTES, check_names, parse_json

WELL_KNOWN = (
    "model.pt",
    "model.pth",
    "checkpoint.pt",
    "checkpoint.pth",
    "weights.pt",
    "artifacts/model.pt",
    "artifacts/checkpoint.pt",
)
CLASS_MAP = "class_map.json"
SCALERS = ("scaler.pkl", "standard_scaler.pkl")

_ENDINGS = (".pt", ".pth")
_PICKLES = (".pkl", ".pickle", ".joblib", ".bin", ".ckpt")
_MOST_CLASSES = 100


def list_files(archive: Archive) -> dict[str, str]:
    """Full names of the files by their names below the top folder, without what a Mac puts beside them."""
    ours = [name for name in archive.files if not _is_litter(name)]
    tops = {name.partition("/")[0] for name in ours}
    inside = len(tops) == 1 and all("/" in name for name in ours)
    return {name.partition("/")[2] if inside else name: name for name in ours}


def find_weights(files: Mapping[str, str]) -> str:
    """Name of the file that holds the weights.

    Parameters
    ----------
    files : mapping of str to str
        What :func:`list_files` gave.

    Raises
    ------
    BundleError
        There is none; the message says what there is instead.
    """
    weights = sorted(name for name in files if name.lower().endswith(_ENDINGS))
    known = [name for name in WELL_KNOWN if name in files]
    top = [name for name in weights if "/" not in name]
    below = sorted(weights, key=lambda name: (not name.lower().endswith(_ENDINGS[0]), name))
    if not weights:
        raise BundleError(_tell_what_else(files))
    return [*known, *top, *below][0]


def read_class_map(archive: Archive, files: Mapping[str, str], weights: str) -> list[str] | None:
    """Names of the classes, or None where no file says them.

    Parameters
    ----------
    archive : Archive
    files : mapping of str to str
        What :func:`list_files` gave.
    weights : str
        The file that holds the weights; a file beside it counts if there is none at the top.

    Raises
    ------
    BundleError
        The file does not say a name for each number from 0 on.
    """
    beside = f"{weights.rpartition('/')[0]}/{CLASS_MAP}"
    name = next((files[place] for place in (CLASS_MAP, beside) if place in files), None)
    if name is None:
        return None
    if archive.files[name].file_size > MAX_JSON_BYTES:
        raise BundleError(f"{name} is longer than {MAX_JSON_BYTES:,} bytes. It is not read")
    try:
        said = parse_json(archive.read(name))
    except BundleError:
        raise
    except ValueError as error:
        raise BundleError(f"{name} cannot be read: {error}") from error
    return order_names(said, name)


def order_names(said: Any, where: str) -> list[str]:
    """Names in the order of their numbers, from ``{"0": name}``, ``{name: 0}`` or ``[name]``.

    Parameters
    ----------
    said : object
    where : str
        For the message.

    Raises
    ------
    BundleError
        It is none of these, or a number is missing or stands twice.
    """
    names: Sequence[Any] = said if isinstance(said, list | tuple) else _order(said) if isinstance(said, dict) else ()
    try:
        check_names(where, names, most=_MOST_CLASSES)
    except BundleError as error:
        raise BundleError(f'{error}; as {{"0": "low", "1": "high"}} or {{"low": 0, "high": 1}}') from error
    return list(names)


def _order(said: Mapping[Any, Any]) -> list[Any]:
    """Names by number; nothing where the numbers are not 0, 1, 2, … or stand on both sides."""
    by_name = [(_number(number), name) for name, number in said.items() if type(number) is int]
    by_number = [(_number(number), name) for number, name in said.items() if isinstance(name, str)]
    for pairs in (by_number, by_name):
        found = dict(pairs)
        if len(pairs) == len(said) and set(found) == set(range(len(said))):
            return [found[number] for number in range(len(said))]
    return []


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else None


def _is_litter(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name.startswith("__MACOSX/") or last.startswith("._") or last in (".DS_Store", "Thumbs.db", "desktop.ini")


def _tell_what_else(files: Mapping[str, str]) -> str:
    expected = "Expected a ZIP of `poise train`, or an older one with a .pt or .pth file"
    if "bundle.json" in files:
        return "it holds a bundle in a folder. Give the ZIP that poise wrote, or pack the files without their folder"
    packed = next((name for name in files if name.lower().endswith(".zip")), None)
    if packed is not None:
        return f"it holds another ZIP, {packed}, and no model. Unpack it, and give the one inside"
    if "data.pkl" in files and "version" in files:
        return (
            "it is a file of torch.save itself. Put it into a ZIP, as model.pt, with its class_map.json, and give that"
        )
    pickle = next((name for name in files if name.lower().endswith(_PICKLES)), None)
    if pickle is not None:
        return f"it holds no .pt or .pth file; {pickle} is a pickle or of unknown kind, which is not read. {expected}"
    return f"it is not a model: it holds {', '.join(sorted(files)[:3]) or 'nothing'}. {expected}"
