"""Challenge files: what the writer makes passes the checker, and each fault has its own line."""

from __future__ import annotations

import json

import pytest

from limner.data.vqa_files import write_questions
from limner.errors import UserError
from limner.submit import check_vqa_submission, write_vqa_submission


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "questions.json"
    write_questions(path, [{"question_id": n, "image_id": 1, "question": "what?"} for n in (1, 2, 3)])
    return path


def rows(*numbers: int) -> list[dict]:
    return [{"question_id": n, "answer": f"a{n}", "confidence": 0.5} for n in numbers]


def test_what_is_written_passes(tmp_path, asked):
    path = tmp_path / "new" / "answers.json"
    assert write_vqa_submission(path, rows(3, 1, 2)) == 3
    assert json.loads(path.read_text()) == [{"question_id": n, "answer": f"a{n}"} for n in (3, 1, 2)]
    assert check_vqa_submission(path, asked) == 3


ROW_FAULTS = [
    ([5], "record 0 is 5, expected"),
    ([{"question_id": 1}], "record 0 is .* expected"),
    ([*rows(1), {"question_id": "2", "answer": "x"}], "record 1: question_id is '2', expected a whole number"),
    ([{"question_id": True, "answer": "x"}], "question_id is True"),
    ([{"question_id": 2, "answer": " "}], "question 2: answer is ' ', expected a text that is not empty"),
    ([{"question_id": 2, "answer": 4}], "question 2: answer is 4"),
    (rows(1, 2, 3, 2), "question_id stands twice: 2;"),
    ([], "holds no answers"),
]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        *ROW_FAULTS,
        (rows(1, 2, 3, 9), "question ids that .* has not: 9; is it the same split"),
        (rows(2), "no answer to 2 of 3 questions: 1, 3"),
        ({"answers": []}, r"starts with '\{', expected '\['"),
    ],
)
def test_checker_refuses(tmp_path, asked, answers, message):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(answers))
    with pytest.raises(UserError, match=message) as caught:
        check_vqa_submission(path, asked)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("answers", "message"), ROW_FAULTS[3:])
def test_writer_refuses_and_writes_nothing(tmp_path, answers, message):
    with pytest.raises(UserError, match=message):
        write_vqa_submission(tmp_path / "answers.json", answers)
    assert list(tmp_path.iterdir()) == []


def test_a_split_in_two_files(tmp_path, asked):
    more, path = tmp_path / "more.json", tmp_path / "answers.json"
    write_questions(more, [{"question_id": 4, "image_id": 1, "question": "what?"}])
    write_vqa_submission(path, rows(4, 1, 2, 3))
    assert check_vqa_submission(path, asked, more) == 4
    with pytest.raises(UserError, match=r"question ids that .*questions\.json has not: 4"):
        check_vqa_submission(path, asked)


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "answers.json"
    write_vqa_submission(path, rows(1))

    def full(self, text, **_):
        self.write_bytes(text.encode()[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_text", full)
    with pytest.raises(UserError, match=r"answers\.json: cannot be written \(No space left on device\); free space or"):
        write_vqa_submission(path, rows(1, 2))
    assert json.loads(path.read_text()) == [{"question_id": 1, "answer": "a1"}]
    assert [p.name for p in tmp_path.iterdir()] == ["answers.json"]


def test_a_folder_that_cannot_be(tmp_path, asked):
    with pytest.raises(UserError, match=r"answers\.json: cannot be written \("):
        write_vqa_submission(asked / "answers.json", rows(1))
