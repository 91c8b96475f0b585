"""Features that other software made, streamed into a store: numpy arrays, HDF5 files and tables."""

from poise.store.importers.importing import import_features, import_npz
from poise.store.importers.report import ImportReport

__all__ = ["ImportReport", "import_features", "import_npz"]
