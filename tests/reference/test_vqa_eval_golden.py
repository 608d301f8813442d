"""VQA accuracy equal to the official evaluator, to every digit it prints, on 8,977 real questions."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict

import pytest

from limner.data.reading import json_records
from limner.data.vqa_files import load_split
from limner.metrics.vqa import accuracy, per_question


@pytest.fixture(scope="module")
def case(shared):
    folder = shared / "golden/vqa/vqa_eval"

    def read(name):
        return json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))

    references = load_split(
        folder / "v2_OpenEnded_mscoco_timbmgvalid_questions.json.gz",
        folder / "v2_mscoco_timbmgvalid_annotations.json.gz",
    )
    predictions = list(json_records(folder / "predictions.json.gz", None))
    return references, predictions, read("official_result"), read("prediction_category")


def same(result, official):
    assert result["overall"] == official["overall"]
    assert result["answer_type"] == official["perAnswerType"]
    assert result["question_type"] == official["perQuestionType"]


@pytest.mark.parametrize("digits", [2, 10])
def test_overall_and_by_type(case, digits):
    references, predictions, official, _ = case
    result = accuracy(predictions, references, digits=digits)
    same(result, official[f"accuracy_n{digits}"])
    assert len(result["question_type"]) == 65
    assert result["questions"] == 8977


@pytest.mark.parametrize("digits", [2, 10])
def test_each_question(case, digits):
    references, predictions, official, _ = case
    ours = {str(number): round(value, digits) for number, value in per_question(predictions, references).items()}
    assert ours == official[f"evalQA_n{digits}"]


def test_subset_and_a_second_call(case):
    references, predictions, official, _ = case
    expected = official["subset_every_10th"]
    assert len(expected["question_ids"]) == 898
    for answer in (expected["accuracy"], official["subset_second_call"]):
        same(accuracy(predictions, references, subset=expected["question_ids"]), answer)


def test_mean_of_each_kind_of_prediction(case):
    references, predictions, official, category = case
    values = defaultdict(list)
    for number, value in per_question(predictions, references).items():
        values[category[str(number)]].append(value)
    expected = official["mean_by_prediction_category"]
    assert {kind: len(v) for kind, v in values.items()} == {kind: count for kind, (count, _) in expected.items()}
    for kind, (_, mean) in expected.items():
        assert sum(values[kind]) / len(values[kind]) == pytest.approx(mean, abs=1e-9), kind
