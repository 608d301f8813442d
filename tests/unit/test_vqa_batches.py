"""Batches of VQA: what is in them, and in which order questions come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_vqa import DIM, IMAGES, QUESTIONS, data, drawn, make_files

from limner.data.features import FeatureStore
from limner.data.text import tokenize


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("vqa"))


def test_a_batch(folder):
    """Keys, shapes and types as the design says."""
    made = data(folder)
    store = FeatureStore(folder / "train.h5")
    asked = {q[0]: q for q in QUESTIONS["train"]}
    found = drawn(made.train_dataloader())
    assert [batch["total"] for batch in found] == [3, 3, 1]
    for batch in found:
        keys = {"id", "feats", "boxes", "mask", "image", "tokens", "scores", "total"}
        assert batch.keys() == keys
        items, images, regions, length = len(batch["id"]), *batch["mask"].shape, batch["tokens"].shape[1]
        expected = {
            "id": ((items,), torch.int64),
            "feats": ((images, regions, DIM), torch.float16),
            "boxes": ((images, regions, 4), torch.float32),
            "mask": ((images, regions), torch.bool),
            "image": ((items,), torch.int64),
            "tokens": ((items, length), torch.int64),
            "scores": ((items, 6), torch.float32),
        }
        assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items() if k != "total"} == expected
        assert images == len({asked[q][1] for q in batch["id"].tolist()})  # each image once
        assert regions == max(IMAGES["train"][asked[q][1]] for q in batch["id"].tolist())
        for k, question in enumerate(batch["id"].tolist()):
            _, image, text, most, _ = asked[question]
            ids = [made.words.ids[w] for w in tokenize(text)]
            assert batch["tokens"][k].tolist() == ids + [len(made.words)] * (length - len(ids))
            assert made.answers.answers[batch["scores"][k].argmax()] == most
            want = store.read(store.positions([image]))
            row = batch["image"][k]
            assert np.array_equal(batch["feats"][row][batch["mask"][row]], want.feats[0])
            assert np.array_equal(batch["boxes"][row][batch["mask"][row]], want.boxes[0])
    assert sorted(q for batch in found for q in batch["id"].tolist()) == sorted(asked)


def test_grouped_batches_hold_whole_images(folder):
    free = [batch["id"].tolist() for batch in drawn(data(folder, batch_size=7).train_dataloader())]
    made = data(folder, batch_size=7, group_by_image=True)
    image = {q[0]: q[1] for q in QUESTIONS["train"]}
    loader = made.train_dataloader()
    for epoch in range(4):
        loader.set_epoch(epoch)
        order = [image[q] for batch in drawn(loader) for q in batch["id"].tolist()]
        changes = sum(a != b for a, b in pairwise(order))
        assert changes == len(IMAGES["train"]) - 1  # all questions of an image follow each other
        assert len(order) == 7
    assert any(image[a] != image[b] for ids in free for a, b in pairwise(ids))


def test_evaluation_batches_keep_their_order(folder):
    made = data(folder, eval_batch_size=2, group_by_image=False)
    found = drawn(made.loader("val"))
    assert [batch["id"].tolist() for batch in found] == [[201, 200], [202]]  # by image 20, 21
    assert [b["id"].tolist() for b in drawn(made.val_dataloader())] == [b["id"].tolist() for b in found]


def test_fixed_regions(folder):
    for batch in drawn(data(folder, max_regions=2).train_dataloader()):
        assert batch["feats"].shape[1] == 2
