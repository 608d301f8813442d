"""n-grams as 64-bit integers, counted for many captions at once: what CIDEr and BLEU share.

An n-gram of ids a, b, c, d is the number ((a' * B + b') * B + c') * B + d' modulo 2^64 with x' = x + 1. With
B = 2^16 and ids below 65,535 that is four 16-bit fields: no two n-grams of up to four words share a number. Larger
vocabularies take an odd 64-bit B, which makes the number a hash: over the 10^7 n-grams of a large corpus the chance that
any two meet is 3 in a million.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from limner.errors import UserError
from limner.metrics.sequences import Flat, ImageCaptions

PACKED = 1 << 16
HASHED = 0x9E3779B97F4A7C15 - (1 << 64)  # the golden ratio's bits, as a signed number


def base_for(ids: int) -> int:
    """The base B for ids 0..`ids`-1."""
    return PACKED if ids < PACKED else HASHED


class NgramCounts(NamedTuple):
    """How often each n-gram stands in each of N captions."""

    keys: np.ndarray  # (U,) int64, the different n-grams, ascending
    order: np.ndarray  # (U,) words of each, minus one
    row: np.ndarray  # (P,) caption of each pair of a caption and an n-gram in it; ascending
    index: np.ndarray  # (P,) its n-gram, as a place in keys; ascending within a caption
    count: np.ndarray  # (P,) how often, at least 1


def ngrams(sequences: Flat, n: int, base: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every n-gram of 1 to `n` words: `(keys, row, order)`, each (G,); row is the caption it stands in.

    Raises `UserError` for an id that does not fit the base.
    """
    tokens, lengths = sequences
    if base == PACKED and len(tokens) and (tokens.max() >= PACKED - 1 or tokens.min() < 0):
        wrong = tokens[(tokens >= PACKED - 1) | (tokens < 0)]
        raise UserError(
            f"token id {wrong[0]} in a caption, while references and document frequencies know small vocabularies only "
            f"(ids below {PACKED - 1:,}); give their `size`"
        )
    row = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))  # words from here to the caption's end
    word = tokens + 1
    key = word
    keys, rows, orders = [], [], []
    for order in range(n):
        if order:
            key = key[:-1] * base + word[order:]  # modulo 2^64, silently
        whole = left[: len(key)] > order
        keys.append(key[whole])
        rows.append(row[: len(key)][whole])
        orders.append(np.full(len(keys[-1]), order))
    return np.concatenate(keys), np.concatenate(rows), np.concatenate(orders)


def count(sequences: Flat, n: int, base: int) -> NgramCounts:
    """The n-grams of 1 to `n` words of each caption with their counts."""
    key, row, order = ngrams(sequences, n, base)
    keys, inverse = np.unique(key, return_inverse=True)
    orders = np.empty(len(keys), np.int64)
    orders[inverse] = order
    pair, times = np.unique(row * len(keys) + inverse, return_counts=True)
    row, index = np.divmod(pair, max(len(keys), 1))
    return NgramCounts(keys, orders, row, index, times)


class Counted(NamedTuple):
    """The references of k images, R = most captions of one; missing ones have length -1 and counts of 0."""

    keys: np.ndarray  # (E,) int64: n-grams of the first image ascending, then of the second, ...
    order: np.ndarray  # (E,)
    image: np.ndarray  # (E,) which of the k images, ascending
    times: np.ndarray  # (E, R) how often in each caption
    lengths: np.ndarray  # (k, R) words of each caption
    captions: np.ndarray  # (k,) captions of each image


class _Image(NamedTuple):
    keys: np.ndarray  # (e,)
    order: np.ndarray  # (e,) int8
    times: np.ndarray  # (e, r)
    lengths: np.ndarray  # (r,)


class References:
    """The n-grams of reference captions, counted the first time an image is asked for and then kept.

    Several metrics can share one object. Memory: about 2.3 KB for an image with five captions of COCO's length, 260 MB
    when all 113,287 training images of the Karpathy split were asked for.
    """

    def __init__(self, captions: ImageCaptions, *, n: int = 4, base: int | None = None) -> None:
        self.captions, self.n = captions, n
        self.base = base_for(captions.size) if base is None else base
        self._images: dict[int, _Image] = {}

    def of(self, rows: np.ndarray) -> Counted:
        """The references of some images (k,), different rows of `captions`."""
        wanted = rows.tolist()
        new = [row for row in wanted if row not in self._images]
        if new:
            self._count(np.array(new, np.int64))
        images = [self._images[row] for row in wanted]
        sizes = np.fromiter((len(image.keys) for image in images), np.int64, len(images))
        captions = np.fromiter((len(image.lengths) for image in images), np.int64, len(images))
        most = int(captions.max(initial=1))
        times = np.zeros((int(sizes.sum()), most), np.int64)
        lengths = np.full((len(images), most), -1)
        start = 0
        for place, image in enumerate(images):
            times[start : start + len(image.keys), : len(image.lengths)] = image.times
            lengths[place, : len(image.lengths)] = image.lengths
            start += len(image.keys)
        empty = np.zeros(0, np.int64)
        return Counted(
            np.concatenate([image.keys for image in images] or [empty]),
            np.concatenate([image.order for image in images] or [empty]),
            np.repeat(np.arange(len(images)), sizes),
            times,
            lengths,
            captions,
        )

    def _count(self, rows: np.ndarray) -> None:
        """Count images that were not asked for before, all in one go."""
        sequences, captions = self.captions.select(rows)
        found = count(sequences, self.n, self.base)
        image = np.repeat(np.arange(len(rows)), captions)  # of each caption
        slot = np.arange(len(image)) - np.repeat(np.cumsum(captions) - captions, captions)
        unique = max(len(found.keys), 1)
        entry, place = np.unique(image[found.row] * unique + found.index, return_inverse=True)
        smallest = np.min_scalar_type(int(found.count.max(initial=0)))
        times = np.zeros((len(entry), int(captions.max())), smallest)
        times[place, slot[found.row]] = found.count
        of_image, index = np.divmod(entry, unique)
        keys, order = found.keys[index], found.order[index].astype(np.int8)
        cuts = np.searchsorted(of_image, np.arange(len(rows) + 1))
        ends = np.concatenate(([0], np.cumsum(captions)))
        lengths = sequences.lengths.astype(np.int32)
        for k, row in enumerate(rows.tolist()):
            a, b, r = cuts[k], cuts[k + 1], captions[k]
            self._images[row] = _Image(keys[a:b], order[a:b], times[a:b, :r], lengths[ends[k] : ends[k + 1]])


def shared(found: NgramCounts, of_row: np.ndarray, references: Counted) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams that captions share with the references of their images.

    found: n-grams of N captions. of_row (N,): the image of each caption, a place among the k images of `references`.
    Returns `(pairs, entries)`, each (m,): places in `found.row/index/count` and in `references.keys/times`.
    """
    nowhere = np.zeros(0, np.int64)
    if not len(found.keys) or not len(references.keys):
        return nowhere, nowhere
    place = np.searchsorted(found.keys, references.keys)
    place[place == len(found.keys)] = 0
    known = np.flatnonzero(found.keys[place] == references.keys)
    if not len(known):
        return nowhere, nowhere
    there = references.image[known] * len(found.keys) + place[known]  # ascending, as images and keys are
    wanted = of_row[found.row] * len(found.keys) + found.index
    at = np.searchsorted(there, wanted)
    at[at == len(there)] = 0
    pairs = np.flatnonzero(there[at] == wanted)
    return pairs, known[at[pairs]]
