"""The questions of a split as numbers, ready to be put into batches: a few flat arrays, no object an item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from limner.data import question_words
from limner.data.answers import AnswerVocabulary, SoftTargets, soft_targets
from limner.data.text import Vocabulary
from limner.data.tokens import pad_tokens
from limner.data.vqa_files import VQASplit


class VQAItems:
    """Encoded questions and soft targets of a split.

    At VQA v2 size (443,757 questions) these arrays take about 60 MB.

    Args:
        split: the questions, with or without answers.
        words: question vocabulary. answers: answer vocabulary.
        question_length: first tokens that are read.
        unknown: what to do with words outside the vocabulary, `skip` or `error`.
        normalize: match normalised answers (see `soft_targets`).
        cache: folder in which the words' ids are kept; None: nowhere.
    """

    def __init__(
        self,
        split: VQASplit,
        words: Vocabulary,
        answers: AnswerVocabulary,
        *,
        question_length: int,
        unknown: Any,
        normalize: bool,
        cache: str | Path | None = None,
    ):
        self.split = split
        self.pad, self.labels = words.pad, len(answers)
        self.tokens, self.offsets = question_words.encoded(
            split.questions, words, question_length, unknown=unknown, cache=cache
        )
        self.targets: SoftTargets | None = None
        if split.annotated:
            self.targets = soft_targets(split, answers, normalize=normalize)

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        """`id (B,)`, `tokens (B,T)` right-padded, and `scores (B,A)` where the answers are known."""
        made = {
            "id": torch.from_numpy(self.split.question_id[items]),
            "tokens": pad_tokens(self.tokens, self.offsets, items, self.pad),
        }
        if self.targets is not None:
            made["scores"] = torch.from_numpy(self.scores(items))
        return made

    def scores(self, items: np.ndarray) -> np.ndarray:
        """Dense soft targets (B,A) float32 of some items."""
        assert self.targets is not None
        labels, scores, offsets = self.targets
        starts, counts = offsets[items], offsets[items + 1] - offsets[items]
        dense = np.zeros((len(items), self.labels), np.float32)
        row = np.repeat(np.arange(len(items)), counts)
        # position in the flat arrays: each item's start, then 0, 1, 2, ... within the item
        place = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(len(row))
        dense[row, labels[place]] = scores[place]
        return dense
