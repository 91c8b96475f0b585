"""What an import did. Nothing here reads or stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What :func:`~poise.store.importers.import_features` did.

    Attributes
    ----------
    n_stored, n_already : int
        Recordings that were stored now, and that were there before.
    n_clips : int
        Clips of the recordings stored now.
    failed : tuple of (str, str)
        Files and recordings that were refused, each with the reason.
    feature_sets : tuple of str
        Where the features are now.
    columns : tuple of str
        Columns of a table that were taken as features; empty for arrays, which have no names.
    """

    n_stored: int
    n_already: int
    n_clips: int
    failed: tuple[tuple[str, str], ...]
    feature_sets: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As ``poise store import --json`` prints it."""
        return {
            "stored": self.n_stored,
            "already": self.n_already,
            "failed": len(self.failed),
            "n_clips": self.n_clips,
            "feature_sets": list(self.feature_sets),
            "columns": list(self.columns),
            "problems": [{"path": path, "reason": reason} for path, reason in self.failed],
        }
