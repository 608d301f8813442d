"""`limner data coco-regions`: captions as they were written, regions from boxes alone, made once."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from limner.data.caption_files import load_captions
from limner.data.coco_regions import build, main
from limner.data.features import FeatureStore
from limner.errors import UserError
from limner.extract.annotated import AnnotationsExtractor
from limner.extract.boxes import read_boxes

FILE = {
    "categories": ["person", "dog"],
    "images": [
        {
            "image_id": 42 + place, "width": 100, "height": 80, "boxes": [[5, 5, 50, 60]] * place,
            "labels": [1] * place, "captions": [f"A dog sits, number {place}.", "Two men."], "split": split,
        }
        for place, split in enumerate(("train", "val", "train"))
    ],
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "regions.json.gz"
    path.write_bytes(gzip.compress(json.dumps(FILE).encode()))
    return path


def test_captions_and_regions(file, tmp_path, capsys):
    folder = tmp_path / "made"
    assert main([str(file), str(folder)]) == 0
    assert "train 2 images, 4 captions, val 1 images, 2 captions" in capsys.readouterr().out
    train = load_captions(folder / "captions.json", split="train")
    assert train.image_id.tolist() == [42, 44]
    assert [bytes(train.text[a:b]).decode() for a, b in train.where.tolist()] == [
        "A dog sits, number 0.", "Two men.", "A dog sits, number 2.", "Two men."
    ]  # fmt: skip
    assert [train.words[token] for token in train.tokens[:5]] == ["a", "dog", "sits", "number", "0"]  # COCO's tokens
    store = FeatureStore(folder / "regions.h5")
    assert store.image_ids.tolist() == [42, 43, 44]
    assert store.counts(store.positions([42, 43, 44])).tolist() == [1, 2, 3]
    regions = AnnotationsExtractor(classes=2)(read_boxes(file)[1][44])
    assert np.array_equal(store.read(store.positions([44])).feats[0], regions.features.astype(np.float16))


def test_captions_do_not_reach_the_features(file, tmp_path):
    silent = tmp_path / "silent.json"
    silent.write_text(json.dumps({**FILE, "images": [{**image, "captions": ["x"]} for image in FILE["images"]]}))
    first, second = build(file, tmp_path / "a"), build(silent, tmp_path / "b")
    assert (first / "regions.h5").read_bytes() == (second / "regions.h5").read_bytes()


def test_made_once_and_replaced_only_when_asked(file, tmp_path):
    folder = build(file, tmp_path / "made")
    before = (folder / "captions.json").stat().st_mtime_ns
    assert (build(file, folder) / "captions.json").stat().st_mtime_ns == before
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**FILE, "images": FILE["images"][:1]}))
    with pytest.raises(UserError, match="made otherwise"):
        build(other, folder)
    assert main([str(other), str(folder), "--replace"]) == 0
    assert FeatureStore(folder / "regions.h5").image_ids.tolist() == [42]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"captions": []}, r"images\[0\] \(image_id 42\): captions is .*expected a list of texts"),
        ({"captions": [3]}, "captions is .*expected a list of texts"),
        ({"split": None}, "split is missing, expected a name"),
        ({"labels": [7], "boxes": [[0, 0, 1, 1]]}, "labels are 7 to 7"),
    ],
)
def test_wrong_records(tmp_path, change, says):
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**FILE, "images": [{**FILE["images"][0], **change}]}))
    with pytest.raises(UserError, match=says):
        build(path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_real_file(shared, tmp_path):
    folder = build(shared / "data/coco_val2017_regions/regions.json.gz", tmp_path / "real")
    assert len(load_captions(folder / "captions.json", split="train").image_id) == 3000
    assert len(load_captions(folder / "captions.json", split="val").image_id) == 500
    store = FeatureStore(folder / "regions.h5")
    features = store.read(np.arange(500)).feats.astype(np.float32)
    mask = features[:, :, 0:1] != 0
    mask |= np.abs(features).sum(2, keepdims=True) > 0
    mean_square = (features**2).sum() / mask.sum() / store.dim
    assert 0.5 < mean_square < 2  # what `scale` is for
