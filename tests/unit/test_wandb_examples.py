"""wandb's table of examples: which rows, what they say, pictures with their regions; and that it ends no training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from limner.data.features import FeatureWriter
from limner.loggers import examples
from limner.loggers.examples import COLUMNS, Examples
from limner.loggers.wandb_run import WandbRun
from limner.reports.source import Source
from limner.run import RunFolder

VQA = {"answer": "cat", "question": "what is it?", "answers": ["cat", "cat", "dog"], "accuracy": 60.0}
CAPTION = {"caption": "a cat", "tokens": ["a", "cat"], "references": ["a cat sits"], "cider_d": 80.0, "logp": -1.0}
DIALOG = {"ranks": [2, 1], "round_id": 3, "question": "is it big", "best": [["yes", 1.0], ["no", 0.0]], "given": "yes"}


class Wandb(WandbRun):
    """Keeps the tables it is given; its wandb run is there."""

    def __init__(self, folder):
        super().__init__(SimpleNamespace(project="p"), RunFolder(folder), {}, monitor="val/score", mode="max")
        self.tables: list = []

    experiment = object()

    def log_metrics(self, metrics, step=None):
        self.tables += [(step, name, table) for name, table in metrics.items()]


class Task:
    detailed = False

    def __init__(self, rows):
        self.made = rows

    def rows(self, batch):
        assert self.detailed
        return self.made


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Regions of three images, pictures of two of them."""
    monkeypatch.chdir(tmp_path)
    with FeatureWriter(tmp_path / "regions.h5", dim=4, extractor="test") as writer:
        for image in (1, 2, 3):
            boxes = np.array([[0, 0, 80, 40], [20, 10, 60, 30], [0, 0, 0, 0]], np.float32)
            writer.add(image, np.ones((3, 4), np.float32), boxes, (80, 40))
    (tmp_path / "data/images").mkdir(parents=True)
    for image in (1, 2):
        Image.new("RGB", (80, 40), (image, 200, 90)).save(tmp_path / f"data/images/p_{image}.png")
    config = {"data": {"folder": "data", "features": ["regions.h5"]}}
    return Source("run", run=tmp_path / "run", config=config)


def made(world, **options) -> Examples:
    chosen = {"count": 2, "split": "val", "each": False, "tested": True} | options
    return Examples(Wandb(world.run.parent), world, **chosen)


def trainer(step: int = 7):
    data = SimpleNamespace(with_truth=lambda rows, split: [{**row, "split": split} for row in rows])
    return SimpleNamespace(is_global_zero=True, global_step=step, datamodule=data)


def row(number: int, image: int, **more) -> dict:
    return {"id": number, "image_id": image, **more}


def line(callback: Examples, one: dict) -> dict:
    table = callback.table([one])
    assert table.columns == COLUMNS
    return dict(zip(COLUMNS, table.data[0]))


def boxes(picture) -> dict:
    return {name: group._val for name, group in (picture._boxes or {}).items()}


def test_answers(world):
    found = line(made(world), row(10, 1, **VQA, attention=[0.3, 0.6, 0.1]))
    assert found["id"] == "10"
    assert "what is it?" in found["about"]
    assert (found["said"], found["people"], found["score"]) == (
        "cat",
        "cat\N{NARROW NO-BREAK SPACE}×2, dog\N{NARROW NO-BREAK SPACE}×1",
        60.0,
    )
    (strong, weak) = boxes(found["picture"])["attention"]  # the third region is padding
    assert strong["position"] == {"minX": 0.25, "maxX": 0.75, "minY": 0.25, "maxY": 0.75}
    assert (strong["scores"], strong["box_caption"]) == ({"attention": 0.6}, "60 %")
    assert weak["position"] == {"minX": 0.0, "maxX": 1.0, "minY": 0.0, "maxY": 1.0}
    assert found["picture"].image.getpixel((40, 20)) == (1, 200, 90)


def test_captions_have_a_group_of_boxes_a_word(world):
    found = line(made(world), row(1, 1, **CAPTION, attention=[[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]))
    groups = boxes(found["picture"])
    assert list(groups) == ["01 a", "02 cat"]
    assert [group[0]["scores"]["attention"] for group in groups.values()] == [0.9, 0.8]
    assert (found["said"], found["people"], found["score"]) == ("a cat", "a cat sits", 80.0)


def test_dialogs_show_all_regions(world):
    found = line(made(world), row(103, 1, **DIALOG))
    assert [box["box_caption"] for box in boxes(found["picture"])["regions"]] == ["region 1", "region 2"]
    assert "scores" not in boxes(found["picture"])["regions"][0]
    assert (found["said"], found["people"]) == ("yes", "yes")


def test_without_a_picture_regions_stand_on_grey(world):
    picture = line(made(world), row(30, 3, **VQA, attention=[0.5, 0.5, 0.0]))["picture"]
    assert picture.image.size == (420, 210)
    assert picture.image.getpixel((50, 20)) == (0xD8, 0xD8, 0xD8)
    assert picture.image.getpixel((105, 100)) == (0x60, 0x60, 0x60)  # an outline
    assert len(boxes(picture)["attention"]) == 2
    assert line(made(world), row(40, 4, **VQA))["picture"] is None  # neither picture nor regions


def test_which_rows(world):
    rows = [row(10 * image + k, image, **VQA) for image in range(9) for k in range(3)]
    found = examples.chosen(rows, 4)
    assert len({one["image_id"] for one in found}) == 4
    assert examples.chosen(rows[::-1], 4) == found
    assert examples.chosen(rows, 0) == []


def test_after_each_validation_and_at_the_end(world):
    callback, task = made(world, each=True), Task([row(10, 1, **VQA), row(20, 2, **VQA)])
    for step in (5, 9):
        callback.on_validation_batch_end(trainer(), task, None, {}, 0)
        callback.on_validation_batch_end(trainer(), task, None, {}, 1)
        callback.on_validation_end(trainer(step), task)
    assert task.detailed is False
    callback.at_end(trainer(10), [row(30, 3, **VQA)], "test")
    told = [(step, name, len(table.data)) for step, name, table in callback.wandb.tables]
    assert told == [(5, "examples/validations", 2), (9, "examples/validations", 2), (10, "examples", 1)]


def test_without_a_test_the_last_validation_is_shown(world):
    callback = made(world, tested=False)
    callback.on_validation_batch_end(trainer(), Task([row(10, 1, **VQA)]), None, {}, 0)
    callback.on_validation_end(trainer(5), Task([]))
    assert callback.wandb.tables == []
    callback.at_end(trainer(10), [], None)
    ((step, name, table),) = callback.wandb.tables
    assert (step, name, table.data[0][0]) == (10, "examples", "10")


def test_with_a_test_nothing_is_predicted_twice(world):
    callback = made(world)
    callback.on_validation_batch_end(trainer(), None, None, {}, 0)


def test_what_goes_wrong_is_one_line(world, capsys):
    callback = made(world)
    callback.at_end(trainer(), [row(10, 1, **VQA, attention=[[0.5], [0.5]])], "test")  # a caption's attention, no words
    assert callback.wandb.tables == []
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: wandb: ")

    class Fails(Task):
        def rows(self, batch):
            raise RuntimeError("out of memory")

    task = Fails([])
    made(world, each=True).on_validation_batch_end(trainer(), task, None, {}, 0)
    assert "out of memory" in capsys.readouterr().err
    assert task.detailed is False
