"""Answer vocabularies and soft targets, against a slow version written from the definition."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from limner.data.answers import AnswerVocabulary, soft_targets
from limner.data.vqa_split import VQASplit
from limner.errors import UserError
from limner.metrics.normalize import normalize_answer


def split_of(answers: list[list[str]], best: list[str] | None = None, first_id: int = 0) -> VQASplit:
    table: dict[str, int] = {}
    width = max(map(len, answers))
    rows = [[table.setdefault(a, len(table)) for a in row] + [-1] * (width - len(row)) for row in answers]
    best_ids = [table.setdefault(a, len(table)) for a in (best or [row[0] for row in answers])]
    count = len(answers)
    return VQASplit(
        np.arange(first_id, first_id + count),
        np.zeros(count, np.int64),
        ["what"] * count,
        list(table),
        np.array(rows, np.int32),
        np.array(best_ids, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
        ["other"],
        ["what"],
    )


def as_dicts(targets, vocabulary) -> list[dict[str, float]]:
    return [
        {
            vocabulary.answers[label]: float(score)
            for label, score in zip(targets.labels[a:b].tolist(), targets.scores[a:b].tolist())
        }
        for a, b in zip(targets.offsets[:-1], targets.offsets[1:])
    ]


def test_vocabulary_counts_normal_forms_over_all_splits():
    train = split_of([["x"]] * 6, ["Two", "2", "a cat", "dog", "dog.", "zebra"])
    val = split_of([["x"]] * 3, ["cat", "bee", "bee"], first_id=100)
    assert AnswerVocabulary.build([train, val], min_count=2).answers == ("2", "bee", "cat", "dog")
    assert AnswerVocabulary.build([train], min_count=1).answers == ("2", "dog", "cat", "zebra")


def test_answers_that_nobody_calls_best_do_not_count():
    assert AnswerVocabulary.build([split_of([["no", "yes"]] * 9, ["yes"] * 9)]).answers == ("yes",)


def test_published_minimum_is_nine():
    split = split_of([["x"]] * 17, ["nine"] * 9 + ["eight"] * 8)
    assert AnswerVocabulary.build([split]).answers == ("9",)


def test_from_json_in_every_form():
    vocabulary = AnswerVocabulary(["yes", "no", ""])
    for data in (json.loads(json.dumps(vocabulary.to_json())), ["yes", "no", ""], {"no": 1, "": 2, "yes": 0}):
        again = AnswerVocabulary.from_json(data)
        assert again.answers == ("yes", "no", "")
        assert again.ids == {"yes": 0, "no": 1, "": 2}
    assert len(vocabulary) == 3


def test_the_empty_form_is_said_as_a():
    vocabulary = AnswerVocabulary(["yes", ""])
    assert vocabulary.texts == ("yes", "a")
    assert normalize_answer(vocabulary.texts[1]) == vocabulary.answers[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnswerVocabulary(["a", "b", "a"]), "stand twice: 'a'"),
        (lambda: AnswerVocabulary(["a", 3]), "found 3"),
        (lambda: AnswerVocabulary([]), "found nothing"),
        (lambda: AnswerVocabulary.from_json("yes", "x.json"), "x.json: expected a list"),
        (lambda: AnswerVocabulary.from_json({"a": 0, "b": 2}, "x.json"), "x.json: labels of 2 answers"),
        (lambda: AnswerVocabulary.build([split_of([["x"]])]), r"none is the answer of 9 questions \(most: 1\)"),
        (lambda: AnswerVocabulary.build([VQASplit(np.arange(1), np.arange(1), ["q"])]), "without annotations"),
        (lambda: soft_targets(VQASplit(np.arange(1), np.arange(1), ["q"]), AnswerVocabulary(["a"])), "no annotations"),
        (
            lambda: soft_targets(split_of([["x"]]), AnswerVocabulary(["a"]), rule="soft"),
            "rule 'soft', expected 'table'",
        ),
    ],
)
def test_errors_are_one_line(make, message):
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


ROWS = [
    ["yes"] * 10,
    ["two"] * 3 + ["2"] + ["a dog"] * 2 + ["dog", "zebra", "bee", "yes"],
    ["zebra"] * 10,
    ["yes"] * 4 + ["dog"] * 3 + ["2"] * 2 + ["Yes"],
]


def test_table_of_scores_and_empty_targets():
    vocabulary = AnswerVocabulary(["yes", "2", "dog"])
    targets = soft_targets(split_of(ROWS), vocabulary)
    assert as_dicts(targets, vocabulary) == [
        {"yes": 1.0},
        {"yes": np.float32(0.3), "2": 1.0, "dog": np.float32(0.9)},
        {},
        {"yes": 1.0, "2": np.float32(0.6), "dog": np.float32(0.9)},
    ]
    assert (targets.labels.dtype, targets.scores.dtype, targets.offsets.dtype) == (np.int32, np.float32, np.int64)
    assert targets.reachable() == pytest.approx(0.75)


def test_raw_match_loses_what_is_not_in_normal_form():
    vocabulary = AnswerVocabulary(["yes", "2", "dog"])
    targets = soft_targets(split_of(ROWS), vocabulary, normalize=False)
    assert as_dicts(targets, vocabulary)[1] == {k: np.float32(0.3) for k in ("yes", "2", "dog")}
    assert targets.reachable() == pytest.approx((1 + 0.3 + 0 + 1) / 4)


def test_nothing_reachable():
    assert soft_targets(split_of([["x"] * 10]), AnswerVocabulary(["y"])).reachable() == 0


def leave_one_out(answers: list[str], answer: str) -> float:
    scores = []
    for left_out in range(len(answers)):
        others = answers[:left_out] + answers[left_out + 1 :]
        scores.append(min(1, others.count(answer) / 3))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("people", [10, 4, 11])
def test_leave_one_out_is_the_definition_and_the_table_for_ten_people(people):
    rng = np.random.default_rng(people)
    rows = [[f"w{i}" for i in np.minimum(rng.geometric(0.4, people), 6)] for _ in range(50)] + [["w1"] * people]
    vocabulary = AnswerVocabulary([f"w{i}" for i in (3, 1, 2, 5)])
    split = split_of(rows)
    exact = as_dicts(soft_targets(split, vocabulary, rule="leave_one_out"), vocabulary)
    for row, found in zip(rows, exact):
        expected = {a: leave_one_out(row, a) for a in Counter(row) if a in vocabulary.ids}
        assert found == pytest.approx(expected, abs=1e-7)
    if people == 10:
        table = as_dicts(soft_targets(split, vocabulary), vocabulary)
        assert all(found == pytest.approx(other, abs=1e-7) for found, other in zip(table, exact))


def test_few_answers_are_padded_with_nothing():
    vocabulary = AnswerVocabulary(["w0", "w1"])
    split = split_of([["w1", "w1", "w0"], ["w0"] * 10])  # -1 in the first row must not count as the last string
    assert as_dicts(soft_targets(split, vocabulary), vocabulary)[0] == {
        "w1": pytest.approx(0.6),
        "w0": pytest.approx(0.3),
    }
