"""Texts with the lengths of a published data set and words by a Zipf law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def zipf(count: int, kinds: int, rng: np.random.Generator, *, first: int = 3) -> np.ndarray:
    """(count,) numbers below `kinds`, number k with a chance like 1 / (k + first); every one that fits occurs."""
    share = 1 / np.arange(first, kinds + first)
    drawn = rng.choice(kinds, count, p=share / share.sum())
    drawn[: min(kinds, count)] = np.arange(min(kinds, count))
    return drawn


def texts(count: int, lengths: Sequence[int], shortest: int, kinds: int, rng: np.random.Generator) -> list[str]:
    """Texts of `shortest`, `shortest` + 1, ... words, so many of each length as `lengths` says, over `kinds` words."""
    share = np.array(lengths, float)
    sizes = rng.choice(np.arange(shortest, shortest + len(lengths)), count, p=share / share.sum())
    words = [f"w{word}" for word in zipf(int(sizes.sum()), kinds, rng).tolist()]
    ends = np.cumsum(sizes).tolist()
    return [" ".join(words[end - size : end]) for end, size in zip(ends, sizes.tolist())]
