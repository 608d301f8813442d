"""Real and golden feature files of published code, converted by the command line and read back."""

from __future__ import annotations

import base64
import csv
import tarfile

import numpy as np
import pytest
import torch

from limner.cli import main
from limner.data.dialog_regions import with_whole_image
from limner.data.features import FeatureStore, check
from limner.data.vilbert_data import ViLBERTData

COLUMNS = ["img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"]
COLUMNS += ["num_boxes", "boxes", "features"]


def test_the_original_features_of_ten_images(shared, tmp_path, monkeypatch):
    """Against LXMERT's way to read them: csv, base64, numpy."""
    tsv, new = shared / "data/bottom_up_10/train2014_obj36.tsv", tmp_path / "new.h5"
    assert main(["features", "convert", str(tsv), "--out", str(new)]) == 0
    assert check(new) == []
    store = FeatureStore(new)
    monkeypatch.setattr(csv, "field_size_limit", csv.field_size_limit)
    csv.field_size_limit(1 << 24)
    with tsv.open() as file:
        rows = list(csv.DictReader(file, COLUMNS, delimiter="\t"))
    assert len(rows) == len(store) == 10
    for row in rows:
        (place,) = store.positions([int(row["img_id"].split("_")[-1])])
        arrays = {name: base64.b64decode(row[name]) for name in COLUMNS[3:] if name != "num_boxes"}
        feats, boxes, mask = store.read([place])
        assert np.array_equal(
            feats[0], np.frombuffer(arrays["features"], np.float32).reshape(36, -1).astype(np.float16)
        )
        assert np.array_equal(boxes[0], np.frombuffer(arrays["boxes"], np.float32).reshape(36, 4))
        assert mask.all()
        assert store.size(place) == (int(row["img_w"]), int(row["img_h"]))
        rows_of = slice(36 * place, 36 * place + 36)
        for ours, theirs in (("cls_id", "objects_id"), ("attr_id", "attrs_id")):
            assert np.array_equal(store.layout.optional[ours][rows_of], np.frombuffer(arrays[theirs], np.int64))
        for ours, theirs in (("cls_prob", "objects_conf"), ("attr_prob", "attrs_conf")):
            stored = store.layout.optional[ours][rows_of]
            assert np.array_equal(stored, np.frombuffer(arrays[theirs], np.float32).astype(np.float16))


@pytest.fixture
def converted(shared, tmp_path):
    with tarfile.open(shared / "golden/visdial/features3.lmdb.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    new = tmp_path / "new.h5"
    assert main(["features", "convert", str(tmp_path / "features3.lmdb"), "--out", str(new)]) == 0
    assert check(new) == []
    return new


def test_an_lmdb_of_visdial_bert(converted, shared):
    """What its reader and `encode_image_input` made of the same file: regions, the whole image, five numbers a box."""
    store = FeatureStore(converted)
    golden = np.load(shared / "golden/visdial/image_encoding_lmdb3.npz")
    ids = [int(image) for image in golden["image_ids"]]
    assert store.image_ids.tolist() == sorted(ids)
    places = store.positions(ids)
    feats, boxes, mask = (torch.from_numpy(array) for array in store.read(places))
    found = with_whole_image(feats, boxes, mask, torch.from_numpy(store.sizes(places)))
    for row, image in enumerate(ids):
        kept = min(int(golden[f"{image}/num_boxes"]), 37)
        assert found.mask[row].numpy().astype(int).tolist() == golden[f"{image}/enc_mask"].tolist()
        assert np.array_equal(found.boxes[row].numpy(), golden[f"{image}/enc_loc"])
        expected = golden[f"{image}/features"][:kept]
        assert np.array_equal(found.feats[row, 1:kept].numpy(), expected[1:].astype(np.float16).astype(np.float32))
        np.testing.assert_allclose(found.feats[row, 0].numpy(), expected[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.feats[row].sum(1).numpy(), golden[f"{image}/enc_feat_sum"], rtol=1e-3)
    made = ViLBERTData(features=[str(converted)], max_regions=36, mask_regions=0.15, region_targets="auto")
    assert made.predicts_classes
    for image in ids:
        kept = min(int(golden[f"{image}/num_boxes"]), 37)
        target = made.class_targets(np.array([image]), torch.ones(1, kept, dtype=torch.bool))
        np.testing.assert_allclose(target, golden[f"{image}/cls_prob"][:kept], atol=3e-4)
