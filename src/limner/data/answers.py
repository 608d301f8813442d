"""The answers a VQA model can give, and the soft targets it learns from.

Sources: the behaviour of bottom-up-attention-vqa (`compute_softscore`), and the accuracy of the VQA paper
(Antol et al. 2015, section 4): an answer is fully right when at least three of ten people gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from limner.data.vqa_split import VQASplit
from limner.errors import UserError, listing
from limner.metrics.normalize import normalize_answer

MIN_COUNT = 9
_TABLE = np.array([0, 0.3, 0.6, 0.9, 1], np.float64)  # by the number of people, 4 standing for 4 or more


class AnswerVocabulary:
    """Answers in the evaluator's normal form; a label is a place in `answers`.

    Attributes: `answers` (tuple of normal forms), `ids` (answer -> label), `texts` (what to say for each label: the
    answer itself, but "a" for the empty form, since an empty answer is no valid submission and "a" is scored the same).
    """

    def __init__(self, answers: Iterable[str]) -> None:
        """From a list in label order, e.g. of a published model. Raises `UserError` for doubles, non-texts and none."""
        self.answers = tuple(answers)
        wrong = [answer for answer in self.answers if not isinstance(answer, str)]
        if wrong or not self.answers:
            found = listing(map(repr, wrong)) or "nothing"
            raise UserError(f"answers: found {found}, expected a list of texts in label order")
        self.ids = {answer: label for label, answer in enumerate(self.answers)}
        if len(self.ids) != len(self.answers):
            twice = [answer for label, answer in enumerate(self.answers) if self.ids[answer] != label]
            raise UserError(f"answers: stand twice: {listing(map(repr, twice))}; each answer needs one label")
        self.texts = tuple(answer or "a" for answer in self.answers)

    @classmethod
    def build(cls, splits: Sequence[VQASplit], *, min_count: int = MIN_COUNT) -> AnswerVocabulary:
        """Normalised most common answers of at least `min_count` questions, over all splits together.

        Published: train and val together with 9, which gives 3,129 for VQA v2. Order: most questions first, then by
        text (code points); the published order is that of a Python 2 dictionary and comes with the published files.
        """
        counts: dict[str, int] = {}
        for split in splits:
            if split.multiple_choice is None:
                raise UserError("answers: a split without annotations was given; the vocabulary needs the answers")
            for place, count in enumerate(np.bincount(split.multiple_choice, minlength=len(split.strings)).tolist()):
                if count:
                    answer = normalize_answer(split.strings[place])
                    counts[answer] = counts.get(answer, 0) + count
        kept = [answer for answer, count in counts.items() if count >= min_count]
        if not kept:
            most = max(counts.values(), default=0)
            raise UserError(f"answers: none is the answer of {min_count} questions (most: {most}); lower min_count")
        return cls(sorted(kept, key=lambda answer: (-counts[answer], answer)))

    @classmethod
    def from_json(cls, data: Any, source: str = "answers") -> AnswerVocabulary:
        """From what `to_json` gave, a list in label order, or an object `{answer: label}`. `source`: for errors."""
        if isinstance(data, Mapping):
            data = data["answers"] if isinstance(data.get("answers"), list) else _by_label(data, source)
        if not isinstance(data, list):
            raise UserError(f'{source}: expected a list of answers, {{"answers": [...]}} or {{answer: label}}')
        return cls(data)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"answers": list(self.answers)}

    def __len__(self) -> int:
        return len(self.answers)


def _by_label(data: Mapping[Any, Any], source: str) -> list[Any]:
    if set(data.values()) != set(range(len(data))):
        raise UserError(f"{source}: labels of {len(data):,} answers, expected each of 0 to {len(data) - 1:,} once")
    return sorted(data, key=lambda answer: data[answer])


class SoftTargets(NamedTuple):
    """Targets of Q questions, only the non-zero ones: question q has `labels[offsets[q]:offsets[q+1]]`, ascending.

    labels (N,) int32, scores (N,) float32 in (0, 1], offsets (Q+1,) int64.
    """

    labels: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray

    def reachable(self) -> float:
        """Mean over questions of the best score, in 0..1: what a perfect model of this vocabulary reaches."""
        best = np.zeros(len(self.offsets) - 1)
        filled = np.flatnonzero(np.diff(self.offsets))
        if len(filled):
            best[filled] = np.maximum.reduceat(self.scores.astype(np.float64), self.offsets[filled])
        return float(best.mean())


def soft_targets(
    split: VQASplit,
    vocabulary: AnswerVocabulary,
    *,
    normalize: bool = True,
    rule: Literal["table", "leave_one_out"] = "table",
) -> SoftTargets:
    """Score of every vocabulary answer that somebody gave to a question.

    normalize: match people's answers in their normal form. False is the published code's bug (its issue 40): raw
      answers are matched with the normalised vocabulary, so each "none", "two" or "a dog" is lost.
    rule: "table" gives 0, .3, .6, .9, 1 for 0, 1, 2, 3, 4 or more people, as published. "leave_one_out" is the
      accuracy of the paper, mean over people of min(1, others who agree / 3): the same for ten people, right for other
      numbers of them.

    Questions with no answer in the vocabulary have no targets; they stay, as published.
    Raises `UserError` for a split without annotations.
    """
    if split.answers is None:
        raise UserError("soft targets: the split has no annotations; give the annotation file too")
    names = map(normalize_answer, split.strings) if normalize else split.strings
    labels = np.array([vocabulary.ids.get(name, -1) for name in names] + [-1], np.int64)[split.answers]  # -1: the last
    questions = np.broadcast_to(np.arange(len(split))[:, None], labels.shape)[labels >= 0]
    pairs, people = np.unique(questions * len(vocabulary) + labels[labels >= 0], return_counts=True)
    question, label = np.divmod(pairs, len(vocabulary))
    if rule == "table":
        scores = _TABLE[np.minimum(people, len(_TABLE) - 1)]
    elif rule == "leave_one_out":
        total = (split.answers >= 0).sum(1)[question]
        agree = people * np.minimum(1, (people - 1) / 3) + (total - people) * np.minimum(1, people / 3)
        scores = agree / total
    else:
        raise UserError(f"soft targets: rule {rule!r}, expected 'table' or 'leave_one_out'")
    offsets = np.searchsorted(question, np.arange(len(split) + 1)).astype(np.int64)
    return SoftTargets(label.astype(np.int32), scores.astype(np.float32), offsets)
