"""Promises of importing: settings that do not fit together, or not the source, are told from each other and refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from poise.errors import ImportFormatError
from poise.store import FeatureStore


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Folders with one kind of files each, and one with two."""
    rows = "id,x\na,1\n"
    for name in ("arrays", "npy", "tables", "h5", "mixed", "texts"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "arrays" / "a.npz", emb=np.ones((2, 4)))
    for name in ("npy", "mixed"):
        np.save(tmp_path / name / "a.npy", np.ones((2, 4)))
    for name in ("tables", "mixed"):
        (tmp_path / name / "a.csv").write_text(rows)
    with h5py.File(tmp_path / "h5" / "a.h5", "w") as file:
        file["a"] = np.ones((2, 4))
    (tmp_path / "texts" / "a.txt").write_text("text")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "There is no folder or ZIP at .*nothing"),
        ("npy", {"modality": "audio", "dtype": "float64"}, "'float64'. Expected float16 or float32"),
        ("npy", {"modality": "smell"}, "no modality 'smell'. Expected audio or video"),
        ("arrays", {"key": "emb"}, "key was given without a modality.*--modality"),
        ("arrays", {"encoder": "mine"}, "encoder was given without a modality"),
        ("tables/a.csv", {"id_column": "id"}, "id_column was given without a modality"),
        (
            "tables",
            {"modality": "audio", "end_column": "x"},
            "A column with the end of clips was given without one for their start",
        ),
        ("tables", {"modality": "audio", "key": "x", "columns": ["x"]}, "key names an array, columns is for a table"),
        ("npy", {}, "not known what the features were made from"),
        ("tables", {}, "Say audio or video"),
        ("tables/a.csv", {}, "not known what the features were made from"),
        ("h5/a.h5", {}, "not known what the features were made from"),
        ("arrays", {"modality": "audio"}, "holds no .npy or .h5 or .csv file but 1 .npz.*for .npz give a key too"),
        ("arrays", {"modality": "audio", "id_column": "id"}, "is a folder, and id_column is for a single table"),
        ("arrays", {"modality": "audio", "columns": ["x"]}, "holds no .csv file.*setting columns is for tables"),
        ("arrays/a.npz", {"modality": "audio", "columns": ["x"]}, "does not fit the settings. The setting columns is"),
        ("tables/a.csv", {"modality": "audio", "key": "x"}, "A key is for .npz and HDF5 files"),
        ("npy", {"modality": "audio", "key": "x"}, "holds no .npz or .h5 file but 1 .npy. .*A key is for"),
        ("mixed", {"modality": "audio"}, "holds 1 .npy, 1 .csv / .tsv / .parquet / .pq; it is not clear"),
        ("texts", {"modality": "audio"}, "holds no .npy or .h5 or .csv file. Understood"),
        ("texts/a.txt", {"modality": "audio"}, "neither a folder nor a ZIP"),
        ("texts/a.txt", {}, "neither a folder nor a ZIP"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    source: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    """Before anything is stored, the message says what is wrong, and what to give instead."""
    store = FeatureStore.create(source / "store")
    with pytest.raises(ImportFormatError, match=message):
        store.import_features(source / name, **settings)
    assert store.names() == []


def test_settings_choose_among_two_kinds_of_files(source: Path) -> None:
    """In a folder of arrays and tables, the settings of a table mean the tables."""
    store = FeatureStore.create(source / "store")
    store.import_features(source / "mixed", modality="audio", columns="x")
    assert store.feature_sets()[0].spec["imported"]["layout"] == "table"


def test_a_store_is_no_source(source: Path) -> None:
    """Whoever gives a store is told to open it instead."""
    store = FeatureStore.create(source / "store")
    with pytest.raises(ImportFormatError, match="is a store of poise.*open it as a store"):
        FeatureStore.create(source / "other").import_features(store.path, modality="audio")
