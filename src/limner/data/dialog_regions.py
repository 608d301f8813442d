"""What ViLBERT sees of an image: the whole image first, then its regions, each with five numbers for its box.

Source: the behaviour of visdial-bert's reader, equal on its golden images. Region 0 is the mean of the features, with
the box 0, 0, 1, 1, 1. A box is x1/w, y1/h, x2/w, y2/h and its share of the image's area. What the detector said the
regions are is what masked ones are predicted as: `limner.data.vilbert_data`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

REGIONS = 37  # published: 36 boxes and the whole image


class ImageInput(NamedTuple):
    """I images of R regions, the whole image at place 0. What is padding is zero."""

    feats: Tensor  #: (I, R, D) float32
    boxes: Tensor  #: (I, R, 5) float32
    mask: Tensor  #: (I, R) bool


def with_whole_image(
    feats: Tensor, boxes: Tensor, mask: Tensor, size: Tensor, *, regions: int | None = REGIONS
) -> ImageInput:
    """Puts the whole image before the regions of each image.

    Args:
        feats: (I, R, D) any float; zero where there is no region.
        boxes: (I, R, 4) x1, y1, x2, y2 in pixels.
        mask: (I, R) bool, real regions; they stand before the padding.
        size: (I, 2) width and height in pixels.
        regions: keep so many at most, the whole image included (published: 37). Its mean is over all of them. None:
            keep all.

    An image without regions has zeros for its mean.
    """
    real = mask[..., None]
    feats = torch.where(real, feats.float(), 0.0)
    mean = feats.sum(1, keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]  # [i, 1, d]
    width, height = size.float().unbind(1)
    scale = torch.stack((width, height, width, height), 1)[:, None]
    boxes = boxes.float()
    area = (boxes[..., 3] - boxes[..., 1]) * (boxes[..., 2] - boxes[..., 0]) / (width * height)[:, None]
    places = torch.where(real, torch.cat((boxes / scale, area[..., None]), -1), 0.0)
    whole = places.new_tensor([0.0, 0.0, 1.0, 1.0, 1.0]).expand(len(places), 1, 5)
    return ImageInput(
        torch.cat((mean, feats), 1)[:, :regions],
        torch.cat((whole, places), 1)[:, :regions],
        torch.cat((mask.new_ones(len(mask), 1), mask), 1)[:, :regions],
    )
