"""A batch's regions: each image once, in memory that is used again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limner.data.collate import RegionBuffers, RegionSlot, gather_regions
from limner.data.features import FeatureStore, FeatureWriter
from limner.errors import UserError

DIM = 6


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    with FeatureWriter(tmp_path / "f.h5", dim=DIM, extractor="x") as writer:
        for image_id, regions in {5: 2, 9: 4, 2: 3, 30: 1}.items():
            boxes = np.full((regions, 4), image_id)
            writer.add(image_id, rng.standard_normal((regions, DIM)), boxes, (9, 9))
    return FeatureStore(tmp_path / "f.h5")


def test_each_image_once(store):
    wanted = np.array([9, 5, 9, 9, 5, 2])
    batch = gather_regions(store, wanted, RegionBuffers(pin=False)[0])
    assert batch.feats.shape == (3, 4, DIM)
    assert (batch.feats.dtype, batch.boxes.dtype, batch.mask.dtype) == (torch.float16, torch.float32, torch.bool)
    assert batch.image.tolist() == [2, 1, 2, 2, 1, 0]
    assert batch.image.dtype == torch.int64
    for item, image_id in enumerate(wanted):
        row = batch.image[item]
        alone = store.read(store.positions([image_id]))
        k = int(batch.mask[row].sum())
        assert k == alone.feats.shape[1]
        assert np.array_equal(batch.feats[row, :k], alone.feats[0])
        assert (batch.boxes[row, :k] == image_id).all()
        assert not batch.feats[row, k:].any()
        assert not batch.boxes[row, k:].any()


def test_memory_is_used_again_and_stays_clean(store):
    buffers = RegionBuffers(ring=2, pin=False)
    big = gather_regions(store, np.array([9, 2]), buffers[0])
    place = big.feats.data_ptr()
    other = gather_regions(store, np.array([9]), buffers[1])
    assert other.feats.data_ptr() != place
    small = gather_regions(store, np.array([30, 5]), buffers[0])
    assert small.feats.data_ptr() == place
    assert small.feats.shape == (2, 2, DIM)
    assert small.feats.is_contiguous()
    assert not small.feats[~small.mask].any()  # nothing of the batch before shows through
    assert not small.boxes[~small.mask].any()
    assert len(buffers) == 2


def test_fixed_regions(store, tmp_path):
    fixed = FeatureStore(tmp_path / "f.h5", max_regions=3)
    batch = gather_regions(fixed, np.array([30, 9]), RegionBuffers(pin=False)[0])
    assert batch.feats.shape == (2, 3, DIM)
    assert batch.mask.sum(1).tolist() == [3, 1]  # by ascending id


def test_slots_grow_and_change_type():
    slot = RegionSlot(pin=False)
    assert slot.take("a", (2, 3), torch.float32).shape == (2, 3)
    first = slot.take("a", (100,), torch.float32)
    assert slot.take("a", (5, 5), torch.float32).data_ptr() == first.data_ptr()
    assert slot.take("a", (5,), torch.float16).dtype == torch.float16
    assert slot.take("b", (0, 4), torch.bool).shape == (0, 4)


def test_unknown_images_are_named(store):
    with pytest.raises(UserError, match=r"no features for 1 of 2 images \(ids 6\)"):
        gather_regions(store, np.array([5, 6, 5]), RegionBuffers(pin=False)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pinned_when_there_is_a_device(store):
    batch = gather_regions(store, np.array([5]), RegionBuffers()[0])
    assert batch.feats.is_pinned()
