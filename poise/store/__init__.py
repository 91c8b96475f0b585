"""What a feature is, and where it lies: the only rooms that know HDF5."""

from poise.store.bags import Bag, Bags, ModalityBags
from poise.store.importers import ImportReport, import_npz
from poise.store.schema import Entry, FeatureSet, RecordingFeatures, fingerprint
from poise.store.store import FeatureStore
from poise.store.verify import Problem, VerifyReport, verify

__all__ = [
    "Bag",
    "Bags",
    "Entry",
    "FeatureSet",
    "FeatureStore",
    "ImportReport",
    "ModalityBags",
    "Problem",
    "RecordingFeatures",
    "VerifyReport",
    "fingerprint",
    "import_npz",
    "verify",
]
