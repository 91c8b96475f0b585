"""What a feature is, and where it lies: the only rooms that know HDF5."""

from poise.store.bags import Bag, Bags, ModalityBags
from poise.store.dataset import BagDataset, PackedClips
from poise.store.importers import ImportReport
from poise.store.index import FeatureSetIndex
from poise.store.schema import Entry, FeatureSet, RecordingFeatures, fingerprint
from poise.store.store import FeatureStore
from poise.store.upkeep.compact import CompactReport
from poise.store.upkeep.heal import HealReport, heal
from poise.store.upkeep.verify import Problem, VerifyReport

__all__ = [
    "Bag",
    "BagDataset",
    "Bags",
    "CompactReport",
    "Entry",
    "FeatureSet",
    "FeatureSetIndex",
    "FeatureStore",
    "HealReport",
    "ImportReport",
    "ModalityBags",
    "PackedClips",
    "Problem",
    "RecordingFeatures",
    "VerifyReport",
    "fingerprint",
    "heal",
]
