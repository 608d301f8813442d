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


def test_costs_add_up_to_what_is_missing():
    rows = [row(1), row(2, accuracy=0.0), row(3, accuracy=0.0), row(4, accuracy=90.0, answer_type="yes/no")]
    found = tables.slices(list(map(item, rows)), lambda one: one.answer_type)
    costs = [float(vqa.kind_row(one, one.score, 4)[-1]) for one in found]
    assert sum(costs) == pytest.approx(100 - np.mean([100, 0, 0, 90]))


@pytest.mark.parametrize(
    ("values", "most", "expected"),
    [
        ([3, 1, 1, 2], 4, [(1, 1), (2, 2), (3, 3)]),
        ([1, 2, 3, 4, 5, 6], 3, [(1, 2), (3, 4), (5, 6)]),
        ([5] * 90 + [6, 7, 8, 9], 3, [(5, 5), (6, 7), (8, 9)]),  # one value with more than its share
        ([1, 2, 3, *[9] * 90], 2, [(1, 9)]),
        ([], 3, []),
    ],
)
def test_ranges_hold_equally_many(values, most, expected):
    assert tables.ranges(values, most) == expected


def test_scores_by_ranges():
    rows = [row(n, confidence=c, accuracy=a) for n, c, a in ((1, 0.5, 10.0), (2, 0.25, 20.0), (3, 0.5, 30.0))]
    found = tables.by_range(map(item, [*rows, row(4, confidence=None), row(5, accuracy=None)]), lambda o: o.confidence)
    assert [(one.name, one.items, one.score) for one in found] == [("0.25", 1, 20), ("0.50", 2, 20)]
    found = tables.by_range(map(item, rows), lambda one: one.id, most=2)
    assert [(one.name, one.items) for one in found] == [("1 to 2", 2), ("3", 1)]


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


def test_curves_that_belong_together_share_a_plot():
    logged = {
        "train/loss": [Point(0, 3.0), Point(9, 1.0)],
        "train/a": [Point(4, 0.1), Point(9, 0.2)],
        "train/<b>": [Point(4, 0.3)],
        "val/score": [Point(9, 50.0)],
        "train/alone": [Point(9, 1.0)],
        "train/rest": [Point(9, 1.0)],
        "test/score": [Point(9, 1.0)],
    }
    panels = [curves.Panel("both", ("train/a", "train/<b>")), curves.Panel("one", ("train/alone", "val/none"))]
    panels.append(curves.Panel("again", ("val/score",)))
    first, others = curves.curves(logged, "val/score", "max", panels, ("phase <2>", "train/a"))
    titles = [re.search(r"<figcaption><b>([^<]*)</b>", figure)[1] for figure in (*first, *others)]
    assert titles == ["train/loss", "val/score", "both", "train/alone", "train/rest"]
    assert '<span class="key c0">a 0.2</span>, <span class="key c1">&lt;b&gt; 0.3</span>' in first[2]
    assert ("phase &lt;2&gt;" in first[0], "phase &lt;2&gt;" in first[2]) == (True, True)
    places = re.search(r'class="line c0" points="([^"]*)"', first[2])[1].split()
    assert len(places) == 2
    assert re.search(r'class="dot c1" r="2.2" cx="([\d.]+)"', first[2])[1] == places[0].split(",")[0]  # equal steps


def test_a_phase_from_the_first_step_on_is_not_marked():
    logged = {"train/loss": [Point(0, 3.0), Point(9, 1.0)], "train/reward": [Point(0, 3.0), Point(9, 1.0)]}
    assert curves.begun(logged, ("SCST", "train/reward")) is None
    assert curves.begun(logged, ("SCST", "train/none")) is None
    assert curves.begun(logged | {"train/loss": [Point(-1, 2.0)]}, ("SCST", "train/reward")) == ("SCST", 0)


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


