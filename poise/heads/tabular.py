"""Heads that see one row for each recording: standardised, and given to a model that learns from tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poise.heads.inputs import as_table
from poise.heads.problem import even_shares
from poise.heads.scaling import Projection, Standardiser
from poise.heads.state import part_of
from poise.store.bags import Bags


class TableModel(Protocol):
    """What learns from a table of standardised rows."""

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of shape (n, n_classes) from rows of shape (n, n_features)."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularHead:
    """A model and what its columns go through before.

    Attributes
    ----------
    standardiser : Standardiser
    projection : Projection or None
        Principal components that the model sees in place of the columns.
    model : TableModel
    """

    standardiser: Standardiser
    projection: Projection | None = None
    model: TableModel

    def predict_proba(self, inputs: Bags) -> NDArray[np.float64]:
        """Probabilities of shape (n_recordings, n_classes)."""
        X = self.standardiser.transform(as_table(inputs))
        return self.model.predict_proba(self.projection.transform(X) if self.projection else X)

    def attention(self, inputs: Bags) -> dict[str, NDArray[np.float64]]:
        """Every row counts alike."""
        return even_shares(inputs)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Learnt numbers by name."""
        scaling = {f"standardiser.{name}": array for name, array in self.standardiser.arrays().items()}
        axes = self.projection.arrays() if self.projection else {}
        return scaling | {f"projection.{name}": array for name, array in axes.items()} | self.model.arrays()


def read_scaling(arrays: Mapping[str, NDArray[Any]], *, n_features: int) -> tuple[Standardiser, Projection | None, int]:
    """What a head that gave these arrays does to so many columns, and how many its model sees."""
    standardiser = Standardiser.from_arrays(part_of(arrays, "standardiser"), n_features=n_features)
    axes = part_of(arrays, "projection")
    if not axes:
        return standardiser, None, len(standardiser.kept)
    projection = Projection.from_arrays(axes, n_features=len(standardiser.kept))
    return standardiser, projection, projection.components.shape[1]
