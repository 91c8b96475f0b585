"""Looking at imports, for tests of the importers."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from poise.store import FeatureStore
from poise.store.identity import name_key
from poise.store.importers import ImportReport
from poise.store.index import FeatureSetIndex


def import_into(folder: Path, source: Path, **settings: Any) -> tuple[FeatureStore, ImportReport]:
    """Import with the modality audio, unless the test says another, into the store of this test."""
    store = FeatureStore.create(folder / "store")
    return store, store.import_features(source, **{"modality": "audio", **settings})


def only_set(store: FeatureStore) -> FeatureSetIndex:
    (index,) = store.indexes()
    return index


def stored(store: FeatureStore, name: str) -> np.ndarray:
    """Embeddings of one imported recording."""
    return only_set(store).embeddings(name_key(name))


def reason_of(report: ImportReport, path: str) -> str:
    """Why a file or recording was refused; it was, and once."""
    (reason,) = [reason for failed, reason in report.failed if failed == path]
    return reason


def assert_says(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text
