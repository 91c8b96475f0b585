"""How one import is to be done: what the caller asked for, checked, and what is known of every recording before it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from poise.errors import ImportFormatError
from poise.store.runs import describe_run
from poise.store.schema import DTYPES, Modality, canonical_json


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """The settings of :func:`~poise.store.importers.import_features`, which explains them.

    Raises
    ------
    ImportFormatError
        They do not fit together, or one has a value that it cannot have.
    """

    collection: str | None = None
    encoder: str | None = None
    key: str | None = None
    modality: Modality | None = None
    id_column: str | None = None
    start_column: str | None = None
    end_column: str | None = None
    columns: tuple[str, ...] | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ImportFormatError(f"Features cannot be stored as {self.dtype!r}. Expected {' or '.join(DTYPES)}.")
        if self.modality is not None and self.modality not in get_args(Modality):
            raise ImportFormatError(f"There is no modality {self.modality!r}. Expected audio or video.")
        for name in ("key", "encoder", *self._given(self._table_settings)):
            if getattr(self, name) is not None and self.modality is None:
                raise ImportFormatError(
                    f"{name} was given without a modality. Say what the features were made from: audio or video "
                    "(--modality)."
                )
        if self.end_column is not None and self.start_column is None:
            raise ImportFormatError(
                "A column with the end of clips was given without one for their start. Give both (--start, --end), or "
                "only the start."
            )
        if self.key is not None and self.table_settings:
            raise ImportFormatError(
                f"key names an array, {self.table_settings[0]} is for a table; give one or the other."
            )

    _table_settings = ("id_column", "start_column", "end_column", "columns")

    @property
    def table_settings(self) -> list[str]:
        """Names of the given settings that only tables have."""
        return self._given(self._table_settings)

    @property
    def times(self) -> tuple[str, ...]:
        """The columns of a table that hold times: none, the start, or start and end."""
        return tuple(name for name in (self.start_column, self.end_column) if name is not None)

    def chosen_modality(self) -> Modality:
        """What the features were made from.

        Raises
        ------
        ImportFormatError
            It was not said.
        """
        if self.modality is None:
            raise ImportFormatError(
                "It is not known what the features were made from. Say audio or video (modality, --modality)."
            )
        return self.modality

    def _given(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, kw_only=True)
class ImportPlan:
    """What is known of an import before its first recording is read.

    Attributes
    ----------
    source : Path
        Where the features are.
    options : ImportOptions
        What the caller asked for.
    layout : str
        ``npz``, ``npy``, ``hdf5`` or ``table``.
    encoders : mapping of modality to str
        What the encoder of each modality is called.
    expected : str
        What such a source must look like, for people.
    nothing : str
        Why nothing was found if there is no recording at all.
    columns : tuple of str, optional
        Columns of a table, in the order of the features.
    """

    source: Path
    options: ImportOptions
    layout: str
    encoders: Mapping[Modality, str]
    expected: str
    nothing: str
    columns: tuple[str, ...] | None = None

    def spec(self, modality: Modality, shape: tuple[int, ...]) -> dict[str, Any]:
        """The spec of imported features: what is known of them, and that the rest is not.

        Parameters
        ----------
        modality : {"video", "audio"}
            One of those in ``encoders``.
        shape : tuple of int
            Shape of one clip's embedding, ``(dim,)`` or ``(n_layers, dim)``.
        """
        encoder: dict[str, Any] = {"name": self.encoders[modality], "dim": shape[-1]}
        if len(shape) > 1:
            encoder["n_layers"] = shape[0]
        imported = {"collection": self.options.collection or source_name(self.source), "layout": self.layout}
        if self.options.key is not None:
            imported["key"] = self.options.key
        if self.columns is not None:
            imported["columns_sha256"] = hashlib.sha256(canonical_json(list(self.columns)).encode()).hexdigest()
        return {
            "schema": 1,
            "modality": modality,
            "encoder": encoder,
            "imported": imported,
            "dtype": self.options.dtype,
        }

    def describe(self, run: str) -> str:
        """The description of the run as JSON, with every column by name.

        Parameters
        ----------
        run : str
            Name of the run.
        """
        facts: dict[str, Any] = {"source": os.path.basename(os.path.abspath(self.source)), "layout": self.layout}
        for name in ("key", "id_column", "start_column", "end_column"):
            if getattr(self.options, name) is not None:
                facts[name] = getattr(self.options, name)
        if self.columns is not None:
            facts["columns"] = list(self.columns)
        return describe_run(run=run, command="import", **facts)


def one_encoder(source: Path, options: ImportOptions) -> dict[Modality, str]:
    """The one modality of an import, with the name of its encoder: as given, else the key, else the source's name."""
    return {options.chosen_modality(): options.encoder or options.key or source_name(source)}


def source_name(source: Path) -> str:
    """Name of a source without its ending, also of ``.``."""
    return Path(os.path.abspath(source)).stem or "imported"
