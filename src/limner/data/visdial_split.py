"""Dialogs about images as a few arrays: what every part of visual dialog works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from limner.data.caption_split import spans
from limner.data.text_pool import TextPool, join_pools
from limner.errors import Fault, UserError, listing, refuse


@dataclass(frozen=True, eq=False)
class VisDialSplit:
    """Dialogs of one split. D dialogs, N rounds, P options, K rounds judged; no Python object a round or a text.

    The rounds of dialog d are first[d] .. first[d+1] - 1, the options of round n are options[option_first[n] :
    option_first[n+1]] (none in the earlier rounds of a test split). Every text stands once, in a pool.

    image_id      (D,) int64, each once, in the order of the file
    first         (D+1,) int64
    shift         (D,) int32, rounds that were cut off before the first (`visdial_1.0_test_processed.json`)
    captions      pool of D texts
    questions     pool of questions; `question` points into it
    answers       pool of answers; `answer` and `options` point into it
    question      (N,) int32
    answer        (N,) int32, -1 where it is not told (last round of a test dialog)
    gt_index      (N,) int32, the place of the answer among the options; -1 where it is not told
    option_first  (N+1,) int64
    options       (P,) int32
    dense         (K,) int64, the rounds with dense annotations, ascending
    relevance     float32 in 0..1, one for each option of each of these rounds, one round after another
    unmatched     dense annotations whose image is not among the dialogs
    """

    image_id: np.ndarray
    first: np.ndarray
    shift: np.ndarray
    captions: TextPool
    questions: TextPool
    answers: TextPool
    question: np.ndarray
    answer: np.ndarray
    gt_index: np.ndarray
    option_first: np.ndarray
    options: np.ndarray
    dense: np.ndarray
    relevance: np.ndarray
    unmatched: int = 0

    def __len__(self) -> int:
        """Dialogs."""
        return len(self.image_id)

    @property
    def rounds(self) -> int:
        """Number of rounds of all dialogs."""
        return len(self.question)

    @cached_property
    def dialog(self) -> np.ndarray:
        """(N,) int64: the dialog of each round, as a place."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    @cached_property
    def round_id(self) -> np.ndarray:
        """(N,) int64: the number of each round in its dialog as EvalAI counts, from 1."""
        return np.arange(self.rounds) - self.first[self.dialog] + self.shift[self.dialog] + 1

    @cached_property
    def option_counts(self) -> np.ndarray:
        """(N,) int64: options of each round."""
        return np.diff(self.option_first)

    @property
    def annotated(self) -> bool:
        """True when the place of every answer among the options is known."""
        return self.rounds > 0 and bool((self.gt_index >= 0).all())

    @cached_property
    def ranked(self) -> np.ndarray:
        """The rounds (n,) int64 whose options the evaluation wants ranked.

        All that have options; where the answers are hidden (test), the last round of each dialog.
        """
        there = np.flatnonzero(self.option_counts > 0)
        return there if self.annotated else there[np.isin(there, self.first[1:] - 1)]

    def judged_only(self) -> VisDialSplit:
        """The same dialogs, of which only the rounds with dense annotations have options, so that only these are
        ranked; the split itself when none has."""
        if not len(self.dense):
            return self
        kept = np.isin(np.arange(self.rounds), self.dense)
        counts = np.where(kept, self.option_counts, 0)
        options = self.options[np.repeat(kept, self.option_counts)]
        return replace(self, option_first=np.concatenate([[0], np.cumsum(counts)]), options=options)

    def options_of(self, number: int) -> np.ndarray:
        """The options of a round, as places in `answers`."""
        return self.options[self.option_first[number] : self.option_first[number + 1]]

    def said(self, number: int) -> tuple[str, str]:
        """Question and answer of a round; an answer that is not told is empty."""
        answer = int(self.answer[number])
        return self.questions[self.question[number]], self.answers[answer] if answer >= 0 else ""

    def frequent_answers(self, count: int) -> list[str]:
        """The answers given most often, the most frequent first: candidates for a dialog that has none of its own."""
        counts = np.bincount(self.answer[self.answer >= 0], minlength=len(self.answers))
        order = np.argsort(-counts, kind="stable")[:count]
        return [self.answers[place] for place in order[counts[order] > 0].tolist()]

    @cached_property
    def dense_first(self) -> np.ndarray:
        """(K+1,) int64: the relevances of the k-th judged round are relevance[dense_first[k] : dense_first[k+1]]."""
        return np.concatenate([[0], np.cumsum(self.option_counts[self.dense])])

    def take(self, index: np.ndarray | Sequence[int]) -> VisDialSplit:
        """The dialogs at some distinct places, in the order given; questions and answers are shared."""
        index = np.asarray(index, np.int64)
        rounds, first = spans(self.first, index)
        options, option_first = spans(self.option_first, rounds)
        place = np.full(self.rounds, -1)
        place[rounds] = np.arange(len(rounds))
        kept = np.flatnonzero(place[self.dense] >= 0)
        kept = kept[np.argsort(place[self.dense[kept]])]
        relevance, _ = spans(self.dense_first, kept)
        return VisDialSplit(
            self.image_id[index],
            first,
            self.shift[index],
            self.captions.take(index),
            self.questions,
            self.answers,
            self.question[rounds],
            self.answer[rounds],
            self.gt_index[rounds],
            option_first,
            self.options[options],
            place[self.dense[kept]],
            self.relevance[relevance],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays by name, e.g. to store them; `from_arrays` is the way back."""
        found: dict[str, np.ndarray] = {}
        for item in fields(self):
            value: Any = getattr(self, item.name)
            if isinstance(value, TextPool):
                found |= {f"{item.name}.text": value.text, f"{item.name}.offsets": value.offsets}
            else:
                found[item.name] = np.asarray(value)
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> VisDialSplit:
        """What `arrays` gave."""
        given: dict[str, Any] = {name: value for name, value in arrays.items() if "." not in name}
        for name in ("captions", "questions", "answers"):
            given[name] = TextPool(arrays[f"{name}.text"], arrays[f"{name}.offsets"])
        return cls(**{**given, "unmatched": int(given["unmatched"])})


def join(splits: Sequence[VisDialSplit]) -> VisDialSplit:
    """Several splits as one, in the order given: train and val.

    Raises:
        UserError: when an image stands in two of them.
    """
    if len(splits) == 1:
        return splits[0]
    questions = _starts([len(split.questions) for split in splits])
    answers = _starts([len(split.answers) for split in splits])
    rounds = _starts([split.rounds for split in splits])
    options = _starts([len(split.options) for split in splits])

    def put(name: str, starts: Sequence[int] | None = None) -> np.ndarray:
        """One array of all splits, its numbers moved on by `starts`; -1 stays."""
        parts = [getattr(split, name) for split in splits]
        if starts is not None:
            parts = [np.where(part < 0, part, part + start).astype(part.dtype) for part, start in zip(parts, starts)]
        return np.concatenate(parts)

    ids = put("image_id")
    distinct_images(ids, "the joined splits")
    return VisDialSplit(
        ids,
        np.concatenate([[0], *(split.first[1:] + start for split, start in zip(splits, rounds))]),
        put("shift"),
        join_pools([split.captions for split in splits]),
        join_pools([split.questions for split in splits]),
        join_pools([split.answers for split in splits]),
        put("question", questions),
        put("answer", answers),
        put("gt_index"),
        np.concatenate([[0], *(split.option_first[1:] + start for split, start in zip(splits, options))]),
        put("options", answers),
        put("dense", rounds),
        put("relevance"),
        sum(split.unmatched for split in splits),
    )


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *np.cumsum(sizes).tolist()][:-1]


def distinct_images(ids: np.ndarray, source: object, *, fault: Fault = refuse) -> None:
    """A fault when one of some image ids stands twice; the line names the source."""
    values, counts = np.unique(ids, return_counts=True)
    twice = values[counts > 1]
    if len(twice):
        few = listing(twice[:5].tolist(), len(twice))
        fault(UserError(f"{source}: image ids stand twice: {few}; VisDial has one dialog an image"))
