"""n-grams as 64-bit integers, counted for many captions at once: what CIDEr and BLEU share.

An n-gram of ids a, b, c, d is the number ((a' * B + b') * B + c') * B + d' modulo 2^64 with x' = x + 1. With B = 2^16
and ids below 65,535 that is four 16-bit fields: no two n-grams of up to four words share a number. Larger
vocabularies take an odd B of 64 bits, which makes the number a hash: the chance that any two of the 10^7 n-grams of a
large corpus meet is 3 in a million.

Its key is that number times an odd constant, modulo 2^64. No two numbers share a key, and keys lie evenly over 64 bits,
so that their highest bits say where in a sorted table to look (`Lookup`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from limner.errors import UserError
from limner.metrics.sequences import Flat

PACKED = 1 << 16
HASHED = 0x9E3779B97F4A7C15 - (1 << 64)  # the golden ratio's bits, as a signed number
_SPREAD = np.uint64(0xBF58476D1CE4E5B9)
_LAST = np.uint64(2**64 - 1)


def base_for(ids: int) -> int:
    """The base B for ids 0..`ids`-1."""
    return PACKED if ids < PACKED else HASHED


class NgramCounts(NamedTuple):
    """How often each n-gram stands in each of N captions."""

    keys: np.ndarray  # (U,) uint64, the different n-grams, ascending
    order: np.ndarray  # (U,) words of each, minus one
    row: np.ndarray  # (P,) caption of each pair of a caption and an n-gram in it; ascending
    ngram: np.ndarray  # (P,) the n-gram, as a place in keys; ascending within a caption
    times: np.ndarray  # (P,) how often, at least 1


def ngrams(sequences: Flat, n: int, base: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For 1 to `n` words in turn, every n-gram: `(keys, row)`, each (G,); row is the caption it stands in.

    Raises `UserError` for an id that does not fit the base.
    """
    tokens, lengths = sequences
    if base == PACKED and len(tokens) and (tokens.max() >= PACKED - 1 or tokens.min() < 0):
        wrong = tokens[(tokens >= PACKED - 1) | (tokens < 0)]
        raise UserError(
            f"token id {wrong[0]} in a caption, expected 0 to {PACKED - 2:,} as in the references; "
            "give the references the vocabulary's `size`"
        )
    row = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # words from here to the caption's end
    word = tokens + 1
    number = word
    for order in range(n):
        if order:
            number = number[:-1] * base + word[order:]  # modulo 2^64, silently
        whole = left[: len(number)] > order
        yield number[whole].view(np.uint64) * _SPREAD, row[: len(number)][whole]


def count(sequences: Flat, n: int, base: int) -> NgramCounts:
    """The n-grams of 1 to `n` words of each caption with their counts."""
    key, row = zip(*ngrams(sequences, n, base))
    order = np.repeat(np.arange(n), [len(some) for some in key])
    keys, inverse = np.unique(np.concatenate(key), return_inverse=True)
    orders = np.empty(len(keys), np.int64)
    orders[inverse] = order
    pair, times = np.unique(np.concatenate(row) * len(keys) + inverse, return_counts=True)
    rows, ngram = np.divmod(pair, max(len(keys), 1))
    return NgramCounts(keys, orders, rows, ngram, times)


class Lookup:
    """A table of ascending keys (K,) uint64 and an index into it: 4 to 5 times as fast as a binary search.

    The highest bits of a key give the first place it can have; the few keys that share them are passed one by one.
    """

    def __init__(self, keys: np.ndarray) -> None:
        self.keys = np.append(keys, _LAST)  # one more, which no comparison passes
        bits = max(len(keys).bit_length(), 1)
        self._shift = np.uint64(64 - bits)
        inside = np.bincount((keys >> self._shift).astype(np.int64), minlength=1 << bits)
        self._start = (np.cumsum(inside) - inside).astype(np.int32)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place of each key (Q,) and whether it is there; the place of a missing one is any from 0 to K."""
        place = self._start[(keys >> self._shift).astype(np.int64)]
        late = np.flatnonzero(self.keys[place] < keys)
        while len(late):
            place[late] += 1
            late = late[self.keys[place[late]] < keys[late]]
        return place, (self.keys[place] == keys) & (place < len(self.keys) - 1)
