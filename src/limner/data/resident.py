"""A whole feature store in a device's memory, so that the loader moves only row numbers.

VQA v2 train in fp16 is 11.4 GiB; on a GPU that has the room, no batch waits for a copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from limner.data.features.store import FeatureStore
from limner.data.features.together import Stores
from limner.errors import UserError

CHUNK = 1024  # images copied at a time


class ResidentRegions:
    """Regions of all images of a store on a device.

    Args:
        store: what to hold; padded to its largest region count.
        device: where.

    Raises:
        UserError: the device has too little memory.
    """

    def __init__(self, store: FeatureStore | Stores, device: torch.device):
        images, regions = len(store), store.max_regions
        dtype = torch.float16 if store.dtype == np.float16 else torch.float32
        try:
            self.feats = torch.zeros(images, regions, store.dim, dtype=dtype, device=device)
            self.boxes = torch.zeros(images, regions, 4, device=device)
            self.mask = torch.zeros(images, regions, dtype=torch.bool, device=device)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError):
            size = images * regions * store.dim * dtype.itemsize / 2**30
            found = f"{size:.1f} GiB of features do not fit on {device}"
            raise UserError(f"data.resident: {found}: set it to false") from None
        for start in range(0, images, CHUNK):
            part = store.read(np.arange(start, min(start + CHUNK, images)))
            rows, width = slice(start, start + len(part.feats)), part.feats.shape[1]
            self.feats[rows, :width] = torch.from_numpy(part.feats).to(device)
            self.boxes[rows, :width] = torch.from_numpy(part.boxes).to(device)
            self.mask[rows, :width] = torch.from_numpy(part.mask).to(device)

    def fill(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Puts `feats`, `boxes`, `mask` of the images at `positions` into the batch, in the place of `positions`.

        `regions`, a number that comes with them, is the width to pad to: asking the mask would wait for the device.
        """
        positions, regions = batch.pop("positions"), batch.pop("regions")
        batch["feats"] = self.feats[positions, :regions]
        batch["boxes"] = self.boxes[positions, :regions]
        batch["mask"] = self.mask[positions, :regions]
        return batch
