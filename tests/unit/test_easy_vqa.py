"""easy-VQA in the format of VQA v2: nothing is lost, splits are apart, every picture has its one patch."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest

from limner.data import easy_vqa
from limner.data.easy_vqa import build, main, records, split_of
from limner.data.features import FeatureStore
from limner.data.vqa_files import load_split
from limner.errors import UserError

SPLITS = ("train", "val", "test")


@pytest.fixture
def small(monkeypatch):
    """The package with 40 of its 4,000 training and 10 of its 1,000 test pictures."""
    package = pytest.importorskip("easy_vqa", reason="the package easy-vqa is not installed: pip install easy-vqa")

    class Part:
        @staticmethod
        def questions(whole, most):
            return tuple(zip(*[row for row in zip(*whole) if row[2] < most]))

        @classmethod
        def get_train_questions(cls):
            return cls.questions(package.get_train_questions(), 40)

        @classmethod
        def get_test_questions(cls):
            return cls.questions(package.get_test_questions(), 10)

        @staticmethod
        def get_train_image_paths():
            return {number: path for number, path in package.get_train_image_paths().items() if number < 40}

        @staticmethod
        def get_test_image_paths():
            return {number: path for number, path in package.get_test_image_paths().items() if number < 10}

    monkeypatch.setattr(easy_vqa, "_package", lambda: Part)
    return Part


def test_nothing_is_lost_and_files_load(small, tmp_path):
    folder = build(tmp_path / "easy")
    loaded = {
        split: load_split(
            folder / f"v2_OpenEnded_easyvqa_{split}_questions.json", folder / f"v2_easyvqa_{split}_annotations.json"
        )
        for split in SPLITS
    }
    assert {split: len(set(loaded[split].image_id.tolist())) for split in SPLITS} == {"train": 35, "val": 5, "test": 10}
    found = Counter()
    for split in SPLITS:
        data = loaded[split]
        first = easy_vqa.FIRST_ID["test" if split == "test" else "train"]
        for text, answer, image in zip(data.questions, data.multiple_choice, data.image_id):
            found[split == "test", text, data.strings[answer], int(image) - first] += 1
        assert (data.answers == data.multiple_choice[:, None]).all()  # ten times the same
        assert data.answers.shape[1] == 10
    wanted = Counter((False, *row) for row in zip(*small.get_train_questions()))
    wanted += Counter((True, *row) for row in zip(*small.get_test_questions()))
    assert found == wanted
    ids = [number for split in SPLITS for number in loaded[split].question_id.tolist()]
    assert len(set(ids)) == len(ids)


def test_every_picture_has_one_patch_and_a_copy(small, tmp_path):
    folder = build(tmp_path / "easy")
    store = FeatureStore(folder / "regions.h5")
    names = sorted((folder / "images").rglob("*.png"))
    assert sorted(int(name.stem[-12:]) for name in names) == store.image_ids.tolist()
    assert len(names) == 50
    regions = store.read(store.positions(store.image_ids))
    assert regions.mask.sum(1).tolist() == [2] * 50  # the whole picture and the shape
    assert (regions.boxes[:, 0] == (0, 0, 64, 64)).all()


def test_a_finished_folder_is_left_alone_and_a_stopped_build_goes_on(small, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(easy_vqa, "extract", stop)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "easy")
    folder = build(tmp_path / "easy")
    before = (folder / "regions.h5").stat().st_mtime_ns
    monkeypatch.setattr(easy_vqa, "_package", stop)  # not even asked for
    assert main([str(folder)]) == 0
    assert (folder / "regions.h5").stat().st_mtime_ns == before
    (folder / "regions.h5").unlink()
    with pytest.raises(UserError, match=r"regions\.h5"):
        build(folder)


def test_held_out_part_is_fixed():
    splits = split_of(range(4000))
    assert Counter(splits.values()) == {"train": 3500, "val": 500}
    assert splits == split_of(reversed(range(4000)))
    assert min(splits) == 10_000
    assert max(splits) < easy_vqa.FIRST_ID["test"]


def test_records_have_the_official_keys():
    asked = [(10_000, "is there a red shape?", "yes"), (10_000, "what color is the circle?", "teal")]
    questions, annotations = records(asked)
    assert questions[1] == {"image_id": 10_000, "question_id": 10_000_001, "question": "what color is the circle?"}
    assert [a["answer_type"] for a in annotations] == ["yes/no", "other"]
    assert [a["question_type"] for a in annotations] == ["is there a", "what color is the"]
    assert [given["answer_id"] for given in annotations[0]["answers"]] == list(range(1, 11))
    assert json.loads(json.dumps(annotations)) == annotations


def test_without_the_package_there_is_a_next_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "easy_vqa", None)  # what Python does for a package that is not there
    with pytest.raises(UserError, match="pip install easy-vqa"):
        build(tmp_path / "easy")
    assert not (tmp_path / "easy").exists()


def test_other_peoples_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="choose another"):
        build(tmp_path)
