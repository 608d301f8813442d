"""Reference captions with their n-grams counted once, and what captions share with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from limner.metrics.ngrams import Lookup, NgramCounts, base_for, count
from limner.metrics.sequences import ImageCaptions


class Counted(NamedTuple):
    """The references of k images, R = most captions of one; missing ones have length -1 and counts of 0."""

    keys: np.ndarray  # (E,) uint64: n-grams of the first image ascending, then of the second, ...
    order: np.ndarray  # (E,) words of each, minus one
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

    @classmethod
    def fitting(cls, references: ImageCaptions | References, *, n: int, base: int | None = None) -> References:
        """The given object if its n-grams are the wanted ones (base None: in any form), else a new one."""
        if not isinstance(references, References):
            return cls(references, n=n, base=base)
        if references.n == n and base in (None, references.base):
            return references
        return cls(references.captions, n=n, base=base)

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
        times = np.zeros((int(sizes.sum()), most))
        lengths = np.full((len(images), most), -1)
        start = 0
        for place, image in enumerate(images):
            times[start : start + len(image.keys), : len(image.lengths)] = image.times
            lengths[place, : len(image.lengths)] = image.lengths
            start += len(image.keys)
        return Counted(
            np.concatenate([image.keys for image in images] or [np.zeros(0, np.uint64)]),
            np.concatenate([image.order for image in images] or [np.zeros(0, np.int8)]),
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
        entry, place = np.unique(image[found.row] * unique + found.ngram, return_inverse=True)
        smallest = np.min_scalar_type(int(found.times.max(initial=0)))
        times = np.zeros((len(entry), int(captions.max())), smallest)
        times[place, slot[found.row]] = found.times
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
    Returns `(pairs, entries)`, each (m,): places in `found.row/ngram/times` and in `references.keys/times`.
    """
    unique = len(found.keys)
    place, known = Lookup(found.keys).find(references.keys)
    entries = np.flatnonzero(known)
    # places in found.keys ascend as the keys do: so do these numbers, as images ascend, too
    there = np.append(references.image[entries] * unique + place[entries], -1)
    wanted = of_row[found.row] * unique + found.ngram
    at = np.searchsorted(there[:-1], wanted)
    pairs = np.flatnonzero(there[at] == wanted)
    return pairs, entries[at[pairs]]
