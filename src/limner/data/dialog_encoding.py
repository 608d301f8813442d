"""What ViLBERT reads of a dialog: one row a candidate answer.

    tokens     [CLS] caption [SEP] question 1 [SEP] answer 1 [SEP] ... question r [SEP] candidate [SEP]
    segments     1      1      1       0        0      1      1           0        0       1       1

Source: the behaviour of visdial-bert, equal on its golden rows. There a dialog that was too long was left out of
training and validation, and lost its oldest rounds in testing. Here no dialog is left out: the oldest rounds of its
history give way until the longest option of the round fits, and what was left out is counted.

Every dialog is written once, as one run of tokens; a row is made of three pieces of it: its beginning, its last rounds,
and the candidate. So the 1,000 rows of a validation dialog cost a copy of their tokens and no more.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limner.data.caption_split import spans
from limner.data.visdial_split import VisDialSplit
from limner.data.wordpiece import WordPiece
from limner.errors import UserError

MAX_LENGTH = 256  # tokens of a row (published)
_LEAST = 8
_BLOCK = 1 << 16  # rounds looked at together


class Rows(NamedTuple):
    """B rows as pieces of the encoder's tokens."""

    starts: np.ndarray  #: (B, 3) where the beginning, the last rounds and the candidate start
    sizes: np.ndarray  #: (B, 3) their tokens, [SEP] included

    @property
    def lengths(self) -> np.ndarray:
        """(B,) tokens of each row."""
        return self.sizes.sum(1)


class Contexts(NamedTuple):
    """What stands before the candidates of N rounds."""

    head: np.ndarray  #: (N,) tokens of the beginning: [CLS] and, unless it is left out, the caption with its [SEP]
    start: np.ndarray  #: (N,) where the first round that is kept starts
    tail: np.ndarray  #: (N,) tokens from there to the round's question
    room: np.ndarray  #: (N,) most tokens of a candidate, [SEP] included
    dropped: np.ndarray  #: (N,) rounds of history that were left out for want of room
    cut: np.ndarray  #: (N,) bool, rounds that do not fit even without history: their texts are cut


