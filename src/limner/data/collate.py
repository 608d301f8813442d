"""Region features of a batch, in memory that is used again and again.

A fresh 75 MB tensor costs more in page faults than the copy into it, so each slot of the loader's ring owns its
arrays, which grow to the largest batch seen and then stay. They are pinned when there is a CUDA device, so that the
copy to it runs beside the computation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from limner.data.features.store import FeatureStore, Regions
from limner.data.features.together import Stores


class RegionBatch(NamedTuple):
    """Regions of the distinct images of a batch. The tensors belong to a slot: its next use overwrites them."""

    feats: torch.Tensor  #: (I, R, D) float16 or float32, zeros where padded
    boxes: torch.Tensor  #: (I, R, 4) float32 xyxy pixels
    mask: torch.Tensor  #: (I, R) bool, True for a real region
    image: torch.Tensor  #: (B,) int64, the row in `feats` of each item's image


class RegionSlot:
    """The arrays of one slot.

    Args:
        pin: page-locked memory, for copies to a CUDA device.
    """

    def __init__(self, *, pin: bool) -> None:
        self.pin = pin
        self._flat: dict[str, torch.Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A contiguous tensor of this shape; what an earlier one of the same name held is lost."""
        count = int(np.prod(shape))
        flat = self._flat.get(name)
        if flat is None or flat.dtype != dtype or len(flat) < count:
            self._flat.pop(name, None)  # before the new one: never both at once
            flat = self._flat[name] = _allocate(count, dtype, self.pin)
        return flat[:count].view(shape)


class RegionBuffers:
    """One `RegionSlot` for each slot of a ring.

    Args:
        ring: number of slots, that of the `BatchLoader`.
        pin: page-locked memory. Default: when a CUDA device is there.
    """

    def __init__(self, *, ring: int = 3, pin: bool | None = None) -> None:
        pin = torch.cuda.is_available() if pin is None else pin
        self._slots = [RegionSlot(pin=pin) for _ in range(ring)]

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, slot: int) -> RegionSlot:
        return self._slots[slot]


def gather_regions(store: FeatureStore | Stores, image_ids: np.ndarray, slot: RegionSlot) -> RegionBatch:
    """Reads the regions of a batch's images, each distinct image once.

    Args:
        store: where they are.
        image_ids: (B,) integers, the image of each item, in any order and repeated.
        slot: the memory to use.

    Returns:
        `RegionBatch`; images are in ascending order of id, R is the largest region count among them.

    Raises:
        UserError: when the store lacks an image.
    """
    distinct, image = np.unique(np.asarray(image_ids, np.int64), return_inverse=True)
    positions = store.positions(distinct)
    regions = store.fixed_regions or int(store.counts(positions).max(initial=0))
    shape = (len(distinct), regions)
    dtype = torch.float16 if store.dtype == np.float16 else torch.float32
    feats = slot.take("feats", (*shape, store.dim), dtype)
    boxes = slot.take("boxes", (*shape, 4), torch.float32)
    mask = slot.take("mask", shape, torch.bool)
    store.read(positions, Regions(feats.numpy(), boxes.numpy(), mask.numpy()))
    return RegionBatch(feats, boxes, mask, torch.from_numpy(image.reshape(-1).astype(np.int64, copy=False)))


def _allocate(count: int, dtype: torch.dtype, pin: bool) -> torch.Tensor:
    if pin:
        return torch.empty(count, dtype=dtype, pin_memory=True)
    # numpy asks the system for huge pages, torch does not: the first fill is several times faster
    return torch.from_numpy(np.empty(count, torch.empty(0, dtype=dtype).numpy().dtype))
