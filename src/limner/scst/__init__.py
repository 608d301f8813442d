"""Self-critical sequence training of captioners: sampler x baseline x reward x end-token rule x loss, by config."""

from limner.scst.phase import SCST

__all__ = ["SCST"]
