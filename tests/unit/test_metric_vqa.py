"""VQA accuracy: the evaluator's quirks one by one, against a slow version, and every way in which rows can be wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from limner.data.vqa_split import VQASplit
from limner.errors import UserError
from limner.metrics.normalize import clean_space, normalize_answer, plain_words, strip_punctuation
from limner.metrics.vqa import accuracy, per_question


def references(answers: list[list[str]], kinds: list[str] | None = None) -> VQASplit:
    table: dict[str, int] = {}
    width = max(map(len, answers))
    rows = [[table.setdefault(a, len(table)) for a in row] + [-1] * (width - len(row)) for row in answers]
    count = len(answers)
    kinds = kinds or ["other"] * count
    names = sorted(set(kinds))
    return VQASplit(
        np.arange(count) * 7 + 1,
        np.zeros(count, np.int64),
        ["what"] * count,
        list(table),
        np.array(rows, np.int32),
        np.zeros(count, np.int32),
        np.array([names.index(kind) for kind in kinds], np.int32),
        np.zeros(count, np.int32),
        names,
        ["what is"],
    )


def rows_of(answers: list[str]) -> list[dict]:
    return [{"question_id": i * 7 + 1, "answer": answer} for i, answer in enumerate(answers)]


def score(prediction: str, people: list[str]) -> float:
    return per_question(rows_of([prediction]), references([people]))[1]


@pytest.mark.parametrize(
    ("prediction", "people", "expected"),
    [
        ("yes", ["yes"] * 10, 100),
        ("Yes", ["yes"] * 10, 0),  # all agree: nothing is normalised
        ("yes.", ["yes"] * 10, 0),
        (" yes\n", ["yes"] * 10, 100),  # but white space always is
        ("one\tway", [" one way"] * 10, 100),
        ("1 way", ["one way"] * 10, 0),
        ("Yes.", ["yes"] * 9 + ["no"], 100),
        ("the 2 dogs!", ["two dogs"] * 2 + ["A"] * 8, 60),
        ("a", ["the"] * 5 + ["an"] * 5, 100),
        ("x", ["x"] + ["y"] * 9, 30),
        ("x", ["x"] * 3 + ["y"] * 7, 90),
        ("x", ["x"] * 4 + ["y"] * 6, 100),
        ("z", ["x"] * 4 + ["y"] * 6, 0),
        ("yes", ["yes", "yes "] * 5, 100),  # equal once stripped: not normalised
        ("YES", ["yes", "yes "] * 5, 0),
        ("YES", ["yes", "Yes"] * 5, 100),  # not equal as written: normalised
        ("x", ["x"], 0),  # nobody else to agree with
        ("x", ["x", "x"], 100 / 3),
    ],
)
def test_one_question(prediction, people, expected):
    assert score(prediction, people) == pytest.approx(expected)


def add(values: list[float]) -> float:
    """One by one, as `sum` did before Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total


def official(prediction: str, people: list[str]) -> float:
    people, prediction = [clean_space(a) for a in people], clean_space(prediction)
    if len(set(people)) > 1:
        people, prediction = [normalize_answer(a) for a in people], normalize_answer(prediction)
    each = []
    for left_out in range(len(people)):
        agree = sum(a == prediction for i, a in enumerate(people) if i != left_out)
        each.append(min(1, float(agree) / 3))
    return add(each) / len(each)


