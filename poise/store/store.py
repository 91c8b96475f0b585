"""The feature store: a folder with one sub-folder of immutable segments for each feature set.

What a feature set holds is read in :mod:`poise.store.index`, and written in :mod:`poise.store.writer`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from poise.errors import (
    AmbiguousFeatureSetError,
    FeatureSetNotFoundError,
    FeaturesMissingError,
    PoiseError,
    StoreDamagedError,
    StoreNotFoundError,
)
from poise.manifest import Manifest
from poise.store.bags import Bags
from poise.store.durable import is_temporary, remove_leftovers, write_durably, write_error
from poise.store.identity import KeyCache
from poise.store.index import FeatureSetIndex, read_spec, segment_files
from poise.store.lookup import RowFinder
from poise.store.schema import (
    FORMAT_VERSION,
    Entry,
    FeatureSet,
    Modality,
    Spec,
    canonical_json,
    set_name,
    spec_differences,
)
from poise.store.writer import SegmentWriter

MARKER = "poise-store.json"


class FeatureStore:
    """Embeddings of recordings, kept per encoder and settings, safe against crashes.

    Open one with :meth:`open` or :meth:`create`.

    Examples
    --------
    >>> store = FeatureStore.open("features")                       # doctest: +SKIP
    >>> bags = store.load(manifest, video="videomae-base", audio="wavlm-base-plus")  # doctest: +SKIP
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = KeyCache(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Open a store that exists.

        Raises
        ------
        StoreNotFoundError
            There is no store at that path.
        """
        folder = Path(path)
        marker = folder / MARKER
        if not marker.is_file():
            what = "is not a feature store" if folder.exists() else "does not exist"
            raise StoreNotFoundError(
                f"{folder} {what}. Make one with `poise extract MANIFEST --store {folder}` or "
                f"`poise store import SOURCE --store {folder}`."
            )
        try:
            version = json.loads(marker.read_text(encoding="utf-8"))["format_version"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreDamagedError(f"{marker} cannot be read: {error}") from error
        if version != FORMAT_VERSION:
            raise StoreDamagedError(
                f"{folder} has the format version {version}, this poise reads {FORMAT_VERSION}. Use a newer poise."
            )
        return cls(folder)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> FeatureStore:
        """Open a store, making an empty one if there is none.

        Raises
        ------
        StoreWriteError
            The folder cannot be made.
        StoreDamagedError
            The folder holds other things than a store.
        """
        folder = Path(path)
        if not (folder / MARKER).is_file():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                others = [item for item in folder.iterdir() if item.name != MARKER and not is_temporary(item)]
                if others and not (folder / MARKER).is_file():  # another process may have just made it
                    raise StoreDamagedError(
                        f"{folder} holds other files and is not a feature store. Give a new or empty folder."
                    )
                write_durably(folder / MARKER, canonical_json({"format_version": FORMAT_VERSION}).encode())
            except PoiseError:
                raise
            except OSError as error:
                raise write_error(folder, error) from error
        return cls.open(folder)

    def folders(self) -> list[Path]:
        """Folders of the feature sets that hold something, by name."""
        made = (path for path in self.path.iterdir() if (path / "spec.json").is_file())
        return sorted(path for path in made if segment_files(path))

    def indexes(self) -> Iterator[FeatureSetIndex]:
        """The index of every feature set."""
        return (FeatureSetIndex(folder) for folder in self.folders())

    def feature_sets(self) -> list[FeatureSet]:
        """What the store holds, by name."""
        return [index.describe() for index in self.indexes()]

    def entries(self, spec: Spec) -> dict[str, Entry]:
        """What is known of each recording in the feature set of ``spec``, by key; empty if there is none yet."""
        index = self.index(spec)
        return index.entries() if index is not None else {}

    def index(self, spec: Spec) -> FeatureSetIndex | None:
        """The index of the feature set of ``spec``; None if there is none yet."""
        folder = self.path / set_name(spec)
        return FeatureSetIndex(folder) if (folder / "spec.json").is_file() else None

    def writer(self, spec: Spec, on_durable: Callable[[Sequence[str]], None] | None = None) -> SegmentWriter:
        """A writer into the feature set of ``spec``, which is made if there is none yet.

        Parameters
        ----------
        spec : mapping
            Everything that changes the numbers.
        on_durable : callable, optional
            Called with the keys of recordings once they are safe on the disk.

        Raises
        ------
        StoreWriteError
            The store cannot be written.
        StoreDamagedError
            The feature set's spec is not the one that its name says.
        """
        folder = self.path / set_name(spec)
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error
        remove_leftovers(folder)
        if (folder / "spec.json").is_file():
            read_spec(folder)
        else:
            write_durably(folder / "spec.json", canonical_json(spec).encode())
        return SegmentWriter(folder, spec, on_durable)

    def find(self, name: str | None, modality: Modality) -> FeatureSetIndex | None:
        """The one feature set that a name means.

        Parameters
        ----------
        name : str or None
            ``encoder``, ``encoder@fingerprint`` or the start of one; ``none`` for no feature set; None
            for the only one of the modality, if there is any.
        modality : {"video", "audio"}
            What it must be made from.

        Raises
        ------
        FeatureSetNotFoundError
            No feature set answers to the name.
        AmbiguousFeatureSetError
            Several do; the message lists them and how they differ.
        """
        if name == "none":
            return None
        folders = self.folders()
        specs = {folder: read_spec(folder) for folder in folders if name is None or _answers(folder, name)}
        found = [folder for folder, spec in specs.items() if spec["modality"] == modality]
        if not found and name is None:
            return None
        if not found:
            held = ", ".join(folder.name for folder in folders) or "none"
            raise FeatureSetNotFoundError(
                f"{self.path} has no {modality} feature set {name!r}. It holds: {held}. "
                f"Extract it, or choose one with --{modality}."
            )
        if len(found) > 1:
            raise AmbiguousFeatureSetError(_ambiguous({folder: specs[folder] for folder in found}, name, modality))
        return FeatureSetIndex(found[0])

    def load(self, manifest: Manifest, *, video: str | None = None, audio: str | None = None) -> Bags:
        """Features of every recording of a manifest, aligned with its rows.

        Parameters
        ----------
        manifest : Manifest
            The recordings. A media file need not be on this machine: then its path as given counts.
        video, audio : str, optional
            Feature set of each modality, see :meth:`find`.

        Returns
        -------
        Bags
            A recording whose modality is missing, or that could not be read, has no clips there.

        Raises
        ------
        FeaturesMissingError
            A recording was never extracted, or its file changed since.
        FeatureSetNotFoundError, AmbiguousFeatureSetError
            See :meth:`find`.
        """
        names: dict[Modality, str | None] = {"video": video, "audio": audio}
        found = {modality: self.find(name, modality) for modality, name in names.items()}
        chosen = {modality: index for modality, index in found.items() if index is not None}
        if not chosen:
            raise FeatureSetNotFoundError(
                f"{self.path} has no feature set to load. Run `poise extract` or `poise store import` first."
            )
        rows = {
            modality: RowFinder(index.entries(), self.keys, imported="imported" in index.spec).keys(manifest)
            for modality, index in chosen.items()
        }
        for modality, keys in rows.items():
            unknown = [row for row, key in enumerate(keys) if key is None]
            if unknown:
                raise FeaturesMissingError(_missing(chosen[modality], manifest, unknown))
        return Bags(
            keys=tuple(str(key) for key in next(iter(rows.values()))),
            modalities={modality: chosen[modality].load(rows[modality]) for modality in chosen},
        )


def _answers(folder: Path, name: str) -> bool:
    """Whether a name means this feature set; all of it is in the folder's name, which the spec is checked against."""
    encoder = folder.name.rpartition("@")[0]
    return name == encoder or ("@" in name and folder.name.startswith(name))


def _ambiguous(found: Mapping[Path, Spec], name: str | None, modality: str) -> str:
    first, *others = found
    lines = [f"Several {modality} feature sets are there:" if name is None else f"{name!r} names several feature sets:"]
    lines += [f"  {folder.name}" for folder in found]
    for other in others:
        shown = spec_differences(found[first], found[other])[:6]
        lines.append(f"  {first.name} / {other.name} differ in {'; '.join(shown)}")
    lines.append(f"Choose one with --{modality} {first.name}")
    return "\n".join(lines)


def _missing(index: FeatureSetIndex, manifest: Manifest, rows: Sequence[int]) -> str:
    remedy = (
        "Import them, or correct the file names."
        if "imported" in index.spec
        else ("Each was never extracted, or its file changed since. Run `poise extract` on this manifest again.")
    )
    return (
        f"{len(rows)} of {len(manifest)} recordings have no features in {index.folder}: "
        f"{manifest.lines(rows)}. {remedy}"
    )
