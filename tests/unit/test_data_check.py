"""`limner data check` names everything that is wrong at once; `limner data init` writes what it calls good."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import h5py
import pytest

from limner.data.check import main
from limner.data.command import main as data
from limner.data.example import TASKS
from limner.data.kinds import kinds_of, split_of
from limner.errors import UserError


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    for task in TASKS:
        assert data(["init", "--task", task, str(folder / task)]) == 0
    return folder


@pytest.fixture
def own(examples, tmp_path):
    """A copy of an example, by its task."""

    def copied(task):
        shutil.copytree(examples / task, tmp_path / task)
        return tmp_path / task

    return copied


def faults(folder, capsys, *words) -> list[str]:
    assert main([str(folder), *words]) == 2
    out = capsys.readouterr().out.splitlines()
    found = [line for line in out if line.startswith("FAULT")]
    assert out[-1] == f"{folder}: {len(found):,} faults"
    return found


def changed(path, change) -> None:
    value = json.loads(path.read_text())
    path.write_text(json.dumps(change(value) or value))


def all_there(found: list[str], expected: list[str]) -> None:
    """Each of the expected texts is in a line of its own, and there are no other lines."""
    left = list(found)
    for text in expected:
        match = next((line for line in left if text in line), None)
        assert match is not None, f"{text}\nnot in\n" + "\n".join(left)
        left.remove(match)
    assert left == []


@pytest.mark.parametrize("task", list(TASKS))
def test_an_example_is_good(examples, capsys, task):
    folder = examples / task
    assert main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"{folder}: good\n")
    assert f"{folder}/train.json: train: " in out
    assert "40 images, " in out
    assert "experiment=" in (folder / "README.md").read_text()
    assert data(["init", "--task", task, str(folder)]) == 0  # a second call leaves it alone
    with pytest.raises(UserError, match=r"made otherwise \(task "):
        data(["init", "--task", next(other for other in TASKS if other != task), str(folder)])


def test_the_example_is_what_the_readers_read(examples):
    """The one file that holds questions and annotations gives both."""
    from limner.data.vqa_files import load_split

    path = examples / "vqa" / "train.json"
    split = load_split(path, path)
    assert len(split) == 121
    assert split.annotated
    assert not load_split(examples / "vqa" / "test.json").annotated


def test_every_fault_of_questions(own, capsys):
    folder = own("vqa")

    def spoil(file):
        asked, told = file["questions"], file["annotations"]
        del asked[0]["image_id"]
        asked[1]["question"] = "  "
        asked[2] = "a text"
        asked[3]["question_id"] = "3"
        asked[3]["image_id"] = None
        asked[5]["question_id"] = asked[4]["question_id"]
        told[6]["answers"] = []
        told[7]["answers"] = [{"answer": 7}, {"antwort": "yes"}]
        del told[8]
        told[8]["image_id"] = 999
        told[9]["answers"] = [{"answer": " "}, {"answer": ""}]
        told[10]["answers"] = [{"answer": ""}, {"answer": "yes"}]
        for place in range(20, 30):
            asked[place]["image_id"] = told[place - 1]["image_id"] = 1_000_001  # an image of val

    changed(folder / "train.json", spoil)
    found = faults(folder, capsys)
    path = folder / "train.json"
    all_there(found, [
        f"{path}: questions[0]: field 'image_id' is missing, expected a whole number",
        f"{path}: questions[1] (question_id 1001): field 'question' is '  ', expected a text",
        f"{path}: questions[2]: found 'a text', expected an object",
        f"{path}: questions[3]: field 'question_id' is '3', expected a whole number",
        f"{path}: questions[3]: field 'image_id' is None, expected a whole number",
        f"{path}: question_id stands twice: 1004",
        f"{path}: annotations[6] (question_id 2001): field 'answers' is [], expected a list",
        f"{path}: annotations[7] (question_id 2002): answers[0] is {{'answer': 7}}, expected",
        f"{path}: annotations[7] (question_id 2002): answers[1] is {{'antwort': 'yes'}}, expected",
        "questions without annotations",
        "annotations without questions",
        "image_id differs for questions 1004, 2004",
        f"{path}: questions whose answers are all empty: 3000",
        "images stand in train and in val: 1000001",
    ])  # fmt: skip


def test_files_that_cannot_be_read(own, capsys):
    folder = own("vqa")
    text = (folder / "train.json").read_text()
    (folder / "train.json").write_text(text.replace('"question": "Is the moon', '"question": Is the moon', 1))
    (folder / "val.json").write_bytes(b'{"questions": [{"question": "\xff"}]}')
    (folder / "test.json").unlink()
    (folder / "test.json.gz").write_bytes(gzip.compress(text.encode())[:-200])
    (folder / "more.json").write_text("{")
    (folder / "list.json").write_text('["fine", 1]')
    regions = folder / "regions.h5"
    regions.write_bytes(regions.read_bytes()[:-1000])
    found = faults(folder, capsys)
    for text in ("train.json: invalid JSON at line 3, column 50", "val.json: is not UTF-8 text",
                 "more.json: invalid JSON at line 1, column 2",
                 "test.json.gz: damaged or cut gzip file", "regions.h5: "):  # fmt: skip
        assert any(text in line for line in found), (text, found)


def test_every_fault_of_the_splits_and_the_regions(own, capsys):
    folder = own("captions")

    def spoil(file):
        first, second, third, *_ = file
        file[first] = []
        file[second] = ["A dog.", 5, "..."]
        file[third] = "A dog."
        file["777"] = ["An image that no store has."]

    changed(folder / "train.json", spoil)
    (folder / "val.json").rename(folder / "valid.json.old")
    with h5py.File(folder / "regions.h5", "r+") as store:
        store["boxes"][0, 2] = 9999
    found = faults(folder, capsys)
    path = folder / "train.json"
    all_there(found, [
        f"{path}: image 2: caption 1 is 5, expected a text",
        f"{path}: image 3: found 'A dog.', expected a list of captions",
        f"{path}: train: images without a caption: 1, 3",
        f"{path}: train: 1 captions have no word",
        f"{path}: train: images without regions: 777",
        f"{folder}: no file of the split val",
        "boxes that are not finite, turned over, or outside the image (ids 1)",
    ])  # fmt: skip


def test_every_fault_of_dialogs(own, capsys):
    folder = own("visdial")

    def spoil(dialogs):
        first, second, third, fourth, fifth, sixth, *_ = dialogs
        del first["caption"]
        first["dialog"][3]["answer_options"] = []
        second["dialog"] = []
        del third["dialog"][4]["question"]
        del fourth["dialog"][0]["answer"]
        fifth["image_id"] = fourth["image_id"]
        sixth["dialog"][1]["answer"] = "none of these"

    changed(folder / "train.json", spoil)
    dense = [
        {"image_id": 1_000_001, "round_id": 99, "gt_relevance": [1.0]},
        {"image_id": 1_000_002, "round_id": 1},
        {"image_id": 1_000_003, "round_id": 1, "gt_relevance": [0.5] * 19},
        5,
    ]
    (folder / "val_dense.json").write_text(json.dumps(dense))
    found = faults(folder, capsys)
    path = folder / "train.json"
    all_there(found, [
        f"{path}: dialogs[0] (image_id 1): field 'caption' is missing",
        f"{path}: dialogs[0] (image_id 1): round 4: field 'answer_options' is []",
        f"{path}: dialogs[1] (image_id 2): field 'dialog' is []",
        f"{path}: dialogs[2]: field 'question' is missing",
        f"{path}: dialogs: image 4, round 1: has no answer",
        f"{path}: dialogs: image ids stand twice: 4",
        f"{path}: 2 rounds whose answer is none of their answer_options (no gt_index): images 4, 6",
        "val_dense.json: record 0 (image_id 1000001): field 'round_id' is 99",
        "val_dense.json: record 1 (image_id 1000002): has neither gt_relevance nor relevance",
        "val_dense.json: record 2 (image_id 1000003): gt_relevance has 19 numbers, expected one for each of its 20",
        "val_dense.json: record 3: found 5",
        "val_dense.json: none of its 0 images",
    ])  # fmt: skip


def test_every_fault_of_dialogs_as_visdial_has_them(tmp_path, capsys):
    said = {"question": 0, "answer": 1, "gt_index": 0, "answer_options": [1, 0]}
    dialogs = [{"image_id": k, "caption": "a moon", "dialog": [dict(said), dict(said)]} for k in range(1, 6)]
    dialogs[0]["dialog"][0]["question"] = "is it red"
    dialogs[0]["dialog"][1] = 7
    dialogs[1]["dialog"][0]["answer"] = 10**6
    dialogs[2]["dialog"][1]["answer_options"] = [1, 2]
    dialogs[3]["round_id"] = 1
    for name, chosen in (("train", dialogs), ("val", [{**dialogs[4], "image_id": 9}])):
        pools = {"questions": ["is it big", 5], "answers": ["yes", "no"]}
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": {**pools, "dialogs": chosen}}))
    found = faults(tmp_path, capsys)
    path = tmp_path / "train.json"
    all_there(found, [
        f"{path}: data.questions[1]: found 5, expected a text",
        f"{path}: data.dialogs[0] (image_id 1): round 1: field 'question' is 'is it red'",
        f"{path}: data.dialogs[0] (image_id 1): round 2 is 7, expected an object with a question",
        f"{path}: data.dialogs: image 2, round 1: answer is outside the 2 answers",
        f"{path}: data.dialogs: image 3, round 2: answer_options has a place outside the 2 answers",
        f"{path}: data.dialogs[3] (image_id 4): field 'round_id' is 1",
        f"{tmp_path}/val.json: data.questions[1]: found 5, expected a text",
    ])  # fmt: skip


def test_annotations_that_belong_to_nothing(own, capsys):
    folder = own("vqa")
    file = json.loads((folder / "train.json").read_text())
    (folder / "train.json").write_text(json.dumps({"questions": file["questions"]}))
    found = faults(folder, capsys)
    all_there(found, [f"{folder}/train.json: the split train has no annotations"])
    (folder / "train_answers.json").write_text(json.dumps({"annotations": file["annotations"]}))
    assert main([str(folder)]) == 0
    (folder / "train_answers.json").rename(folder / "test_answers.json")
    capsys.readouterr()
    found = faults(folder, capsys)
    assert any("test_answers.json: questions without annotations" in line for line in found)
    assert any("train.json: the split train has no annotations" in line for line in found)


def test_many_faults_are_counted(own, capsys):
    folder = own("vqa")
    changed(folder / "train.json", lambda file: [one.pop("image_id") for one in file["questions"]] and None)
    assert main([str(folder), "--show", "3"]) == 2
    out = capsys.readouterr().out
    assert out.count("FAULT") == 4
    assert "more of this file: --show" in out


def test_what_the_page_shows_is_what_the_readers_read(tmp_path, root):
    """The JSON of docs/own_data.md."""
    from limner.data.caption_files import load_captions
    from limner.data.visdial_files import load_split as load_dialogs
    from limner.data.vqa_files import load_split

    blocks = re.findall(r"```json\n(.*?)```", (root / "docs/own_data.md").read_text(), re.S)
    paths = [tmp_path / f"{k}.json" for k in range(3)]
    for path, block in zip(paths, blocks, strict=True):
        path.write_text(block)
    assert load_split(paths[0], paths[0]).annotated
    assert load_captions(paths[1]).captions == 2
    assert load_dialogs(paths[2]).annotated


def test_folders_without_data(tmp_path):
    with pytest.raises(UserError, match="there is no such folder; limner data init"):
        main([str(tmp_path / "none")])
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(UserError, match="holds no questions, captions or dialogs"):
        main([str(tmp_path)])


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        ('{"info": 1, "questions": [{"question_id": 1}]}', {"questions"}),
        ('{"annotations": [{"question_id": 1, "answers": [', {"annotations"}),
        ('{"annotations": [{"answers": 1}], "questions" : [', {"annotations", "questions"}),
        ('{"images": [{"id": 1}], "annotations": [{"caption": "a"}]}', {"captions"}),
        ('{"images": [{"sentences": [', {"captions"}),
        ('\ufeff{"42": ["a"]}', {"captions"}),
        ('{"data": {"questions": ["a"], "dialogs": [', {"dialogs"}),
        ('[{"image_id": 1, "dialog": [', {"dialogs"}),
        ('[{"image_id": 1, "gt_relevance": [', {"dense"}),
        ('[{"image_id": 1, "relevance": [', {"dense"}),
        ('{"annotations": [{"caption": 1, "boxes": 1}]}', set()),
        ('{"kind": "manifest"}', set()),
    ],
)
def test_kinds_are_found_by_looking(tmp_path, content, kinds):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert kinds_of(path) == kinds
    path.write_bytes(gzip.compress((content + " " * (5 << 20)).encode()))
    assert kinds_of(path) == kinds


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.json", "train"), ("v2_OpenEnded_mscoco_val2014_questions.json", "val"), ("dev.json.gz", "val"),
        ("questions_valid.json.gz", "val"), ("v2_OpenEnded_mscoco_test-dev2015_questions.json", "testdev"),
        ("captions_test.json", "test"), ("mine.json", "mine"),
    ],
)  # fmt: skip
def test_splits_are_told_by_names(tmp_path, name, split):
    assert split_of(tmp_path / name) == split
