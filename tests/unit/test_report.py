"""`limner report`: what is found, and that the page stands alone, whatever is missing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from page_tags import Tags
from PIL import Image

from limner.data.features import FeatureWriter
from limner.errors import UserError
from limner.metrics import rows as rows_of
from limner.reports import command
from limner.reports.source import find, read_items
from limner.reports.tasks import TASKS, task_of

VQA = TASKS["vqa"]
CONFIG = """\
name: tiny
seed: 1
task: {_target_: limner.tasks.vqa.VQATask, loss: soft_bce}
data: {folder: data, made_by: limner data toy data, features: [data/regions.h5], select: val, test: test}
callbacks: {monitor: val/score, mode: max}
"""


def row(number: int, **changes) -> dict:
    row = {"id": number, "image_id": number // 10, "question": f"what is {number}?", "answer": "cat", "confidence": 0.9}
    row |= {"top5": [["cat", 0.9], ["dog", 0.1]], "attention": [0.2, 0.8], "answers": ["cat"] * 10, "accuracy": 100.0}
    return {**row, "answer_type": "other", "question_type": "what is", **changes}


ROWS = [
    row(10),
    row(11, answer="dog", accuracy=0.0, confidence=0.6),
    row(20, answer="<b>dog</b>", question='is a < b & "c"?', accuracy=0.0, confidence=0.7, top5=[["<b>dog</b>", 0.7]]),
    row(30, accuracy=90.0, question_type="who", answer_type="yes/no"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A project folder with a finished run, pictures (80 x 40) and features made from pictures of twice the size."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "tiny" / "1"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "command.txt").write_text("limner train experiment=tiny\n")
    (folder / "status.json").write_text('{"state": "done", "started": "2026-01-31T14:25:01+0000"}')
    lines = [{"step": 9, "train/loss": 4.0, "epoch": 0.0}, {"step": 10, "val/score": 30.0, "epoch": 0.0}]
    lines += [{"step": 20, "val/score": 47.5, "epoch": 1.0}, {"step": 30, "val/score": 41.0, "epoch": 2.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "va')
    rows_of.write(folder / "eval" / "test" / "rows.jsonl.gz", ROWS)
    metrics = {"split": "test", "items": 4, "metrics": {"score": 47.51}, "official": {"answer_type": {"yes/no": 90.12}}}
    (folder / "eval" / "test" / "metrics.json").write_text(json.dumps(metrics))
    images = tmp_path / "data" / "images" / "test"
    images.mkdir(parents=True)
    for number in (1, 2, 3):
        Image.new("RGB", (80, 40), (number, 200, 90)).save(images / f"tiny_test_{number:012d}.png")
    with FeatureWriter(tmp_path / "data" / "regions.h5", dim=4, extractor="test") as writer:
        for number in (1, 2, 3):
            boxes = np.array([[0, 0, 160, 80], [20, 10, 60, 50]], np.float32)
            writer.add(number, np.ones((2, 4), np.float32), boxes, (160, 80))
    return folder


# --- what is found ---


def test_the_split_is_the_test_split_or_the_one_asked_for(run):
    assert find(str(run)).split == "test"
    rows_of.write(run / "eval" / "val" / "rows.jsonl.gz", ROWS[:1])
    assert find(str(run)).rows == run / "eval" / "test" / "rows.jsonl.gz"
    assert find(str(run), "val").rows == run / "eval" / "val" / "rows.jsonl.gz"
    assert find(str(run), "train").rows is None


def test_an_evaluation_in_a_run_knows_its_run(run):
    for path in (run / "eval" / "test", run / "eval" / "test" / "rows.jsonl.gz"):
        source = find(str(path))
        assert (source.run, source.split) == (run, "test")
        assert source.value("data.made_by") == "limner data toy data"
        assert source.value("data.nothing.there") is None


def test_paths_of_the_config_count_from_a_folder_above_the_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert find(str(run)).located("data/regions.h5") == tmp_path / "data" / "regions.h5"
    assert find(str(run)).located("data/other.h5") is None


@pytest.mark.parametrize("made", [None, "empty"])
def test_what_is_no_run(tmp_path, made):
    if made:
        (tmp_path / made).mkdir()
    with pytest.raises(UserError, match="limner ls runs"):
        find(str(tmp_path / (made or "nothing")))


def test_broken_rows_files_are_one_line_errors(run):
    path = run / "eval" / "test" / "rows.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut off"):
        read_items(path, VQA.item)
    path.write_text("not gzip")
    with pytest.raises(UserError, match="line 0"):
        read_items(path, VQA.item)
    rows_of.write(path, [*ROWS, ROWS[0]])
    with pytest.raises(UserError, match="stand twice: 10;"):
        read_items(path, VQA.item)
    rows_of.write(path, [{"answer": "x"}])
    with pytest.raises(UserError, match="line 1 has no id"):
        read_items(path, VQA.item)


def test_a_broken_config_is_a_one_line_error(run):
    (run / "config.yaml").write_text("a: [1, 2\nb: }")
    with pytest.raises(UserError, match=r"config\.yaml: cannot be read"):
        find(str(run))


# --- the page ---


def test_the_page_of_a_whole_run(run, capsys):
    assert command.main([str(run)]) == 0
    assert capsys.readouterr().out == "report: outputs/tiny/1/report.html\n"
    html = (run / "report.html").read_text()
    tags = Tags(html)
    assert len(tags.loads) == 3  # two wrong answers, one right one
    assert all(load.startswith("data:image/") for load in tags.loads)
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    assert "url(" not in html
    assert "@import" not in html
    for text in ("best 47.50 in epoch 2", "47.51", "limner train experiment=tiny", "90.12", "dog", "seed: 1"):
        assert text in html
    assert "is a &lt; b &amp; &quot;c&quot;?" in html
    assert "<b>dog" not in html
    assert "No regions" not in html
    assert "No pictures" not in html


def test_the_page_is_the_same_every_time(run):
    source = find(str(run))
    assert command.report(source) == command.report(find(str(run)))


def test_an_evaluation_alone(run, tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (run / "eval" / "test" / "rows.jsonl.gz").rename(folder / "rows.jsonl.gz")
    assert command.main([str(folder), "--images", "data/images", "--out", "page.html"]) == 0
    html = (tmp_path / "page.html").read_text()
    assert len(Tags(html).loads) == 3
    assert "does not say which feature file" in html
    assert f"{np.mean([100, 0, 0, 90]):.2f}" in html


def test_what_is_missing_is_said_with_the_command_that_makes_it(run, tmp_path, capsys):
    (tmp_path / "data" / "regions.h5").unlink()
    html = command.report(find(str(run)))
    assert "No regions for 2 of 2 pictures: data/regions.h5 is not there." in html
    assert "<pre>limner data toy data</pre>" in html
    html = command.report(find(str(run)), images=str(tmp_path / "outputs"))
    assert "0 of 2 pictures were found" in html
    for path in (run / "eval" / "test").iterdir():
        path.unlink()
    (run / "metrics.jsonl").unlink()
    (run / "status.json").unlink()
    assert "no model (package/) here" in command.report(find(str(run)))
    (run / "package").mkdir()
    (run / "package" / "model.json").write_text('{"limner": "0.1.0"}')
    assert command.main([str(run)]) == 0
    assert "limner evaluate run=outputs/tiny/1 split=test" in capsys.readouterr().out
    html = (run / "report.html").read_text()
    Tags(html)
    assert "There are no rows of the split test" in html
    assert "Trained with limner 0.1.0." in html
    assert "No curves" in html
    assert "state unknown" in html


def test_one_of_two_feature_files_is_enough_when_it_has_the_images(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("[data/regions.h5]", "[data/gone.h5, data/regions.h5]"))
    html = command.report(find(str(run)))
    assert 'class="region"' in html
    assert "No regions" not in html


def test_a_broken_feature_file_does_not_break_the_page(run, tmp_path):
    (tmp_path / "data" / "regions.h5").write_bytes(b"no hdf5")
    assert "No regions: " in command.report(find(str(run)))


def test_without_pictures_regions_stand_on_a_plain_ground(run, tmp_path):
    html = command.report(find(str(run)), images=str(tmp_path / "outputs"))
    assert Tags(html).loads == []
    assert "0 of 2 pictures were found" in html
    assert html.count('class="outline"') == 6  # three answers, two boxes
    assert 'class="region"' in html


def test_rows_without_truth_are_still_shown(run):
    bare = [{key: one[key] for key in ("id", "question", "answer")} for one in ROWS]
    rows_of.write(run / "eval" / "test" / "rows.jsonl.gz", bare)
    html = command.report(find(str(run)))
    Tags(html)
    assert "not annotated" in html
    assert html.count('<article class="card">') == 4


def test_the_versions_a_run_was_made_with(run):
    (run / "versions.json").write_text('{"limner": "0.2.0", "torch": "2.13.0", "platform": "<Linux>"}')
    html = command.report(find(str(run)))
    assert "Trained with limner 0.2.0, torch 2.13.0, platform &lt;Linux&gt;." in html
    assert "Installed when" not in html


def test_rows_of_an_unknown_task_still_make_a_page(run):
    rows_of.write(run / "eval" / "test" / "rows.jsonl.gz", [{"id": 1, "what": "x", "score": 3.0}])
    (run / "eval" / "test" / "metrics.json").unlink()
    html = command.report(find(str(run)))
    Tags(html)
    assert "1 rows. The page knows no more" in html
    assert "3.00" in html


def test_the_task_is_told_by_rows_then_metrics_package_and_config(run):
    assert task_of(find(str(run))) is VQA
    (run / "eval" / "test" / "rows.jsonl.gz").unlink()
    metrics = run / "eval" / "test" / "metrics.json"
    metrics.write_text('{"task": "captioning"}')
    assert task_of(find(str(run))) is TASKS["captioning"]
    metrics.unlink()
    assert task_of(find(str(run))) is VQA  # limner.tasks.vqa.VQATask
    (run / "package").mkdir()
    (run / "package" / "model.json").write_text('{"task": "captioning"}')
    assert task_of(find(str(run))) is TASKS["captioning"]
    (run / "package" / "model.json").write_text('{"task": "mine"}')
    (run / "config.yaml").write_text("task: {_target_: mine.Task}")
    assert task_of(find(str(run))).name == ""


def test_a_stopped_run_says_why_and_how_to_continue(run):
    (run / "status.json").write_text('{"state": "stopped", "reason": "SIGTERM <x>"}')
    assert "resume=" not in command.report(find(str(run)))  # nothing to continue from
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_text("")
    html = command.report(find(str(run)))
    assert "limner train resume=outputs/tiny/1" in html
    assert "SIGTERM &lt;x&gt;" in html


def test_no_folder_of_images(run):
    with pytest.raises(UserError, match="--images nowhere"):
        command.main([str(run), "--images", "nowhere"])
