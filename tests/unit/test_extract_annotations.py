"""Annotated boxes as regions: every number of a feature means what is written, files in both forms say the same."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from limner.data.features import FeatureStore
from limner.errors import UserError
from limner.extract.annotated import BLOCKS, OWN, AnnotationsExtractor
from limner.extract.boxes import Boxes, read_boxes
from limner.extract.command import main
from limner.extract.run import extract

PERSON, HORSE, CAR = 0, 1, 2
BOX = {PERSON: (40, 10, 60, 50), HORSE: (20, 30, 100, 90), CAR: (150, 0, 170, 10)}
RIDER = Boxes(  # a person (smaller) on a horse, their boxes overlap; a car elsewhere
    (200, 100),
    np.array([BOX[PERSON], BOX[HORSE], BOX[CAR]], np.float32),
    np.array([PERSON, HORSE, CAR], np.int64),
)


def look(image, **settings):
    """Regions, and a function that finds a number: name of `OWN`, or of a block and a class."""
    extractor = AnnotationsExtractor(**{"classes": 3, "scale": 1.0, **settings})
    regions = extractor(image)
    assert regions.features.shape == (len(regions.boxes), extractor.dim)

    def number(name, kind=None):
        place = OWN.index(name) if kind is None else len(OWN) + BLOCKS.index(name) * extractor.classes + kind
        return regions.features[:, place]

    return regions, number


def test_regions_are_the_whole_picture_then_boxes_by_size():
    regions, number = look(RIDER)
    assert regions.boxes.tolist() == [[0, 0, 200, 100], *map(list, (BOX[HORSE], BOX[PERSON], BOX[CAR]))]
    assert number("whole").tolist() == [1, 0, 0, 0]
    assert number("rank").tolist() == pytest.approx([0, 1, 1 / 2, 1 / 3])
    for kind, row in ((HORSE, 1), (PERSON, 2), (CAR, 3)):
        assert number("class", kind).tolist() == [float(place == row) for place in range(4)]


def test_place_and_size():
    _, number = look(RIDER)
    person = {name: number(name)[2] for name in OWN}
    assert [person[side] for side in ("left", "top", "right", "bottom")] == pytest.approx([-0.6, -0.8, -0.4, 0])
    assert (person["width"], person["height"]) == pytest.approx((0.1, 0.4))
    assert person["root area"] == pytest.approx(0.2)
    assert person["log area"] == pytest.approx(1 + np.log2(0.2) / 2.5)
    assert person["aspect"] == pytest.approx(np.log2(20 / 40) / 2)
    assert number("center")[0] == 1
    assert person["center"] == pytest.approx(1 - np.hypot(-0.5, -0.4) / np.sqrt(2))


def test_relations_to_other_boxes():
    _, number = look(RIDER)
    share = 20 * 20 / (20 * 40)  # the part of the person's box, the smaller, that both have
    assert number("touch", HORSE).tolist() == pytest.approx([0, 0, share, 0])
    assert number("touch", PERSON).tolist() == pytest.approx([0, share, 0, 0])
    assert not number("touch", CAR).any()
    higher = (60 - 30) / 60 * share  # centres are 30 pixels apart, the horse's box is 60 high
    assert number("above", PERSON).tolist() == pytest.approx([0, higher, 0, 0])
    assert number("above", HORSE).tolist() == pytest.approx([0, 0, -higher, 0])


def test_the_nearest_of_a_class_counts_and_a_box_not_for_itself():
    two = Boxes((100, 100), np.array([[0, 0, 40, 40], [10, 0, 50, 40], [90, 90, 99, 99]], np.float32), np.zeros(3, int))
    _, number = look(two)
    assert number("touch", 0).tolist() == pytest.approx([0, 0.75, 0.75, 0])
    assert number("three of its class").tolist() == [0, 1, 1, 1]


FIVE, SIX = "four or five", "six or more"
COUNTS = [(1, "one"), (2, "two"), (3, "three"), (4, FIVE), (5, FIVE), (6, SIX), (20, SIX)]


@pytest.mark.parametrize(("boxes", "name"), COUNTS)
def test_counts_of_a_class(boxes, name):
    crowd = Boxes((100, 100), np.tile(np.array([[0, 0, 9, 9]], np.float32), (boxes, 1)), np.zeros(boxes, int))
    _, number = look(crowd)
    for other in ("one", "two", "three", "four or five", "six or more"):
        assert (number(f"{other} of its class")[1:] == (other == name)).all(), other


def test_what_is_said_about_the_picture_is_in_every_region_also_of_boxes_left_out():
    _, number = look(RIDER, max_regions=1)
    for kind in (PERSON, HORSE, CAR):
        assert number("present", kind).tolist() == [1, 1]
        assert number("number", kind) == pytest.approx(1 / 3)
    assert number("covered", HORSE) == pytest.approx(np.sqrt(80 * 60 / 20_000))
    assert number("touch", PERSON)[1] > 0


def test_scale_multiplies_everything():
    assert np.allclose(look(RIDER, scale=4.0)[0].features, 4 * look(RIDER)[0].features)


def test_a_picture_without_boxes_has_the_whole_picture():
    regions, number = look(Boxes((64, 48), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    assert regions.boxes.tolist() == [[0, 0, 64, 48]]
    assert not number("present", 0).any()
    assert number("whole").tolist() == [1]


def test_boxes_outside_or_without_area_give_finite_numbers():
    odd = Boxes(
        (100, 50), np.array([[-10, -10, 300, 300], [30, 30, 30, 40], [120, 60, 130, 70]], np.float32), np.arange(3)
    )
    regions, _ = look(odd)
    assert np.isfinite(regions.features).all()
    assert regions.boxes[1].tolist() == [0, 0, 100, 50]
    assert np.abs(regions.features).max() <= 1


@pytest.mark.parametrize("settings", [{"classes": 0}, {"max_regions": 0}, {"scale": 0}, {"scale": float("nan")}])
def test_settings_out_of_range(settings):
    with pytest.raises(UserError, match=f"annotations: {next(iter(settings))} is"):
        AnnotationsExtractor(**settings)


# ---------------------------------------------------------------------------------------------------------- the files

SIMPLE = {
    "categories": ["person", "horse", "car"],
    "images": [
        {"image_id": 7, "width": 200, "height": 100, "boxes": [BOX[PERSON], BOX[HORSE]], "labels": [PERSON, HORSE]},
        {"image_id": 3, "width": 64, "height": 48, "boxes": [], "labels": []},
    ],
}
COCO = {
    "images": [{"id": 7, "width": 200, "height": 100}, {"id": 3, "width": 64, "height": 48}],
    "categories": [{"id": 90, "name": "car"}, {"id": 18, "name": "horse"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [40, 10, 20, 40], "iscrowd": 0},
        {"image_id": 7, "category_id": 18, "bbox": [20, 30, 80, 60], "iscrowd": 1},
    ],
}


def written(path, contents):
    text = json.dumps(contents).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_both_forms_say_the_same(tmp_path):
    names, simple = read_boxes(written(tmp_path / "simple.json.gz", SIMPLE))
    same, coco = read_boxes(written(tmp_path / "instances.json", COCO))
    assert names == same == ["person", "horse", "car"]
    assert list(simple) == list(coco) == [7, 3]
    for number in simple:
        assert simple[number].size == coco[number].size
        assert np.array_equal(simple[number].boxes, coco[number].boxes)
        assert simple[number].labels.tolist() == coco[number].labels.tolist()
    assert simple[7].labels.tolist() == [PERSON, HORSE]
    assert simple[3].boxes.shape == (0, 4)


def changed(contents, place, **values):
    """A copy with fields of one record changed; None removes a field."""
    copy = json.loads(json.dumps(contents))
    record = copy
    for key in place:
        record = record[key]
    record.update(values)
    for key in [key for key, value in values.items() if value is None]:
        del record[key]
    return copy


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ([], "is a JSON list, expected an object"),
        ({"images": []}, r"no list categories at the top"),
        ({"images": [], "categories": []}, "lists no images"),
        (changed(SIMPLE, ["images", 0], labels=[0]), r"images\[0\] \(image_id 7\): has 2 boxes and 1 labels"),
        (changed(SIMPLE, ["images", 0], labels=[0, 3]), r"labels are 0 to 3, expected 0 to 2: places in categories"),
        (changed(SIMPLE, ["images", 1], image_id=7), r"images\[1\] \(image_id 7\): an image with this id came before"),
        (changed(SIMPLE, ["images", 1], width=0), "width and height are 0 and 48"),
        (changed(SIMPLE, ["images", 1], height=None), r"\(image_id 3\): the field 'height' is missing"),
        (changed(SIMPLE, ["images", 0], boxes=[[9, 9, 1, 1], [0, 0, 1, 1]]), "boxes are not x1, y1, x2, y2"),
        (changed(SIMPLE, ["images", 0], boxes=[[9, 9, 1], [0, 0, 1]]), r"\(image_id 7\): cannot reshape|reshape"),
        (changed(COCO, ["annotations", 1], image_id=8), r"annotations\[1\]: image_id 8 is not in the list of images"),
        (changed(COCO, ["annotations", 0], category_id=2), r"annotations\[0\]: category_id 2 is not in the list"),
        (changed(COCO, ["annotations", 0], bbox=None), r"annotations\[0\]: the field 'bbox' is missing"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path, contents, says):
    path = written(tmp_path / "boxes.json", contents)
    with pytest.raises(UserError, match=says) as error:
        read_boxes(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_no_json(tmp_path):
    (tmp_path / "boxes.json").write_text("boxes")
    with pytest.raises(UserError, match="is not JSON"):
        read_boxes(tmp_path / "boxes.json")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(written(tmp_path / "whole.gz", SIMPLE).read_bytes()[:60])
    with pytest.raises(UserError, match="is not JSON"):
        read_boxes(cut)
    with pytest.raises(UserError, match="no such file"):
        read_boxes(tmp_path / "nothing.json")


def test_command(tmp_path, capsys):
    file, out = written(tmp_path / "boxes.json", COCO), tmp_path / "r.h5"
    words = [f"images={file}", f"out={out}", "extractor=annotations", "progress=false"]
    assert main([*words, "extractor.classes=3"]) == 0
    assert f"2 images, {len(OWN) + 3 * len(BLOCKS)} numbers a region, extractor annotations" in capsys.readouterr().out
    store = FeatureStore(out)
    assert store.image_ids.tolist() == [3, 7]
    assert tuple(store.size(store.positions([7])[0])) == (200, 100)
    expected = AnnotationsExtractor(classes=3)(read_boxes(file)[1][7])
    found = store.read(store.positions([7]))
    assert np.array_equal(found.feats[0], expected.features.astype(np.float16))
    assert np.array_equal(found.boxes[0], expected.boxes)
    with pytest.raises(UserError, match=r"has 3 classes, expected at most 2: set extractor.classes=3"):
        extract(file, tmp_path / "few.h5", AnnotationsExtractor(classes=2))


def test_classes_are_certain(tmp_path):
    """One at the class, counted from 1; the whole picture is background. Written to the store with the regions."""
    regions, _ = look(RIDER, max_regions=2)
    assert regions.class_probs.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    extract({7: RIDER}, tmp_path / "a.h5", AnnotationsExtractor(classes=5, max_regions=2))
    store = FeatureStore(tmp_path / "a.h5")
    assert store.classes == 6
    assert store.class_probs(np.zeros(3, int), np.arange(3)).argmax(1).tolist() == [0, 2, 1]
