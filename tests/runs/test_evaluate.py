"""Evaluation, ensembles, predictions and submissions of a trained model, through the command line."""

from __future__ import annotations

import json

import pytest

from limner.metrics import rows as rows_of
from limner.submit import check_vqa_submission


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_one_process_and_two_agree(limner, trained, tmp_path):
    one = limner("evaluate", f"run={trained}", "trainer.threads=1", f"out={tmp_path}/one")
    assert "81 of 81 items" in one.stdout
    limner("evaluate", f"run={trained}", "trainer=ddp_cpu", "data.eval_batch_size=26", f"out={tmp_path}/two")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    mine, theirs = (list(rows_of.read(tmp_path / name / "rows.jsonl.gz")) for name in ("one", "two"))
    assert len(mine) == 81
    for a, b in zip(mine, theirs, strict=True):
        near = [row.pop("confidence") for row in (a, b)], [dict(row.pop("top5")) for row in (a, b)]
        maps = [row.pop("attention") for row in (a, b)]
        assert a == b  # answers, ids, questions, accuracies: to the byte; probabilities but for rounding
        assert near[0][0] == pytest.approx(near[0][1], abs=1e-5)
        assert near[1][0] == pytest.approx(near[1][1], abs=1e-5)
        assert maps[0] == pytest.approx(maps[1], abs=2e-5)


def test_what_training_said_is_what_evaluation_says(limner, trained, tmp_path):
    limner("evaluate", f"model={trained / 'package'}", "split=test", "trainer.threads=1", f"out={tmp_path}/out")
    assert metrics(tmp_path / "out") == metrics(trained / "eval/test")
    result = json.loads((trained / "result.json").read_text())
    assert metrics(tmp_path / "out")["metrics"]["score"] == result["metrics"]["test/score"]


def test_ensemble_and_submission(limner, trained, trained_by_two, toy, tmp_path):
    models = f"model=[{trained / 'package'},{trained_by_two / 'package'}]"
    done = limner("evaluate", models, "submission=true", f"out={tmp_path}/out")
    assert "submission:" in done.stdout
    questions = toy / "v2_OpenEnded_toy_val_questions.json"
    assert check_vqa_submission(tmp_path / "out/submission.json", questions) == 81
    answers = json.loads((tmp_path / "out/submission.json").read_text())
    assert {a["question_id"]: a["answer"] for a in answers} == {
        row["id"]: row["answer"] for row in rows_of.read(tmp_path / "out/rows.jsonl.gz")
    }


def test_predict(limner, trained, toy, tmp_path):
    """Predictions from files are the rows of an evaluation."""
    words = (f"model={trained / 'package'}", f"features={toy / 'regions.h5'}", "threads=1")
    questions = f"questions={toy / 'v2_OpenEnded_toy_test_questions.json'}"
    limner("predict", *words, questions, f"out={tmp_path}/rows.jsonl")
    limner("predict", *words, questions, f"out={tmp_path}/answers.json", "format=submission")
    mine = {row["id"]: row for row in rows_of.read(tmp_path / "rows.jsonl")}
    theirs = {row["id"]: row for row in rows_of.read(trained / "eval/test/rows.jsonl.gz")}
    assert mine.keys() == theirs.keys()
    for key, row in mine.items():
        assert row["answer"] == theirs[key]["answer"]
        assert row["confidence"] == pytest.approx(theirs[key]["confidence"], abs=1e-5)
        assert row["attention"] == pytest.approx(theirs[key]["attention"], abs=2e-5)
    submitted = json.loads((tmp_path / "answers.json").read_text())
    assert {a["question_id"]: a["answer"] for a in submitted} == {k: row["answer"] for k, row in mine.items()}


def test_other_features_are_refused(limner, trained, toy, tmp_path):
    """A model trained on regions is not asked about grid cells; on one process or on two."""
    other = f"data.features=[{toy / 'grid.h5'}]"
    done = limner("evaluate", f"run={trained}", other, f"out={tmp_path}/out", expect=2)
    assert "but the model was trained on" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    questions = toy / "v2_OpenEnded_toy_test_questions.json"
    words = (f"model={trained / 'package'}", f"features={toy / 'grid.h5'}", f"questions={questions}")
    done = limner("predict", *words, f"out={tmp_path}/rows.jsonl", expect=2)
    assert "but the model was trained on" in done.stderr
    assert not (tmp_path / "rows.jsonl").exists()
