"""Region features on disk: read them, write them, check them, convert old ones."""

from limner.data.features.check import check
from limner.data.features.convert import convert
from limner.data.features.store import FeatureStore, Regions
from limner.data.features.writer import FeatureWriter

__all__ = ["FeatureStore", "FeatureWriter", "Regions", "check", "convert"]