class DialogEncoder:
    """The rows of a split.

    At the size of VisDial's training dialogs (123,287) its arrays take about 300 MB.

    Args:
        split: the dialogs.
        words: word parts.
        max_length: most tokens of a row (published: 256, the model's positions allow 512).
        history: only the last so many rounds are read, the current one included, and the caption counts as one more
            (published `visdial_tot_rounds`: 11, which is everything). None: everything.
        cache: folder in which the ids of the texts are kept.

    Attributes:
        tokens (M,) int32, segments (M,) uint8: all dialogs and all answers.

    Raises:
        UserError: `max_length` below 8, `history` below 1.
    """

    def __init__(
        self,
        split: VisDialSplit,
        words: WordPiece,
        *,
        max_length: int = MAX_LENGTH,
        history: int | None = None,
        cache: str | Path | None = None,
    ) -> None:
        if max_length < _LEAST or (history is not None and history < 1):
            raise UserError(
                f"max_length {max_length}, history {history}: expected at least {_LEAST} tokens and 1 round"
            )
        self.split, self.words, self.max_length, self.history = split, words, max_length, history
        pools = [words.encode_pool(pool, cache=cache) for pool in (split.captions, split.questions, split.answers)]
        (captions, caption_first), (questions, question_first), (answers, answer_first) = (
            _ended(flat, offsets, words.sep) for flat, offsets in pools
        )
        self.answer_counts = np.diff(answer_first)  # (A,) tokens of an answer, [SEP] included

        # The dialogs: [CLS], the caption, then question and answer of each round. An answer that is hidden is empty.
        source = np.concatenate([[words.cls], captions, questions, answers]).astype(np.int32)
        at_question = 1 + len(captions) + question_first
        at_answer = 1 + len(captions) + len(questions) + answer_first
        told = split.answer >= 0
        starts = np.zeros(2 * len(split) + 2 * split.rounds, np.int64)
        counts = np.ones_like(starts)
        opening = 2 * np.arange(len(split)) + 2 * split.first[:-1]  # pieces before each dialog
        asked = 2 * np.arange(split.rounds) + 2 * split.dialog + 2
        starts[opening + 1], counts[opening + 1] = 1 + caption_first[:-1], np.diff(caption_first)
        starts[asked], counts[asked] = at_question[split.question], np.diff(question_first)[split.question]
        answer = np.where(told, split.answer, 0)
        starts[asked + 1] = at_answer[answer]
        counts[asked + 1] = np.where(told, np.diff(answer_first)[answer], 0) if len(split.answers) else 0
        ends = np.cumsum(counts)
        kinds = np.ones(len(starts), np.uint8)
        kinds[asked] = 0
        self.dialog_start = ends[opening] - 1  # (D,) where [CLS] stands
        self.dialog_head = 1 + counts[opening + 1]  # (D,) tokens of [CLS] caption [SEP]
        self.round_start, self.question_end = ends[asked] - counts[asked], ends[asked]  # (N,)
        places = _gather(starts, counts)
        self.answer_start = len(places) + answer_first  # the answers stand behind the dialogs
        self.tokens = np.concatenate([source[places], answers])
        self.segments = np.concatenate([np.repeat(kinds, counts), np.ones(len(answers), np.uint8)])

    # --- contexts ---

    @cached_property
    def longest_option(self) -> np.ndarray:
        """(N,) tokens of the longest option of each round, [SEP] included; 0 without options."""
        first = self.split.option_first
        longest = np.zeros(self.split.rounds, np.int64)
        for start in range(0, len(longest), _BLOCK):  # a training split has 123 million options
            stop = min(start + _BLOCK, len(longest))
            there = start + np.flatnonzero(self.split.option_counts[start:stop] > 0)
            if len(there):
                counts = self.answer_counts[self.split.options[first[start] : first[stop]]]
                longest[there] = np.maximum.reduceat(counts, first[there] - first[start])
        return longest

    @cached_property
    def contexts(self) -> Contexts:
        """Contexts in which every option of a round fits: the options of a round are judged after the same history."""
        return self.fitting(np.maximum(self.longest_option, self._answer_count))

    @cached_property
    def answer_contexts(self) -> Contexts:
        """Contexts in which the answer given fits: what training reads."""
        told = self._answer_count
        return self.fitting(told if (told > 0).all() else np.where(told > 0, told, self.longest_option))

    @cached_property
    def _answer_count(self) -> np.ndarray:
        answer = self.split.answer
        return np.where(answer >= 0, self.answer_counts[answer], 0) if len(self.answer_counts) else 0 * answer

    def fitting(self, longest: np.ndarray) -> Contexts:
        """The contexts of all rounds, shortened so that a candidate of so many tokens (N,) fits.

        First the oldest rounds go. A round that does not fit even alone is cut at the ends of its texts: candidates to
        half of `max_length`, then the caption, then the question.
        """
        split, most = self.split, self.max_length
        rounds = np.arange(split.rounds)
        head = self.dialog_head[split.dialog]
        earliest = split.first[split.dialog]
        if self.history is not None:
            windowed = np.maximum(earliest, rounds - self.history + 1)
            head = np.where(rounds - earliest + 1 >= self.history, 1, head)  # the caption is out of the window, too
            earliest = windowed
        # the first round from which history, question and candidate fit
        fits = np.searchsorted(self.round_start, self.question_end + head + longest - most)
        first = np.clip(fits, earliest, rounds)
        tail = self.question_end - self.round_start[first]
        room = most - head - tail
        cut = room < longest
        tight = np.flatnonzero(cut)
        if len(tight):
            room[tight] = np.minimum(longest[tight], most // 2)
            left = most - room[tight]
            question = np.minimum(tail[tight], left - 1)
            head[tight] = np.minimum(head[tight], left - question)
            head[tight] = np.where(head[tight] < 2, 1, head[tight])
            tail[tight] = question
        return Contexts(head, self.round_start[first], tail, room, first - earliest, cut)

    @property
    def shortened(self) -> int:
        """Rounds whose options are judged after a history without its oldest rounds."""
        return int((self.contexts.dropped[self.split.ranked] > 0).sum())

    @property
    def cut(self) -> int:
        """Rounds whose options are judged after texts that are cut."""
        return int(self.contexts.cut[self.split.ranked].sum())

    # --- rows ---

    def rows(self, rounds: np.ndarray, answers: np.ndarray, contexts: Contexts | None = None) -> Rows:
        """The rows of some candidates.

        Args:
            rounds: (B,) rounds. answers: (B,) candidates, as places in the pool of answers; one that is longer than
                its room is cut at its end. contexts: default those in which every option fits.
        """
        found = self.contexts if contexts is None else contexts
        starts = np.stack(
            [self.dialog_start[self.split.dialog[rounds]], found.start[rounds], self.answer_start[answers]], 1
        )
        candidate = np.minimum(self.answer_counts[answers], found.room[rounds])
        return Rows(starts, np.stack([found.head[rounds], found.tail[rounds], candidate], 1))

    def options(self, rounds: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The rows of all options of some rounds, and where those of each round begin: `rows, first (B+1,)`."""
        places, first = spans(self.split.option_first, np.asarray(rounds, np.int64))
        return self.rows(np.repeat(rounds, np.diff(first)), self.split.options[places]), first

    def padded(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Rows side by side: `tokens (B,T) int64, segments (B,T) int64`, T the longest; behind a row stand [PAD], 0."""
        lengths = rows.lengths
        shape = (len(lengths), int(lengths.max(initial=1)))
        tokens, segments = np.full(shape, self.words.pad, np.int64), np.zeros(shape, np.int64)
        inside = np.arange(shape[1]) < lengths[:, None]
        tokens[inside], segments[inside] = self.flat(rows)
        return tokens, segments

    def flat(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Rows one after another: `tokens (sum of lengths,) int32, segments (sum of lengths,) uint8`."""
        places = _gather(rows.starts.ravel(), rows.sizes.ravel())
        tokens, segments = self.tokens[places], self.segments[places]
        ends = np.cumsum(rows.sizes.ravel()).reshape(-1, 3) - 1
        # A text that was cut has lost its [SEP]; one that was not keeps it. A beginning of one token is [CLS] alone,
        # which has the segment of what follows: a question.
        alone = rows.sizes[:, 0] == 1
        tokens[ends[~alone, 0]] = self.words.sep
        tokens[ends[:, 1:]] = self.words.sep
        segments[ends[alone, 0]] = 0
        return tokens, segments


def text_rows(
    flat: np.ndarray, offsets: np.ndarray, items: np.ndarray, words: WordPiece, *, max_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of single texts, such as captions to pretrain on: `[CLS] text [SEP]`, cut at the text's end.

    Args:
        flat, offsets: ids of all texts, from `WordPiece.encode_all`. items: (B,) which texts.
        max_length: most tokens of a row (published for Conceptual Captions: 36).

    Returns:
        `tokens (B,T) int64` padded with [PAD], `lengths (B,) int64`; all segments are 0.
    """
    counts = np.minimum(offsets[items + 1] - offsets[items], max_length - 2)
    lengths = counts + 2
    tokens = np.full((len(items), int(lengths.max(initial=2))), words.pad, np.int64)
    tokens[:, 0] = words.cls
    tokens[:, 1:][np.arange(tokens.shape[1] - 1) < counts[:, None]] = flat[_gather(offsets[items], counts)]
    tokens[np.arange(len(items)), lengths - 1] = words.sep
    return tokens, lengths


def _ended(flat: np.ndarray, offsets: np.ndarray, sep: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts with [SEP] behind each."""
    return np.insert(flat, offsets[1:], sep), offsets + np.arange(len(offsets))


def _gather(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Places of pieces, one after another: each start, start + 1, ... for its count."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)
