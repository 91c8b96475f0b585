"""A store in one ``.h5`` file: feature sets as groups, each laid out like one segment. It is only read."""

from __future__ import annotations

import json
import os
from pathlib import Path

from poise.errors import StoreDamagedError, StoreNotFoundError, StoreVersionError
from poise.store.format.contents import join_contents
from poise.store.format.hdf5 import LayoutError, child_group, int_attribute, open_hdf5, text_attribute
from poise.store.format.segments import read_contents
from poise.store.identity import KeyCache
from poise.store.index import FeatureSetIndex
from poise.store.schema import FORMAT_VERSION, SET_NAME, Modality, Spec, parse_spec, set_name

KIND = "poise-features"


class ExportedFile:
    """A store that ``export`` wrote.

    Parameters
    ----------
    path : Path
        The file.
    mapped : bool
        Whether numbers are read by mapping it.

    Raises
    ------
    StoreNotFoundError
        There is no such file.
    StoreDamagedError
        It is not an exported store.
    """

    def __init__(self, path: Path, *, mapped: bool = True) -> None:
        self.path = path
        self.keys = KeyCache(None)
        self._mapped = mapped
        self._indexes: dict[str, FeatureSetIndex] = {}
        self._stamp: tuple[int, ...] = ()
        self._names: list[str] = []
        self._look()

    def names(self) -> list[str]:
        """Names of the feature sets in the file."""
        self._look()
        return list(self._names)

    def _look(self) -> None:
        """Read again what there is if the file was replaced."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError as error:
            raise self._missing() from error
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._names, self._indexes = self._read_names(), {}
            self._stamp = stamp

    def index(self, name: str) -> FeatureSetIndex:
        """What a feature set holds.

        Raises
        ------
        StoreNotFoundError
            The file has no such feature set.
        StoreDamagedError
            Its structure is damaged.
        """
        self._look()
        if name not in self._names:
            raise StoreNotFoundError(f"{self.path} has no feature set {name}.")
        if name not in self._indexes:
            try:
                with open_hdf5(self.path) as file:
                    group = child_group(file, name)
                    try:
                        spec = parse_spec(text_attribute(group, "spec"), name)
                    except ValueError as error:
                        raise LayoutError(f"the spec of {name}: {error}") from error
                    contents = join_contents([read_contents(self.path, group, spec, mapped=self._mapped)])
            except FileNotFoundError as error:
                raise self._missing() from error
            except LayoutError as error:
                raise self._damaged(error) from error
            self._indexes[name] = FeatureSetIndex(name, spec, contents)
        return self._indexes[name]

    def modality(self, name: str) -> Modality:
        """What a feature set was made from; see :meth:`index` for what can go wrong."""
        modality: Modality = self.index(name).spec["modality"]
        return modality

    def find(self, spec: Spec) -> FeatureSetIndex | None:
        """The index of the feature set of ``spec``; None if the file does not hold it."""
        self._look()
        name = set_name(spec)
        return self.index(name) if name in self._names else None

    def _read_names(self) -> list[str]:
        try:
            with open_hdf5(self.path) as file:
                if text_attribute(file, "kind") != KIND:
                    raise LayoutError("it is of another kind")
                version = int_attribute(file, "format_version")
                if version != FORMAT_VERSION:
                    raise StoreVersionError(
                        f"{self.path} has the format version {version}, this poise reads {FORMAT_VERSION}."
                    )
                return _parse_names(text_attribute(file, "feature_sets"))
        except FileNotFoundError as error:
            raise self._missing() from error
        except LayoutError as error:
            raise self._damaged(error) from error

    def _missing(self) -> StoreNotFoundError:
        return StoreNotFoundError(f"{self.path} does not exist. Make one with `poise store export`.")

    def _damaged(self, error: Exception) -> StoreDamagedError:
        return StoreDamagedError(
            f"{self.path} is not a store that poise exported, or it is damaged: {error}. HDF5 files of others are read "
            "with `poise store import`; an exported one can be exported again from its store."
        )


def _parse_names(text: str) -> list[str]:
    """Names of the feature sets that the file says it holds."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LayoutError("its list of feature sets is no JSON") from error
    if not isinstance(names, list) or not all(isinstance(n, str) and SET_NAME.fullmatch(n) for n in names):
        raise LayoutError("its list of feature sets holds other things than names")
    return names
