"""Decoding: from a step function to captions. Knows no model, no vocabulary but its ids, no Lightning."""

from limner.decode.beam import Beam
from limner.decode.diverse import DiverseBeam
from limner.decode.ensemble import ensemble
from limner.decode.greedy import Greedy
from limner.decode.result import Decoded, live_rows
from limner.decode.sample import Sample
from limner.decode.state import select

__all__ = ["Beam", "Decoded", "DiverseBeam", "Greedy", "Sample", "ensemble", "live_rows", "select"]
