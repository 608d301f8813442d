"""Questions as arrays: dense soft targets against a plain loop, tokens against encoding one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.data.answers import AnswerVocabulary
from limner.data.text import Vocabulary, tokenize
from limner.data.tokens import pad_tokens
from limner.data.vqa_items import VQAItems
from limner.data.vqa_split import VQASplit
from limner.metrics.normalize import normalize_answer

STRINGS = ["yes", "Yes.", "no", "two", "2", "a dog", "elephant"]
ANSWERS = ["yes", "no", "2", "dog"]
TABLE = [0, 0.3, 0.6, 0.9, 1.0]


def make_split(questions: list[str], *, seed: int = 0) -> VQASplit:
    rng = np.random.default_rng(seed)
    count = len(questions)
    answers = rng.integers(0, len(STRINGS), (count, 10)).astype(np.int32)
    answers[2] = STRINGS.index("elephant")  # a question nobody can learn from
    zeros = np.zeros(count, np.int32)
    ids = np.arange(count) * 7 + 1
    return VQASplit(ids, ids, questions, STRINGS, answers, answers[:, 0], zeros, zeros, ["other"], ["what"])


QUESTIONS = ["is it red?", "what", "is the dog red, or not?", "red dog's dog", "is it?"]


@pytest.fixture
def split():
    return make_split(QUESTIONS)


def items(split, **options):
    settings = {"question_length": 4, "unknown": "error", "normalize": True, **options}
    return VQAItems(split, Vocabulary.build(QUESTIONS), AnswerVocabulary(ANSWERS), **settings)


@pytest.mark.parametrize("normalize", [True, False])
def test_scores_are_those_of_a_plain_loop(split, normalize):
    made = items(split, normalize=normalize)
    order = np.array([4, 2, 0, 0, 3, 1])
    dense = np.zeros((len(order), len(ANSWERS)), np.float32)
    for row, q in enumerate(order):
        said = [STRINGS[a] for a in split.answers[q]]
        said = [normalize_answer(s) for s in said] if normalize else said
        for label, answer in enumerate(ANSWERS):
            dense[row, label] = TABLE[min(said.count(answer), 4)]
    assert np.array_equal(made.scores(order), dense)
    assert not dense[1].any()  # the empty one is in the batch
    assert dense.any(1).sum() == len(order) - 1
    batch = made.batch(order)
    assert torch.equal(batch["scores"], torch.from_numpy(dense))
    assert batch["scores"].dtype == torch.float32
    assert batch["id"].tolist() == (order * 7 + 1).tolist()


def test_only_empty_targets(split):
    made = items(split)
    assert made.scores(np.array([2, 2])).tolist() == [[0.0] * 4] * 2
    assert made.scores(np.array([], np.int64)).shape == (0, 4)


def test_tokens_are_padded_on_the_right(split):
    made = items(split)
    words = Vocabulary.build(QUESTIONS)
    order = [3, 1, 2, 0]
    tokens = made.batch(np.array(order))["tokens"]
    assert tokens.dtype == torch.int64
    assert tokens.shape == (4, 4)  # the first question_length words of the longest
    for row, q in zip(tokens.tolist(), order):
        want = [words.ids[w] for w in tokenize(QUESTIONS[q])][:4]
        assert row == want + [len(words)] * (4 - len(want))
    assert made.batch(np.array([1, 4]))["tokens"].shape == (2, 2)  # as wide as this batch needs


def test_a_split_without_answers_has_no_scores(split):
    made = items(VQASplit(split.question_id, split.image_id, QUESTIONS))
    assert made.batch(np.array([0])).keys() == {"id", "tokens"}
    assert len(made) == len(QUESTIONS)


def test_questions_without_a_known_word():
    split = make_split(["zebra", "zebra", "zebra"])
    tokens = items(split, unknown="skip").batch(np.array([0, 2]))["tokens"]
    assert tokens.tolist() == [[len(Vocabulary.build(QUESTIONS))]] * 2


def test_pad_tokens_of_the_last_item_reads_no_further():
    flat, offsets = np.array([5, 6, 7], np.int32), np.array([0, 2, 3, 3])
    assert pad_tokens(flat, offsets, np.array([2, 1, 0]), 9).tolist() == [[9, 9], [7, 9], [5, 6]]
    assert pad_tokens(flat, offsets, np.array([], np.int64), 9).shape == (0, 1)
