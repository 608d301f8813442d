"""Answers of a packaged model, of an ensemble, and to questions and regions that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_vqa import ANSWERS, package

from limner.errors import UserError
from limner.inference.vqa import Answerer, one_model

REGIONS = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


def probabilities(answerer: Answerer, question: str = "is it red?") -> dict[str, float]:
    return dict(answerer.answer(REGIONS, question).top5)


def test_an_answer():
    made = Answerer([package()]).answer(REGIONS, "Is it red?")
    assert made.answer in ANSWERS
    assert made.top5[0] == (made.answer, made.confidence)
    assert [p for _, p in made.top5] == sorted((p for _, p in made.top5), reverse=True)
    assert made.attention.shape == (3,)
    assert made.attention.sum() == pytest.approx(1, abs=1e-5)


def test_many_questions_are_answered_as_one_by_one():
    answerer = Answerer([package()])
    questions = ["is it red", "what colour is it", "red"]
    for one, many in zip([answerer.answer(REGIONS, q) for q in questions], answerer.answer_many(REGIONS, questions)):
        assert one.answer == many.answer
        assert one.confidence == pytest.approx(many.confidence, abs=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
def test_an_ensemble_answers_with_the_mean_probability(softmax):
    members = [package(seed, softmax=softmax) for seed in range(3)]
    each = [probabilities(Answerer([member])) for member in members]
    together = probabilities(Answerer(members))
    assert max(abs(each[0][a] - each[1][a]) for a in ANSWERS) > 0.01  # the members differ
    for answer in ANSWERS:
        assert together[answer] == pytest.approx(np.mean([p[answer] for p in each]), abs=1e-6)
    if softmax:
        assert sum(together.values()) == pytest.approx(1, abs=1e-5)


def test_members_that_do_not_fit_together_are_refused():
    first, second = package(0), package(1)
    second.vocab = {**second.vocab, "answers": ANSWERS[::-1]}
    with pytest.raises(UserError, match="package 2 has other answers than package 1"):
        one_model([first, second])
    with pytest.raises(UserError, match="another kind of loss"):
        one_model([first, package(1, softmax=True)])
    with pytest.raises(UserError, match="question_length"):
        one_model([first, package(1, question_length=5)])
    with pytest.raises(UserError, match="other features"):
        one_model([first, package(1, feature_dim=7)])


def test_unknown_words_are_skipped():
    answerer = Answerer([package()])
    assert probabilities(answerer, "is it really red?") == pytest.approx(probabilities(answerer, "is it red"))


@pytest.mark.parametrize("question", ["", "   ", "?", "unknown words alone"])
def test_a_question_without_a_known_word_is_answered_from_the_image(question):
    made = Answerer([package()]).answer(REGIONS, question)
    assert made.answer in ANSWERS
    assert np.isfinite(made.confidence)


def test_only_the_first_words_are_read():
    answerer = Answerer([package(question_length=2)])
    assert probabilities(answerer, "is it") == pytest.approx(probabilities(answerer, "is it red red red"))


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (REGIONS[:, :5], "5 numbers a region, the model expects 6"),
        (REGIONS[0], r"shape \(6,\)"),
        (REGIONS[:0], r"shape \(0, 6\)"),
        (np.where(np.arange(6) == 2, np.nan, REGIONS), "NaN or infinite"),
        (np.where(np.arange(6) == 2, np.inf, REGIONS), "NaN or infinite"),
        (None, "0 numbers a region, the model expects 6"),
    ],
)
def test_wrong_regions_are_refused(features, said):
    with pytest.raises(UserError, match=said):
        Answerer([package()]).answer(features, "is it red?")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
def test_regions_of_any_number_type(dtype):
    regions = np.round(REGIONS)
    answerer = Answerer([package()])
    assert answerer.answer(regions.astype(dtype), "red").confidence == pytest.approx(
        answerer.answer(regions, "red").confidence, abs=2e-3
    )


def test_a_model_without_eyes():
    made = Answerer([package(feature_dim=0, attention="none")]).answer(None, "is it red?")
    assert made.attention is None
    assert made.answer in ANSWERS


def test_nothing_is_left_to_chance():
    """The model is in evaluation mode: dropout would answer differently each time."""
    member = package(dropout_classifier=0.5, dropout_attention=0.5)
    member.model.train()
    answerer = Answerer([member])
    torch.manual_seed(1)
    first = probabilities(answerer)
    assert first == probabilities(answerer)
