"""Captions as flat integer arrays: what every metric over token ids takes.

A list of 570,000 small lists costs 100 bytes a word and half a second to walk; two arrays cost 4 bytes a word and
can be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from limner.errors import UserError, listing

Ids = Sequence[int]
Hypotheses = np.ndarray | Sequence[Ids]


class Flat(NamedTuple):
    """Token sequences, one behind the other."""

    tokens: np.ndarray  # (M,) int64
    lengths: np.ndarray  # (N,) int64, sum M


def flat(hypotheses: Hypotheses, lengths: np.ndarray | None = None) -> Flat:
    """Sequences as `Flat`: an array `(N, T)` padded on the right with `lengths (N,)`, or a list of sequences of ids.

    Raises `ValueError` for an array without lengths and for lengths outside 0..T.
    """
    if not isinstance(hypotheses, np.ndarray):
        sizes = np.fromiter(map(len, hypotheses), np.int64, len(hypotheses))
        tokens = np.fromiter((token for ids in hypotheses for token in ids), np.int64, int(sizes.sum()))
        return Flat(tokens, sizes)
    if hypotheses.ndim != 2 or lengths is None:
        raise ValueError("padded hypotheses are an array (N, T) with lengths (N,)")
    rows, width = hypotheses.shape
    sizes = np.asarray(lengths, np.int64)
    if sizes.shape != (rows,) or (rows and not 0 <= sizes.min() <= sizes.max() <= width):
        raise ValueError(f"lengths must be {rows} numbers from 0 to {width}")
    return Flat(hypotheses[np.arange(width) < sizes[:, None]].astype(np.int64), sizes)


_AT_ONCE = 4096  # captions scored together: bounds the memory, not the speed


def parts(sequences: Flat) -> Iterator[tuple[slice, Flat]]:
    """Sequences in slices of a few thousand: `(their places, the sequences)`."""
    tokens, lengths = sequences
    ends = np.concatenate(([0], np.cumsum(lengths)))
    for start in range(0, len(lengths), _AT_ONCE):
        here = slice(start, min(start + _AT_ONCE, len(lengths)))
        yield here, Flat(tokens[ends[here.start] : ends[here.stop]], lengths[here])


def padded(sequences: Flat, fill: int) -> np.ndarray:
    """`(N, T)` int64 with `fill` behind each sequence; T is the longest length."""
    width = int(sequences.lengths.max(initial=0))
    out = np.full((len(sequences.lengths), width), fill, np.int64)
    out[np.arange(width) < sequences.lengths[:, None]] = sequences.tokens
    return out


class ImageCaptions:
    """The reference captions of many images: token ids, one or more captions an image, never changed.

    tokens (M,): all captions behind each other, kept as int32. lengths (C,): of each caption. counts (I,): captions of
    each image. ids (I,): what images are called; default their rows 0..I-1. size: token ids of references and of what
    is scored against them run below it (words and end token); default: as found in the references.

    Memory: 4 bytes a word and 4 a caption, 30 MB for the 566,747 training captions of the Karpathy split.

    Raises `UserError` for images without captions and ids that stand twice.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        counts: np.ndarray,
        ids: np.ndarray | None = None,
        *,
        size: int | None = None,
    ) -> None:
        self.tokens = np.ascontiguousarray(tokens, np.int32)
        self.lengths = np.ascontiguousarray(lengths, np.int32)
        self.counts = np.ascontiguousarray(counts, np.int32)
        self.size = max(size or 0, int(self.tokens.max(initial=-1)) + 1)
        self.ids = None if ids is None else np.ascontiguousarray(ids, np.int64)
        if self.lengths.sum(dtype=np.int64) != len(self.tokens) or self.counts.sum(dtype=np.int64) != len(self.lengths):
            raise ValueError("lengths must add up to the tokens, counts to the captions")
        if not (self.counts > 0).all():
            without = np.flatnonzero(self.counts == 0)
            names = without if self.ids is None else self.ids[without]
            raise UserError(f"images without any reference caption: {listing(names.tolist())}; drop these images")
        self._order = None if self.ids is None else np.argsort(self.ids, kind="stable")
        if self._order is not None:
            ordered = self.ids[self._order]  # type: ignore[index]
            twice = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(twice):
                raise UserError(
                    f"image ids that stand twice among the references: {listing(np.unique(twice).tolist())}"
                )
        self._token_ends = np.concatenate(([0], np.cumsum(self.lengths, dtype=np.int64)))
        self._caption_ends = np.concatenate(([0], np.cumsum(self.counts, dtype=np.int64)))

    @classmethod
    def of(
        cls, captions: Mapping[int, Iterable[Ids]] | Sequence[Iterable[Ids]], *, size: int | None = None
    ) -> ImageCaptions:
        """From nested lists; a mapping names the images by its keys, a list by their places."""
        nested = [list(some) for some in (captions.values() if isinstance(captions, Mapping) else captions)]
        tokens, lengths = flat([ids for some in nested for ids in some])
        ids = np.fromiter(captions, np.int64, len(captions)) if isinstance(captions, Mapping) else None
        return cls(tokens, lengths, np.fromiter(map(len, nested), np.int64, len(nested)), ids, size=size)

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, image: np.ndarray, captions: int) -> np.ndarray:
        """The row of the image of each caption, int64. Raises `UserError` for images that are not there."""
        if len(image) != captions:
            raise ValueError(f"{captions} captions of {len(image)} images: give the image of each caption")
        image = np.asarray(image, np.int64)
        if self.ids is None or self._order is None:
            known = (image >= 0) & (image < len(self))
            row = image
        else:
            place = np.minimum(np.searchsorted(self.ids, image, sorter=self._order), max(len(self) - 1, 0))
            row = self._order[place] if len(self) else np.zeros_like(image)
            known = self.ids[row] == image if len(self) else np.zeros(len(image), bool)
        if not known.all():
            unknown = np.unique(image[~known]).tolist()
            raise UserError(f"no reference captions for images {listing(unknown)}: are they of another split?")
        return row

    def select(self, rows: np.ndarray) -> tuple[Flat, np.ndarray]:
        """The captions of some images `(k,)`: as `Flat`, and how many each image has `(k,)`."""
        counts = self.counts[rows].astype(np.int64)
        captions = spans(self._caption_ends[rows], counts)
        lengths = self.lengths[captions].astype(np.int64)
        return Flat(self.tokens[spans(self._token_ends[captions], lengths)].astype(np.int64), lengths), counts


def spans(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Indices `start, start + 1, ... start + size - 1` of each span, one span behind the other."""
    before = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
