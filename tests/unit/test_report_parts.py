"""What a report counts and draws: tables, curves, examples."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from limner.reports import curves, gallery, page, pictures, tables
from limner.reports.curves import Point
from limner.reports.tasks import vqa, vqa_cards, vqa_confidence
from limner.reports.tasks.vqa import VQAItem

item = vqa.VQAReport().item


def row(number: int, **changes) -> dict:
    row = {"id": number, "image_id": number // 10, "answer": "cat", "confidence": 0.9, "answers": ["cat"] * 10}
    return row | {"accuracy": 100.0, "answer_type": "other", "question_type": "what is"} | changes


def test_slices_and_what_they_cost():
    rows = [row(1), row(2, accuracy=0.0), row(3, accuracy=0.0), row(4, accuracy=90.0, answer_type="yes/no")]
    found = tables.slices(list(map(item, rows)), lambda one: one.answer_type)
    assert [(one.name, one.items) for one in found] == [("other", 3), ("yes/no", 1)]
    assert found[0].score == pytest.approx(100 / 3)
    assert found[0].margin == pytest.approx(1.96 * np.std([100, 0, 0], ddof=1) / np.sqrt(3))
    assert found[1].margin == 0
    assert [one.score for one in found] == pytest.approx([100 / 3, 90])


def test_rows_without_accuracy_are_not_counted():
    bare = [item({"id": 1, "answer": "x", "confidence": 0.5})]
    assert tables.slices(bare, lambda one: one.answer) == []
    assert vqa_confidence.calibration(bare) == []
    assert vqa_confidence.confusions(bare) == []


def test_calibration():
    sure = [item(row(n, confidence=1.0, accuracy=100.0 if n < 3 else 0.0)) for n in range(4)]
    unsure = [item(row(9, confidence=0.04, accuracy=30.0))]
    low, high = vqa_confidence.calibration(sure + unsure)
    assert low == (0.0, 0.1, 1, pytest.approx(4), 30)
    assert high == (0.9, 1.0, 4, 100, 75)
    assert vqa_confidence.calibration_error([low, high]) == pytest.approx((26 + 4 * 25) / 5)


def test_confusions_name_what_most_people_said():
    split = ["red"] * 4 + ["blue"] * 6
    rows = [row(n, answers=split, answer="red", accuracy=30.0) for n in range(3)]
    rows += [row(5, answers=split, answer="blue"), row(6, answers=["2"], answer="3", accuracy=0.0)]
    rows += [row(7, answers=split, answer="red", accuracy=vqa_confidence.RIGHT)]  # right enough
    assert vqa_confidence.confusions(list(map(item, rows))) == [("blue", "red", 3, 5), ("2", "3", 1, 1)]


def test_series_leave_out_half_lines_and_nan(tmp_path):
    lines = [
        '{"step": 9, "train/loss": 4.0, "epoch": 0.0}',
        '{"step": 9, "val/score": 30}',
        '{"step": 50, "val/score": NaN}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, "[1]", '{"val/score": 1.0}', '{"step": 60, "va']))
    logged = curves.series(tmp_path / "metrics.jsonl")
    assert logged == {"train/loss": [(9, 4.0, 0)], "val/score": [(9, 30.0, None)]}
    assert curves.series(tmp_path / "no.jsonl") == {}


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


def items(*given) -> list[VQAItem]:
    return [item(row(number, image_id=image, accuracy=a, confidence=c)) for number, image, a, c in given]


def test_the_worst_are_the_most_confident_ones_one_an_image():
    chosen = vqa_cards.worst(items((1, 1, 0, 0.5), (2, 1, 0, 0.9), (3, 2, 30, 1.0), (4, 3, 0, 0.7), (5, 4, 0, 0.1)), 2)
    assert [one.id for one in chosen] == [2, 4]


def test_the_right_ones_come_from_all_question_types():
    many = [item(row(n, image_id=n, question_type="rare" if n == 50 else "often")) for n in range(100)]
    chosen = vqa_cards.right(many, 2)
    assert {one.question_type for one in chosen} == {"rare", "often"}
    assert chosen == vqa_cards.right(many[::-1], 2)


def test_pictures_are_found_by_the_digits_that_end_their_names(tmp_path):
    (tmp_path / "test").mkdir()
    for name in ("test/tiny_test_000000000002.png", "test/tiny_test_000000000003.png", "000000000002.txt", "x.png"):
        (tmp_path / name).write_text("")
    assert gallery.find_images(tmp_path, {2, 9}) == {2: tmp_path / "test" / "tiny_test_000000000002.png"}


def test_boxes_are_scaled_to_the_picture_and_opaque_as_the_attention(tmp_path):
    path = tmp_path / "p_1.png"
    Image.new("RGB", (80, 40)).save(path)
    looks = pictures.Looks(np.array([[0, 0, 160, 80], [20, 10, 60, 50], [0, 0, 9, 9]], np.float32), (160, 80))
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
    assert "come from one of 160 x 80" in examples.picture(path, pictures.Looks(boxes, (160, 80)), [1.0])[1]
    assert "another file" in examples.picture(path, pictures.Looks(boxes, (80, 80)), [0.5, 0.5])[1]
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


def test_tables_escape_text_but_not_html():
    made = page.table(("a", "#b"), [("<i>", page.Html("<i></i>"))])
    assert '<td>&lt;i&gt;</td><td class="n"><i></i></td>' in made


def test_many_question_types_fold():
    many = [item(row(n, question_type=f"type {n}")) for n in range(vqa.SHOWN_KINDS + 3)]
    assert "3 more, less frequent" in vqa.by_type(many, {})