def test_against_a_slow_version_with_equal_sums():
    rng = np.random.default_rng(0)
    words = ["yes", "Yes", "two", "2", "a cat", "cat", "no.", "no"]
    people = [[words[i] for i in rng.integers(0, rng.integers(1, 8), rng.choice([10, 10, 3]))] for _ in range(400)]
    said = [words[i] for i in rng.integers(0, 8, 400)]
    kinds = [["number", "other", "yes/no"][i] for i in rng.integers(0, 3, 400)]
    split = references(people, kinds)
    expected = [official(p, a) for p, a in zip(said, people)]
    assert list(per_question(rows_of(said), split).values()) == [100 * value for value in expected]
    result = accuracy(rows_of(said), split)
    assert result["unrounded"]["overall"] == 100 * add(expected) / 400
    assert result["overall"] == round(100 * add(expected) / 400, 2)
    assert result["questions"] == 400
    for kind in set(kinds):
        values = [value for value, other in zip(expected, kinds) if other == kind]
        assert result["answer_type"][kind] == round(100 * add(values) / len(values), 2)
    assert set(result["answer_type"]) == {"number", "other", "yes/no"}
    assert result["question_type"] == {"what is": result["overall"]}


def test_rows_in_any_order_and_a_second_call_give_the_same():
    split = references([["x"] * 5 + ["X"] * 5, ["y"] * 10, ["z"] * 9 + ["q"]])
    rows = rows_of(["X.", "y", "q"])
    first = accuracy(rows, split)
    assert accuracy(rows[::-1], split) == first == accuracy(rows, split)


def test_subset_in_its_order_ignores_other_rows():
    split = references([["x"] * 10, ["y"] * 10, ["z"] * 10])
    assert per_question(rows_of(["x", "n", "z"]), split, subset=[15, 8, 15]) == {15: 100.0, 8: 0.0}
    assert accuracy(rows_of(["x", "n", "z"])[1:], split, subset=[8, 15])["overall"] == 50.0


def test_digits():
    split = references([["x"] * 10, ["y"] * 10, ["z"] * 10])
    assert accuracy(rows_of(["x", "n", "z"]), split, digits=4)["overall"] == 66.6667


@pytest.mark.parametrize(
    ("rows", "subset", "message"),
    [
        (rows_of(["x"]), None, r"answers to 1 questions, references for 3: 2 missing \(8, 15\)"),
        ([*rows_of(["x", "y", "z"]), {"question_id": 99, "answer": "x"}], None, r"1 unknown \(99\)"),
        (rows_of(["x", "y", "z"]) + rows_of(["x"]), None, r"1 double \(1\)"),
        ([*rows_of(["x"]) * 2, {"question_id": 5, "answer": "x"}], None, r"2 missing .* 1 unknown .* 1 double"),
        (rows_of(["x"]), [8], r"1 missing \(8\)"),
        (rows_of(["x"]), [9], "subset has unknown question ids: 9"),
        (rows_of(["x"]), [], "subset is empty"),
        ([{"question_id": 1, "answer": None}], None, "the answer to question 1 is None, expected a text"),
        ([{"id": 1, "answer": "x"}], None, "expected question_id and answer"),
    ],
)
def test_rows_that_do_not_fit(rows, subset, message):
    with pytest.raises(UserError, match=message) as caught:
        accuracy(rows, references([["x"] * 10, ["y"] * 10, ["z"] * 10]), subset=subset)
    assert "\n" not in str(caught.value)


def test_references_without_answers():
    with pytest.raises(UserError, match="no annotations"):
        accuracy([], VQASplit(np.arange(1), np.arange(1), ["q"]))


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("", ""),
        ("The", ""),
        ("1,000 red/white", "1000 redwhite"),
        ("red,white", "red white"),
        ("red ,white,blue", "red whiteblue"),
        ("U.S.A. 3.5", "usa 3.5"),
        ("." * 40 + "x", "." * 8 + "x"),
        ("dont SOMEBODY'D shes", "don't somebodyd shes"),
        ("None of ten", "0 of 10"),
        ("٣,٣", "٣ ٣"),  # a digit is an ASCII digit
    ],
)
def test_normal_form(raw, normal):
    assert normalize_answer(raw) == normal == plain_words(strip_punctuation(raw))


def test_metric_needs_no_torch():
    code = "import sys, limner.metrics.vqa, limner.data.vqa_files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
