"""Class probabilities of regions in the feature store: written, read, joined, converted, checked, refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from tiny_pairs import CLASSES, DIM, REGIONS, probabilities, write_classes

from limner.data.features import FeatureStore, FeatureWriter, check, convert
from limner.data.features.check import describe
from limner.data.features.together import open_stores
from limner.errors import UserError

ASKED = [(11, 3), (10, 0), (11, 0), (13, 1)]  # image, region


def expected(asked=ASKED) -> np.ndarray:
    return np.stack([probabilities(image, REGIONS[image])[region] for image, region in asked]).astype(np.float16)


def read(store, asked=ASKED) -> np.ndarray:
    images, regions = np.array(asked).T
    return store.class_probs(store.positions(images), regions)


def test_written_and_read(tmp_path):
    store = FeatureStore(write_classes(tmp_path / "a.h5"))
    assert store.classes == CLASSES
    assert np.array_equal(read(store), expected())
    assert read(store).dtype == np.float16
    assert store.layout.optional["class_probs"].shape == (sum(REGIONS.values()), CLASSES)
    with h5py.File(store.path) as file:
        assert file["class_probs"].chunks is None  # contiguous
    assert check(store.path) == []
    assert describe(store.path)["classes"] == CLASSES
    assert store.sizes(store.positions([11, 10])).tolist() == [[111, 90], [110, 90]]


def test_a_store_without(tmp_path):
    store = FeatureStore(write_classes(tmp_path / "a.h5", classes=None))
    assert store.classes == 0
    assert describe(store.path)["classes"] == 0
    with pytest.raises(UserError, match=r"a.h5: keeps no class_probs of its regions"):
        read(store)


def test_several_stores(tmp_path):
    one, two = ({image: REGIONS[image] for image in images} for images in ((11, 20), (10, 12, 13)))
    store = open_stores([write_classes(tmp_path / "1.h5", one), write_classes(tmp_path / "2.h5", two)])
    assert store.classes == CLASSES
    assert np.array_equal(read(store), expected())
    assert store.sizes(store.positions([13, 11])).tolist() == [[113, 90], [111, 90]]
    mixed = open_stores([tmp_path / "1.h5", write_classes(tmp_path / "3.h5", two, classes=None)])
    assert len(mixed) == 5  # only who asks for classes is refused
    with pytest.raises(UserError, match=r"3.h5: keeps probabilities of no classes, but .*1.h5 of 5: extract all alike"):
        _ = mixed.classes


def test_converting_keeps_them(tmp_path):
    old = write_classes(tmp_path / "old.h5")
    convert(old, tmp_path / "new.h5")
    assert np.array_equal(read(FeatureStore(tmp_path / "new.h5")), expected())
    with h5py.File(old) as file, h5py.File(tmp_path / "slow.h5", "w") as slow:  # chunked: read through h5py
        for name in file:
            slow.create_dataset(name, data=file[name][:], chunks=True)
        slow.attrs.update(file.attrs)
    store = FeatureStore(tmp_path / "slow.h5")
    with pytest.warns(UserWarning, match="reading is many times slower"):
        found = read(store)
    assert np.array_equal(found, expected())
    assert read(store, ASKED[:1]).shape == (1, CLASSES)


def test_a_killed_writer_goes_on(tmp_path):
    path = tmp_path / "a.h5"
    first = FeatureWriter(path, dim=DIM, extractor="test", classes=CLASSES)
    features, boxes = np.ones((2, DIM)), np.zeros((2, 4))
    first.add(10, features, boxes, (9, 9), class_probs=probabilities(10, 2))
    first._files["class_probs"].write(b"half an image")
    first._files["class_probs"].flush()
    first.release()
    for other in (7, None):
        with pytest.raises(UserError, match=f"was begun with classes=5, now classes={other}"):
            FeatureWriter(path, dim=DIM, extractor="test", classes=other)
    with FeatureWriter(path, dim=DIM, extractor="test", classes=CLASSES) as writer:
        assert writer.done(10)
        writer.add(11, np.ones((4, DIM)), np.zeros((4, 4)), (9, 9), class_probs=probabilities(11, 4))
    assert np.array_equal(read(FeatureStore(path), ASKED[:3]), expected(ASKED[:3]))


REFUSED = {
    r"optional arrays are none, expected .*class_probs": {},
    r"class_probs has shape \(2, 4\), expected \(2, 5\)": {"class_probs": probabilities(1, 2, 4)},
    "class_probs are no probabilities": {"class_probs": 2 * probabilities(1, 2)},
    "class_probs are no probabilitie": {"class_probs": np.array([[1.5, -0.5, 0, 0, 0], [1, 0, 0, 0, 0]])},
    "class_probs are no probabiliti": {"class_probs": np.full((2, 5), np.nan)},
}


@pytest.mark.parametrize("line", REFUSED)
def test_refused(tmp_path, line):
    with FeatureWriter(tmp_path / "a.h5", dim=DIM, extractor="test", classes=CLASSES) as writer:
        with pytest.raises(UserError, match=f"image 5:? .*{line}|image 5: {line}"):
            writer.add(5, np.ones((2, DIM)), np.zeros((2, 4)), (9, 9), **REFUSED[line])
        writer.add(5, np.ones((2, DIM)), np.zeros((2, 4)), (9, 9), class_probs=probabilities(5, 2))


def test_a_writer_without_classes_takes_none(tmp_path):
    with FeatureWriter(tmp_path / "a.h5", dim=DIM, extractor="test") as writer:
        with pytest.raises(UserError, match="optional arrays are class_probs, expected cls_id"):
            writer.add(5, np.ones((2, DIM)), np.zeros((2, 4)), (9, 9), class_probs=probabilities(5, 2))
        writer.add(5, np.ones((2, DIM)), np.zeros((2, 4)), (9, 9))


def test_damage_is_found(tmp_path):
    path = write_classes(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["class_probs"][0, 0] = 0.9
    assert [line for line in check(path) if "1 of 7 images have class probabilities that do not add up to 1" in line]
    with h5py.File(path, "r+") as file:
        del file["class_probs"]
        file["class_probs"] = np.zeros((3, CLASSES), np.float16)
    with pytest.raises(UserError, match=r"/class_probs has shape \(3, 5\), expected one row for each of 15 regions"):
        _ = FeatureStore(path).classes
