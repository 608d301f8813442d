"""What ViLBERT sees of an image: the whole image first, five numbers a box."""

from __future__ import annotations

import pytest
import torch

from limner.data.dialog_regions import with_whole_image


@pytest.fixture
def images():
    feats = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 0.0], [9.0, 9.0]]])  # what is no region is no number of ours
    boxes = torch.tensor(
        [[[10.0, 0.0, 60.0, 20.0], [0.0, 0.0, 100.0, 40.0]], [[0.0, 5.0, 5.0, 10.0], [7.0, 7.0, 7.0, 7.0]]]
    )
    mask = torch.tensor([[True, True], [True, False]])
    return feats, boxes, mask, torch.tensor([[100.0, 40.0], [10.0, 20.0]])


@pytest.mark.parametrize("kind", [torch.float16, torch.float32])
def test_whole_image_first(images, kind):
    feats, boxes, mask, size = images
    found = with_whole_image(feats.to(kind), boxes, mask, size)
    assert found.feats.tolist() == [[[2, 4], [1, 2], [3, 6]], [[5, 0], [5, 0], [0, 0]]]
    assert found.feats.dtype == found.boxes.dtype == torch.float32
    assert found.mask.tolist() == [[True] * 3, [True, True, False]]
    wanted = torch.tensor(
        [
            [[0, 0, 1, 1, 1], [0.1, 0, 0.6, 0.5, 0.25], [0, 0, 1, 1, 1]],
            [[0, 0, 1, 1, 1], [0, 0.25, 0.5, 0.5, 0.125], [0, 0, 0, 0, 0]],
        ]
    )
    assert torch.allclose(found.boxes, wanted, atol=1e-7)


def test_regions_are_cut_after_the_mean(images):
    found = with_whole_image(*images, regions=2)
    assert found.feats.tolist() == [[[2, 4], [1, 2]], [[5, 0], [5, 0]]]
    assert (found.boxes.shape, found.mask.shape) == ((2, 2, 5), (2, 2))
    assert with_whole_image(*images, regions=None).feats.shape == (2, 3, 2)


def test_an_image_without_regions(images):
    feats, boxes, mask, size = images
    found = with_whole_image(feats, boxes, torch.zeros_like(mask), size)
    assert not found.feats.any()
    assert found.mask.tolist() == [[True, False, False]] * 2
