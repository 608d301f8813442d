"""What is said about images and whether it is true of them: the texts that ViLBERT is pretrained on.

    captions     [CLS] caption [SEP]                     all segments 0
    questions    [CLS] question [SEP] answer [SEP]       segments 0 up to the first [SEP], then 1

The first is Conceptual Captions as in vilbert_beta. The second is the VQA stage of Murahari et al. 2020, whose code is
not published; it is encoded as a round of visual dialog is.

Some pairs are made wrong: the caption of another image is read, or the answer to another question. Which, and what is
read instead, is a function of (seed, epoch, item), see `limner.data.draws`.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from limner.data.caption_split import CaptionSplit
from limner.data.dialog_encoding import text_rows
from limner.data.dialog_sampling import other_captions
from limner.data.draws import Draws
from limner.data.text_pool import TextPool
from limner.data.vqa_split import VQASplit
from limner.data.wordpiece import WordPiece
from limner.errors import UserError

_BLOCK = 1 << 16  # captions gathered together
_TRIES = 8  # wrong answers drawn for a question; one of them is nearly always wrong indeed


class Read(NamedTuple):
    """B sequences."""

    tokens: np.ndarray  #: (B, T) int64, padded with [PAD]
    segments: np.ndarray  #: (B, T) int64, 0 where padded
    lengths: np.ndarray  #: (B,) tokens of each
    labels: np.ndarray  #: (B,) int64, 0: text and image belong together, 1: they do not


class PairTexts(Protocol):
    """N pairs of an image and a text."""

    id: np.ndarray  #: (N,) int64, each once
    image_id: np.ndarray  #: (N,) int64

    def read(self, items: np.ndarray, draws: Draws, *, share: float) -> Read:
        """The sequences of some pairs (B,); with probability `share` a pair is made wrong."""
        ...

    def arrays(self) -> list[np.ndarray]:
        """All that decides what is read."""
        ...


class CaptionTexts:
    """The captions of a split, each a pair with its image; one without a word part is left out.

    At the size of Conceptual Captions (3.3 million) the arrays take about 250 MB.

    Args:
        split: images and captions. words: word parts. max_length: most tokens of a sequence (published: 36); longer
            captions are cut. cache: folder in which the ids of the texts are kept.

    Attributes:
        id: numbers in the order of the split. left_out: captions without a word part.
    """

    def __init__(self, split: CaptionSplit, words: WordPiece, *, max_length: int, cache: str | Path | None = None):
        self.words, self.max_length = words, max_length
        flat, offsets = words.encode_pool(caption_pool(split), cache=cache)
        spoken = np.flatnonzero(np.diff(offsets) > 0)
        self.left_out = split.captions - len(spoken)
        self.flat = flat
        self.offsets = np.append(offsets[spoken], offsets[-1])  # one without a part takes no place between the others
        self.owner = np.repeat(np.arange(len(split)), np.diff(split.first))[spoken]  # (N,) the image, as a place
        self.first = np.searchsorted(self.owner, np.arange(len(split) + 1))
        self.id, self.image_id = np.arange(len(spoken)), split.image_id[self.owner]

    def read(self, items: np.ndarray, draws: Draws, *, share: float) -> Read:
        """See `PairTexts`. Raises `UserError` for captions of one image alone."""
        captions, labels = items, np.zeros(len(items), np.int64)
        if share > 0:
            captions, labels = other_captions(self.first, self.owner, items, draws, share=share)
        tokens, lengths = text_rows(self.flat, self.offsets, captions, self.words, max_length=self.max_length)
        return Read(tokens, np.zeros_like(tokens), lengths, labels)

    def arrays(self) -> list[np.ndarray]:
        return [self.image_id, self.offsets, self.flat]


class QuestionTexts:
    """The questions of a split, each a pair of its image and its most frequent answer.

    A wrong answer is the one to another question, drawn alike from all of them, so that answers alone do not tell; one
    that somebody gave to this question is drawn again.

    Args:
        split: questions with answers. words, cache: as in `CaptionTexts`. max_length: most tokens of a sequence; of a
            longer one first the question is cut, then the answer.

    Attributes:
        id: the question ids.

    Raises:
        UserError: the split has no answers.
    """

    def __init__(self, split: VQASplit, words: WordPiece, *, max_length: int, cache: str | Path | None = None):
        if split.answers is None or split.multiple_choice is None:
            raise UserError("the questions have no answers to learn from: give their annotations")
        self.words, self.max_length = words, max_length
        self.questions = words.encode_pool(TextPool.of(split.questions), cache=cache)
        self.answers = words.encode_pool(TextPool.of(split.strings), cache=cache)
        self.given, self.said = split.multiple_choice, split.answers
        self.id, self.image_id = split.question_id, split.image_id

    @cached_property
    def distinct(self) -> np.ndarray:
        """The answers that are given to any question."""
        return np.unique(self.given)

    def read(self, items: np.ndarray, draws: Draws, *, share: float) -> Read:
        """See `PairTexts`. Raises `UserError` when all questions have the same answers."""
        wrong = draws.uniform("wrong pairs", self.id[items], width=1)[:, 0] < share
        answer = self.given[items].astype(np.int64)
        answer[wrong] = self.wrong(items[wrong], draws)
        return self.encode(items, answer, wrong.astype(np.int64))

    def wrong(self, items: np.ndarray, draws: Draws) -> np.ndarray:
        """An answer (B,) that nobody gave to each of some questions."""
        said = np.concatenate([self.said[items], self.given[items, None]], 1)
        others = draws.below("which answer", len(self.given), self.id[items], width=_TRIES)
        drawn = self.given[others].astype(np.int64)
        fits = (drawn[:, :, None] != said[:, None, :]).all(2)
        found = drawn[np.arange(len(items)), fits.argmax(1)]
        for row in np.flatnonzero(~fits.any(1)).tolist():
            left = np.setdiff1d(self.distinct, said[row])
            if not len(left):
                raise UserError("all questions have the same answers: there is none to tell from them")
            found[row] = left[others[row, 0] % len(left)]
        return found

    def encode(self, items: np.ndarray, answer: np.ndarray, labels: np.ndarray) -> Read:
        """Sequences of some questions, each with an answer (B,) of the pool."""
        (questions, first), (answers, at) = self.questions, self.answers
        room = self.max_length - 3
        second = np.minimum(at[answer + 1] - at[answer], room)
        asked = np.minimum(first[items + 1] - first[items], np.maximum(room - second, room // 2))
        second = np.minimum(second, room - asked)
        lengths = 3 + asked + second
        tokens = np.full((len(items), int(lengths.max(initial=3))), self.words.pad, np.int64)
        place = np.arange(tokens.shape[1])
        tokens[:, 0] = self.words.cls
        put(tokens, 1, asked, questions, first[items])
        put(tokens, 2 + asked, second, answers, at[answer])
        rows = np.arange(len(items))
        tokens[rows, 1 + asked] = tokens[rows, lengths - 1] = self.words.sep
        segments = (place >= 2 + asked[:, None]) & (place < lengths[:, None])
        return Read(tokens, segments.astype(np.int64), lengths, labels)

    def arrays(self) -> list[np.ndarray]:
        return [self.id, self.image_id, *self.questions, *self.answers, self.given, self.said]


def put(tokens: np.ndarray, column: np.ndarray | int, counts: np.ndarray, flat: np.ndarray, start: np.ndarray) -> None:
    """Writes `counts` ids of `flat` from `start` on into each row of `tokens`, from `column` on."""
    rows = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    tokens[rows, step + np.broadcast_to(column, counts.shape)[rows]] = flat[start[rows] + step]


def caption_pool(split: CaptionSplit) -> TextPool:
    """The captions of a split as they were written, one after another."""
    starts, counts = split.where[:, 0], np.diff(split.where, axis=1)[:, 0]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    text = np.empty(offsets[-1], np.uint8)
    for begin in range(0, len(starts), _BLOCK):  # an index into all of Conceptual Captions would take 1.5 GB
        stop = min(begin + _BLOCK, len(starts))
        shift = np.repeat(starts[begin:stop] - offsets[begin:stop], counts[begin:stop])
        text[offsets[begin] : offsets[stop]] = split.text[shift + np.arange(offsets[begin], offsets[stop])]
    return TextPool(text, offsets)
