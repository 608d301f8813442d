"""COCO results files: what the writer makes passes the checker, and each fault has its own line."""

from __future__ import annotations

import json

import pytest

from limner.cli import main
from limner.errors import UserError
from limner.submit_captions import check_caption_file, check_caption_submission, write_caption_submission


def rows(*numbers: int) -> list[dict]:
    return [{"id": n, "image_id": n, "caption": f"a dog {n}", "logp": -0.5} for n in numbers]


@pytest.fixture
def references(tmp_path):
    path = tmp_path / "references.json"
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2, 3)]
    annotations = [{"id": n, "image_id": n, "caption": "A dog."} for n in (1, 2)]  # of 3 nobody said anything
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_what_is_written_passes(tmp_path, references):
    path = tmp_path / "new" / "captions_val2014_limner_results.json"
    assert write_caption_submission(path, rows(3, 1, 2)) == 3
    assert json.loads(path.read_text()) == [{"image_id": n, "caption": f"a dog {n}"} for n in (3, 1, 2)]
    assert check_caption_submission(path, [1, 2, 3]) == 3
    assert check_caption_file(path, references) == f"{path}: good: 3 captions"


ROW_FAULTS = [
    ([{"image_id": "2", "caption": "x"}], "record 0: image_id is '2', expected a whole number"),
    ([{"image_id": 2.0, "caption": "x"}], "record 0: image_id is 2.0, expected a whole number"),
    ([{"image_id": 2, "caption": " "}], "image 2: caption is ' ', expected a text that is not empty"),
    ([{"image_id": 2, "caption": ["a", "dog"]}], r"image 2: caption is \['a', 'dog'\], expected a text"),
    (rows(1, 2, 3, 2, 1), "image_id stands twice: 1, 2; expected one caption for each image"),
    ([], "holds no captions, expected one for each image"),
]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        *ROW_FAULTS,
        ([{"image": 1, "caption": "x"}], r'record 0 is .*, expected \{"image_id": 1, "caption": "text"\}'),
        (rows(1, 2, 3, *range(10, 18)), "image ids that the split has not: 10, 11, 12, 13, 14 and 3 more; is it the"),
        (rows(2), "no caption of 2 of 3 images: 1, 3"),
        ({"captions": []}, r"starts with '\{', expected '\['"),
    ],
)
def test_checker_refuses(tmp_path, records, message):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(records))
    with pytest.raises(UserError, match=message) as caught:
        check_caption_submission(path, [1, 2, 3])
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("records", "message"), ROW_FAULTS)
def test_writer_refuses_and_writes_nothing(tmp_path, records, message):
    with pytest.raises(UserError, match=message):
        write_caption_submission(tmp_path / "captions.json", records)
    assert list(tmp_path.iterdir()) == []


def test_command_line_knows_the_kind(tmp_path, references, capsys):
    path = tmp_path / "mine.json"
    write_caption_submission(path, rows(1, 2, 3))
    assert main(["submission", "check", str(path), str(references)]) == 0
    assert capsys.readouterr().out == (
        f"{path}: good: 3 captions; COCO's evaluation server wants the name captions_SPLIT_METHOD_results.json\n"
    )
    write_caption_submission(path, rows(1, 2, 9))
    assert main(["submission", "check", str(path), str(references)]) == 2
    told = f"limner submission: {path}: image ids that {references} has not: 9; is it the same split?\n"
    assert capsys.readouterr().err == told


def test_one_split_of_a_karpathy_file(tmp_path, capsys):
    path, references = tmp_path / "captions_test2014_limner_results.json", tmp_path / "karpathy.json"
    images = [
        {"split": split, "cocoid": n, "filename": f"{n}.jpg", "sentences": [{"tokens": ["a"], "raw": "A."}]}
        for n, split in enumerate(("train", "test", "test", "val"))
    ]
    references.write_text(json.dumps({"images": images}))
    write_caption_submission(path, rows(1, 2))
    assert main(["submission", "check", str(path), str(references), "--split", "test"]) == 0
    assert capsys.readouterr().out == f"{path}: good: 2 captions\n"
    assert main(["submission", "check", str(path), str(references)]) == 2
    assert "no caption of 2 of 4 images: 0, 3" in capsys.readouterr().err


def test_answers_have_no_split(tmp_path, references, capsys):
    path = tmp_path / "answers.json"
    path.write_text(json.dumps([{"question_id": 1, "answer": "yes"}]))
    assert main(["submission", "check", str(path), str(references), "--split", "val"]) == 2
    assert "--split" in capsys.readouterr().err