def look(path, looks, attention) -> tuple[str, str]:
    """A picture with the attention drawn on it, and the note."""
    ground = pictures.ground(path, looks, len(attention))
    return pictures.drawn(ground, pictures.attended(ground, attention)), ground.note


def test_boxes_are_scaled_to_the_picture_and_opaque_as_the_attention(tmp_path):
    path = tmp_path / "p_1.png"
    Image.new("RGB", (80, 40)).save(path)
    looks = pictures.Looks(np.array([[0, 0, 160, 80], [20, 10, 60, 50], [0, 0, 9, 9]], np.float32), (160, 80))
    svg, note = look(path, looks, [0.2, 0.8, 0.0])
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
    svg, note = look(path, pictures.Looks(boxes, (160, 80)), [1.0])
    assert "come from one of 160 x 80" in note
    assert "<image" in svg
    assert "region" not in svg
    assert "another file" in look(path, pictures.Looks(boxes, (80, 80)), [0.5, 0.5])[1]
    path.write_text("no picture")
    svg, note = look(path, None, [])
    assert svg == ""
    assert "cannot be read" in note


def test_without_a_picture_boxes_stand_on_a_plain_ground():
    looks = pictures.Looks(np.array([[0, 0, 160, 80], [20, 10, 60, 50]], np.float32), (0, 0), ("<sky>", "dog"))
    ground = pictures.ground(None, looks, 2, "image 7")
    assert (ground.width, ground.height, ground.plain) == (160, 80, True)  # as far as the boxes reach
    drawn = pictures.drawn(ground, pictures.outlines(ground))
    assert drawn.count('class="outline"') == 2
    assert "&lt;sky&gt;" in drawn
    assert "<image" not in drawn
    assert pictures.drawn(pictures.ground(None, None, 2), "x") == ""


def test_a_small_drawing_shows_a_picture_that_stands_elsewhere(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "p_1.png")
    looks = pictures.Looks(np.array([[0, 0, 10, 10], [1, 2, 4, 7], [0, 0, 3, 3]], np.float32), (10, 10), ("a", "<b>"))
    ground = pictures.ground(tmp_path / "p_1.png", looks, 3)
    assert '<g id="here"><image' in pictures.drawn(ground, "", id="here")
    made = pictures.small(ground, [0.3, 0.69, 0.01], "here")
    assert "<image" not in made
    assert '<svg x="1.0" y="2.0" width="3.0" height="5.0" viewBox="1.0 2.0 3.0 5.0" opacity="1.00">' in made
    assert re.findall(r"opacity:([\d.]+)", made) == ["0.43", "1.00"]  # the third could not be seen
    assert "<title>&lt;b&gt;: 69.0 %</title>" in made
    plain = pictures.small(pictures.ground(None, looks, 3), [0.3, 0.69, 0.01], "here")
    assert re.findall(r"opacity:([\d.]+)", plain) == ["0.43", "1.00"]
    assert plain.count('<use href="#here"/>') == 1


def test_attention_without_boxes_is_a_strip_of_cells():
    assert pictures.small(pictures.ground(None, None, 2), [0.2, 0.4], "x") == ""
    assert re.findall(r"opacity:([\d.]+)", pictures.strip([0.2, 0.4])) == ["0.50", "1.00"]
    assert 'class="heat"' not in pictures.strip([0.0, 0.0])


def test_large_pictures_are_embedded_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "p_1.png")
    svg, _ = look(tmp_path / "p_1.png", None, [])
    assert 'viewBox="0 0 1200 900"' in svg
    assert "data:image/jpeg;base64," in svg
    assert len(svg) < 300_000


def test_tables_escape_text_but_not_html():
    made = page.table(("a", "#b"), [("<i>", page.Html("<i></i>"))])
    assert '<td>&lt;i&gt;</td><td class="n"><i></i></td>' in made


def test_many_question_types_fold():
    many = [item(row(n, question_type=f"type {n}")) for n in range(vqa.SHOWN_KINDS + 3)]
    assert "3 more, less frequent" in vqa.by_type(many, {})
