"""Batches of captions: what is in them, which captions are drawn, and that processes and resumed runs agree."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_captions import DIM, REGIONS, TRAINED, data, drawn, make_files, said_in, spoken, write_store

from limner.data.features import FeatureStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("captions"))


def test_a_batch(folder):
    """Keys, shapes, types and contents as the design says."""
    made = data(folder)
    store = FeatureStore(folder / "regions.h5")
    found = drawn(made.train_dataloader())
    assert [batch["total"] for batch in found] == [2, 2]
    for batch in found:
        (images,), captions, regions = batch["id"].shape, len(batch["image"]), batch["mask"].shape[1]
        width = 1 + int(batch["lengths"].max())
        expected = {
            "id": ((images,), torch.int64),
            "feats": ((images, regions, DIM), torch.float16),
            "boxes": ((images, regions, 4), torch.float32),
            "mask": ((images, regions), torch.bool),
            "size": ((images, 2), torch.float32),
            "image": ((captions,), torch.int64),
            "tokens": ((captions, width), torch.int64),
            "lengths": ((captions,), torch.int64),
        }
        assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items() if k != "total"} == expected
        ids = batch["id"].tolist()
        assert ids == sorted(set(ids))  # each image once
        assert said_in(batch, made.words) == {image: [" ".join(spoken(raw)) for raw in TRAINED[image]] for image in ids}
        assert batch["image"].tolist() == sorted(batch["image"].tolist())
        assert regions == max(REGIONS[image] for image in ids)
        assert batch["size"].tolist() == [[100 + image, 90] for image in ids]
        for row, image in enumerate(ids):
            want = store.read(store.positions([image]))
            assert np.array_equal(batch["feats"][row][batch["mask"][row]], want.feats[0])
            assert np.array_equal(batch["boxes"][row][batch["mask"][row]], want.boxes[0])
    assert sorted(image for batch in found for image in batch["id"].tolist()) == [10, 11, 12, 13]


def test_captions_drawn_for_an_image(folder):
    made = data(folder, captions_per_image=2)
    loader = made.train_dataloader()
    seen: dict[int, set[str]] = {image: set() for image in TRAINED}
    for epoch in range(12):
        loader.set_epoch(epoch)
        for batch in drawn(loader):
            assert torch.bincount(batch["image"]).tolist() == [2] * len(batch["id"])
            for image, said in said_in(batch, made.words).items():
                assert len(set(said)) == min(2, len(TRAINED[image]))
                seen[image] |= set(said)
    assert seen == {image: {" ".join(spoken(raw)) for raw in said} for image, said in TRAINED.items()}


def test_evaluation_needs_no_captions(folder):
    made = data(folder, test="test", eval_batch_size=1)
    found = drawn(made.loader("val"))
    assert [batch["id"].tolist() for batch in found] == [[20], [21]]
    assert all({"tokens", "lengths"}.isdisjoint(batch) for batch in found)
    assert [batch["size"].tolist() for batch in found] == [[[120, 90]], [[121, 90]]]
    assert [batch["id"].tolist() for batch in drawn(made.val_dataloader())] == [[20], [21]]
    assert [batch["id"].tolist() for batch in drawn(made.loader("test"))] == [[30]]
    assert [batch["id"].item() for batch in drawn(made.loader("train"))] == sorted(TRAINED)


def test_a_store_that_knows_no_sizes(folder, tmp_path):
    store = write_store(tmp_path / "bare.h5", REGIONS, sizes=False)
    assert "size" not in drawn(data(folder, features=[str(store)]).train_dataloader())[0]


def test_fixed_regions(folder):
    for batch in drawn(data(folder, max_regions=2).train_dataloader()):
        assert batch["feats"].shape[1] == 2


def test_resident_features_give_the_same_batches(folder):
    read, kept = data(folder), data(folder, resident=True)
    for loaders in ((read.train_dataloader(), kept.train_dataloader()), (read.val_dataloader(), kept.val_dataloader())):
        for mine, its in zip(drawn(loaders[0]), loaders[1], strict=True):
            assert "positions" in its
            filled = kept.on_after_batch_transfer(its, 0)
            assert mine.keys() == filled.keys()
            assert all(torch.equal(torch.as_tensor(mine[k]), torch.as_tensor(filled[k])) for k in mine)
    assert "feats" in next(iter(kept.loader("val")))  # complete, for who asks without this module


@pytest.mark.parametrize("drawn_captions", [None, 2])
def test_two_processes_see_what_one_does(folder, drawn_captions):
    options = {"captions_per_image": drawn_captions, "batch_size": 2}
    alone = drawn(data(folder, **options).train_dataloader())
    shares = []
    for rank in range(2):
        made = data(folder, **options)
        made.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        shares.append(drawn(made.train_dataloader()))
    for whole, *parts in zip(alone, *shares, strict=True):
        together: dict[int, list[str]] = {}
        for part in parts:
            assert part["total"] == whole["total"] == 2
            assert len(part["id"]) == 1
            together |= said_in(part, made.words)
        assert together == said_in(whole, made.words)


def test_resume_in_the_middle_of_an_epoch(folder):
    options = {"batch_size": 1, "captions_per_image": 1}
    loader = data(folder, **options).train_dataloader()
    loader.set_epoch(3)
    whole = drawn(loader)
    again = iter(loader)
    next(again), next(again)
    state = loader.state_dict()
    assert state == {"epoch": 3, "batch": 2}
    other = data(folder, **options).train_dataloader()
    other.load_state_dict(state)
    rest = drawn(other)
    assert len(rest) == len(whole) - 2 == 2
    for mine, its in zip(rest, whole[2:]):
        assert all(torch.equal(torch.as_tensor(mine[key]), torch.as_tensor(its[key])) for key in its)
