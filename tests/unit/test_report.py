"""`limner report`: what is found, what is counted, what is drawn, and that the page stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from limner.data.features import FeatureWriter
from limner.errors import UserError
from limner.metrics import rows as rows_of
from limner.reports import command, curves, examples, page, sections, tables
from limner.reports.curves import Point
from limner.reports.source import Item, find, item, read_items

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
        read_items(path)
    path.write_text("not gzip")
    with pytest.raises(UserError, match="line 0"):
        read_items(path)
    rows_of.write(path, [*ROWS, ROWS[0]])
    with pytest.raises(UserError, match="stand twice: 10;"):
        read_items(path)
    rows_of.write(path, [{"answer": "x"}])
    with pytest.raises(UserError, match="line 1 has no id"):
        read_items(path)


def test_a_broken_config_is_a_one_line_error(run):
    (run / "config.yaml").write_text("a: [1, 2\nb: }")
    with pytest.raises(UserError, match=r"config\.yaml: cannot be read"):
        find(str(run))


# --- what is counted ---


def test_slices_and_what_they_cost():
    found = tables.slices([item(one) for one in ROWS], lambda one: one.answer_type)
    assert [(one.name, one.items) for one in found] == [("other", 3), ("yes/no", 1)]
    assert found[0].accuracy == pytest.approx(100 / 3)
    assert found[0].margin == pytest.approx(1.96 * np.std([100, 0, 0], ddof=1) / np.sqrt(3))
    assert found[1].margin == 0
    assert sum(one.cost for one in found) == pytest.approx(100 - np.mean([100, 0, 0, 90]))


def test_rows_without_accuracy_are_not_counted():
    bare = [item({"id": 1, "answer": "x", "confidence": 0.5})]
    assert tables.slices(bare, lambda one: one.answer) == []
    assert tables.calibration(bare) == []
    assert tables.confusions(bare) == []


def test_calibration():
    sure = [item(row(n, confidence=1.0, accuracy=100.0 if n < 3 else 0.0)) for n in range(4)]
    unsure = [item(row(9, confidence=0.04, accuracy=30.0))]
    low, high = tables.calibration(sure + unsure)
    assert low == (0.0, 0.1, 1, pytest.approx(4), 30)
    assert high == (0.9, 1.0, 4, 100, 75)
    assert tables.calibration_error([low, high]) == pytest.approx((26 + 4 * 25) / 5)


def test_confusions_name_what_most_people_said():
    split = ["red"] * 4 + ["blue"] * 6
    rows = [row(n, answers=split, answer="red", accuracy=30.0) for n in range(3)]
    rows += [row(5, answers=split, answer="blue"), row(6, answers=["2"], answer="3", accuracy=0.0)]
    rows += [row(7, answers=split, answer="red", accuracy=tables.RIGHT)]  # right enough
    assert tables.confusions(list(map(item, rows))) == [("blue", "red", 3, 5), ("2", "3", 1, 1)]


# --- what is drawn ---


def test_series_leave_out_half_lines_and_nan(run):
    (run / "metrics.jsonl").open("a").write('\n{"step": 50, "train/loss": NaN}\n[1]\n{"train/loss": 1.0}\n')
    logged = curves.series(run / "metrics.jsonl")
    assert logged["train/loss"] == [(9, 4.0, 0)]
    assert [point.value for point in logged["val/score"]] == [30.0, 47.5, 41.0]
    assert curves.series(run / "no.jsonl") == {}


def test_the_best_point_is_the_first_of_equals():
    points = [Point(1, 5.0), Point(2, 7.0), Point(3, 7.0), Point(4, 4.0)]
    assert curves.best_of(points, "max").step == 2
    assert curves.best_of(points, "min").step == 4
    assert curves.best_of([], "max") is None


def test_ticks_are_round_and_inside():
    assert curves.ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert curves.ticks(0.13, 0.71, 4) == [0.2, 0.4, 0.6]
    assert curves.ticks(3, 3) == [3]
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(size=200) * 10, 10 ** rng.uniform(-6, 6, 200)):
        found = curves.ticks(low, low + width)
        assert 1 <= len(found) <= 6
        assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


def test_a_long_curve_is_averaged_in_equal_pieces():
    points = [Point(k, float(k % 2)) for k in range(4000)]
    line = curves.thinned(points, 400)
    assert len(line) == 400
    assert {point.value for point in line} == {0.5}
    assert line[0].step == 4.5


def test_a_higher_value_stands_higher_and_the_best_is_marked():
    points = [Point(0, 1.0, 0), Point(10, 3.0, 1), Point(20, 2.0, 2)]
    drawn = curves.curve("val/<score>", points, mark=points[1])
    places = re.search(r'polyline class="line" points="([^"]*)"', drawn)[1]
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, place.split(","))) for place in places.split()]
    assert x0 < x1 < x2
    assert y1 < y2 < y0
    assert f'<circle class="best" r="4.5" cx="{x1}" cy="{y1}">' in drawn
    assert "best 3.00 in epoch 2" in drawn
    assert "val/&lt;score&gt;" in drawn
    assert "<score>" not in drawn


@pytest.mark.parametrize("points", [[Point(5, 2.0)], [Point(5, 0.0)], [Point(1, 3.0), Point(2, 3.0)]])
def test_flat_curves_and_single_points_are_drawn(points):
    assert "nan" not in curves.curve("x", points)


def items(*given) -> list[Item]:
    return [item(row(number, image_id=image, accuracy=a, confidence=c)) for number, image, a, c in given]


def test_the_worst_are_the_most_confident_ones_one_an_image():
    chosen = examples.worst(items((1, 1, 0, 0.5), (2, 1, 0, 0.9), (3, 2, 30, 1.0), (4, 3, 0, 0.7), (5, 4, 0, 0.1)), 2)
    assert [one.id for one in chosen] == [2, 4]


def test_the_right_ones_come_from_all_question_types():
    many = [item(row(n, image_id=n, question_type="rare" if n == 50 else "often")) for n in range(100)]
    chosen = examples.right(many, 2)
    assert {one.question_type for one in chosen} == {"rare", "often"}
    assert chosen == examples.right(many[::-1], 2)


def test_pictures_are_found_by_the_digits_that_end_their_names(run, tmp_path):
    (tmp_path / "data" / "images" / "000000000002.txt").write_text("")
    assert examples.find_images(tmp_path / "data", {2, 9}) == {
        2: tmp_path / "data" / "images" / "test" / "tiny_test_000000000002.png"
    }


def test_boxes_are_scaled_to_the_picture_and_opaque_as_the_attention(tmp_path):
    path = tmp_path / "p_1.png"
    Image.new("RGB", (80, 40)).save(path)
    looks = examples.Looks(np.array([[0, 0, 160, 80], [20, 10, 60, 50], [0, 0, 9, 9]], np.float32), (160, 80))
    svg, note = examples.picture(path, looks, [0.2, 0.8, 0.0])
    assert note == ""
    boxes = re.findall(
        r'class="region" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" .*?opacity:([\d.]+)', svg
    )
    assert [[float(value) for value in box] for box in boxes] == [[0, 0, 80, 40, 0.25], [10, 5, 20, 20, 1.0]]
    assert "80\N{NARROW NO-BREAK SPACE}%" in svg


def test_a_picture_that_does_not_fit_its_regions_is_shown_without_them(tmp_path):
    path = tmp_path / "p_1.png"
    Image.new("RGB", (80, 80)).save(path)
    boxes = np.ones((1, 4), np.float32)
    assert "come from one of 160 x 80" in examples.picture(path, examples.Looks(boxes, (160, 80)), [1.0])[1]
    assert "another file" in examples.picture(path, examples.Looks(boxes, (80, 80)), [0.5, 0.5])[1]
    path.write_text("no picture")
    svg, note = examples.picture(path, None, [])
    assert svg == ""
    assert "cannot be read" in note


def test_large_pictures_are_embedded_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "p_1.png")
    svg, _ = examples.picture(tmp_path / "p_1.png", None, [])
    assert 'viewBox="0 0 1200 900"' in svg
    assert "data:image/jpeg;base64," in svg
    assert len(svg) < 300_000


# --- the page ---


class Tags(HTMLParser):
    """Fails on tags that are not closed in order; collects what the page would load."""

    EMPTY = frozenset({"meta"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "img")
        if tag not in self.EMPTY:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        if "href" in values:
            (self.links if tag == "a" else self.loads).append(values["href"])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


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
    assert command.main([str(run)]) == 0
    assert "limner evaluate run=outputs/tiny/1 split=test" in capsys.readouterr().out
    html = (run / "report.html").read_text()
    Tags(html)
    assert "There are no rows of the split test" in html
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


def test_rows_without_truth_are_still_shown(run):
    bare = [{key: one[key] for key in ("id", "question", "answer")} for one in ROWS]
    rows_of.write(run / "eval" / "test" / "rows.jsonl.gz", bare)
    html = command.report(find(str(run)))
    Tags(html)
    assert "not annotated" in html
    assert html.count('<article class="card">') == 4


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


def test_tables_escape_text_but_not_html():
    made = page.table(("a", "#b"), [("<i>", page.Html("<i></i>"))])
    assert '<td>&lt;i&gt;</td><td class="n"><i></i></td>' in made


def test_many_question_types_fold():
    many = [item(row(n, question_type=f"type {n}")) for n in range(sections.SHOWN_KINDS + 3)]
    assert "3 more, less frequent" in sections.by_type(many, {})
