"""Images and what people said about them, as a few arrays: what every part of captioning works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.errors import Fault, UserError, listing, refuse


@dataclass(frozen=True, eq=False)
class CaptionSplit:
    """Images of one split and their captions. I images, C captions, M words; no Python object a caption or a word.

    The captions of image i are first[i] .. first[i+1] - 1, in the order of the file; the words of caption c are
    tokens[offsets[c]:offsets[c+1]]; as it was written, it is the UTF-8 text[where[c, 0]:where[c, 1]].

    image_id   (I,) int64, ascending, each once
    first      (I+1,) int64
    words      distinct words; `tokens` points into it
    tokens     (M,) int32
    offsets    (C+1,) int64
    text       (bytes,) uint8; splits of one file share it
    where      (C, 2) int64
    """

    image_id: np.ndarray
    first: np.ndarray
    words: list[str]
    tokens: np.ndarray
    offsets: np.ndarray
    text: np.ndarray
    where: np.ndarray

    def __len__(self) -> int:
        """Images."""
        return len(self.image_id)

    @property
    def captions(self) -> int:
        """Number of captions."""
        return len(self.where)

    @property
    def annotated(self) -> bool:
        """True when there are captions."""
        return self.captions > 0

    def raw(self, caption: int) -> str:
        """A caption as it was written."""
        start, end = self.where[caption]
        return self.text[start:end].tobytes().decode("utf-8", "surrogatepass")

    def spoken(self, caption: int) -> list[str]:
        """The words of a caption."""
        return [self.words[word] for word in self.tokens[self.offsets[caption] : self.offsets[caption + 1]].tolist()]

    def counts(self) -> dict[str, int]:
        """How often each word occurs."""
        counts = np.bincount(self.tokens, minlength=len(self.words)).tolist()
        return {word: count for word, count in zip(self.words, counts) if count}

    def take(self, index: np.ndarray | Sequence[int]) -> CaptionSplit:
        """The images at some ascending places; words and text are shared."""
        index = np.asarray(index, np.int64)
        captions, first = spans(self.first, index)
        tokens, offsets = spans(self.offsets, captions)
        ids = self.image_id[index]
        return CaptionSplit(ids, first, self.words, self.tokens[tokens], offsets, self.text, self.where[captions])


def join(splits: Sequence[CaptionSplit]) -> CaptionSplit:
    """Several splits as one, by ascending image id: train and restval, or two files.

    Raises:
        UserError: when an image stands in two of them.
    """
    if len(splits) == 1:
        return splits[0]
    table: dict[str, int] = {}
    tokens, offsets, where = [], [np.zeros(1, np.int64)], []
    texts = {id(split.text): split.text for split in splits}  # those of one file share theirs
    starts = dict(zip(texts, np.cumsum([0, *(len(text) for text in texts.values())])))
    seen = 0
    for split in splits:
        merged = np.array([table.setdefault(word, len(table)) for word in split.words], np.int32)
        tokens.append(merged[split.tokens])
        offsets.append(split.offsets[1:] + seen)
        seen += len(split.tokens)
        where.append(split.where + starts[id(split.text)])
    ids = np.concatenate([split.image_id for split in splits])
    first = np.cumsum(np.concatenate([[0], *(np.diff(split.first) for split in splits)]))
    order = np.argsort(ids, kind="stable")
    distinct_images(ids[order], "the joined splits")
    text = np.concatenate(list(texts.values())) if len(texts) > 1 else splits[0].text
    whole = CaptionSplit(
        ids, first, list(table), np.concatenate(tokens), np.concatenate(offsets), text, np.concatenate(where)
    )
    return whole.take(order)


def distinct_images(ids: np.ndarray, source: object, *, fault: Fault = refuse) -> None:
    """A fault when one of ascending image ids stands twice; the line names the source."""
    twice = np.unique(ids[1:][ids[1:] == ids[:-1]])
    if len(twice):
        few = listing(twice[:5].tolist(), len(twice))
        fault(UserError(f"{source}: image ids stand twice: {few}; give all captions of an image in one place"))


def spans(offsets: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of what some rows of a ragged array hold, one row after another.

    Args:
        offsets: (N+1,) row r holds the places offsets[r] .. offsets[r+1] - 1.
        index: (n,) rows.

    Returns:
        `(places (m,), offsets (n+1,))` int64: the places, and where in them each row begins.
    """
    counts = offsets[index + 1] - offsets[index]
    begins = np.zeros(len(index) + 1, np.int64)
    np.cumsum(counts, out=begins[1:])
    return np.repeat(offsets[index] - begins[:-1], counts) + np.arange(begins[-1]), begins


class References(Mapping[int, list[Any]]):
    """Image id -> what people said about it, for every image that has a caption. Made from the arrays when asked.

    Args:
        split: the captions.
        raw: captions as they were written (strings); False: as lists of words.
    """

    def __init__(self, split: CaptionSplit, *, raw: bool) -> None:
        self.split = split
        self._of = split.raw if raw else split.spoken

    def __getitem__(self, image: int) -> list[Any]:
        ids, first = self.split.image_id, self.split.first
        place = int(np.searchsorted(ids, image))
        if place == len(ids) or ids[place] != image or first[place] == first[place + 1]:
            raise KeyError(image)
        return [self._of(caption) for caption in range(first[place], first[place + 1])]

    def __iter__(self) -> Iterator[int]:
        return iter(self.split.image_id[np.diff(self.split.first) > 0].tolist())

    def __len__(self) -> int:
        return int((np.diff(self.split.first) > 0).sum())
