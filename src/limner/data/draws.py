"""Random numbers that are a function of what they are for: (seed, epoch, purpose, item).

Nothing is remembered between draws, so an item gets the same numbers in whatever batch, process or resumed run it comes
up. The arithmetic is that of 64-bit integers, the same on every machine and in every version of numpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xxhash

_STEP = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64 (Steele, Lea, Flood 2014), each item a generator of its own
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


class Draws(NamedTuple):
    """The draws of one epoch."""

    seed: int
    epoch: int

    def uniform(self, purpose: str, *items: np.ndarray, width: int) -> np.ndarray:
        """Numbers in [0, 1): `(B, width)` float64, row b for the item that `items[0][b], items[1][b], ...` name.

        purpose: draws for different purposes have nothing to do with each other. items: one or more (B,) integers.
        """
        start = xxhash.xxh3_64_intdigest(f"{self.seed}/{self.epoch}/{purpose}".encode())
        state = np.full(len(items[0]), start, np.uint64)
        for numbers in items:
            state = _mixed(state + _STEP * (np.asarray(numbers).astype(np.uint64) + np.uint64(1)))
        bits = _mixed(state[:, None] + _STEP * np.arange(1, width + 1, dtype=np.uint64))
        return (bits >> np.uint64(11)) * 2.0**-53

    def below(self, purpose: str, limits: np.ndarray | int, *items: np.ndarray, width: int = 1) -> np.ndarray:
        """Whole numbers 0 .. limit - 1, `(B, width)` int64; `limits` (B,) or a number, 1 or more."""
        limits = np.broadcast_to(limits, items[0].shape)[:, None]
        return np.minimum((self.uniform(purpose, *items, width=width) * limits).astype(np.int64), limits - 1)


def _mixed(bits: np.ndarray) -> np.ndarray:
    for shift, factor in _MIX:
        bits = (bits ^ (bits >> shift)) * factor
    return bits ^ (bits >> np.uint64(31))
