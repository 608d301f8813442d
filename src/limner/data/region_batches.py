"""What every data module over image regions shares: its store, batches with regions in them, and which features fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from limner.data.collate import RegionBuffers, gather_regions
from limner.data.features.together import open_stores
from limner.data.loader import BatchLoader
from limner.data.resident import ResidentRegions
from limner.errors import UserError
from limner.weights import package


class RegionData(pl.LightningDataModule):
    """A data module whose batches carry the regions of their images.

    Args:
        settings: the keys of the config group `data`; `features` (paths of stores, or none), `max_regions` and
            `resident` are used here.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings
        self.store = None
        if settings["features"]:
            self.store = open_stores(settings["features"], max_regions=settings["max_regions"])
        self.resident: ResidentRegions | None = None

    def fingerprint(self) -> dict[str, str]:
        """What must not change under a resumed run: a hash for each part of the data."""
        return {"features": self.store.fingerprint if self.store is not None else "none"}

    def state_dict(self) -> dict[str, Any]:
        return {"data_fingerprint": self.fingerprint()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore: `limner.train` compares the fingerprint before anything is trained."""

    # --- batches ---

    def share(self) -> tuple[int, int]:
        """The number of this process, and how many share the batches."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def region_loader(
        self,
        order: Any,
        make: Callable[[np.ndarray], dict[str, Any]],
        images: Callable[[np.ndarray], np.ndarray],
        *,
        resident: bool | None = None,
    ) -> BatchLoader:
        """Batches of `make`, with regions.

        Args:
            order: which items make which batch, as `BatchOrder`.
            make: everything of a batch but its regions, from the indices of its items.
            images: (B,) image id of each item, from the same indices.
            resident: row numbers instead of regions, for `on_after_batch_transfer`. Default: as the setting says.

        Returns:
            A loader whose batches have `feats (I,R,D)`, `boxes (I,R,4)`, `mask (I,R)` of the distinct images by
            ascending id, and `image (B,)`, the row of each item's image.
        """
        resident = self.settings["resident"] if resident is None else resident
        store, buffers = self.store, RegionBuffers()
        if store is None:
            return BatchLoader(order, lambda indices, slot: {**make(indices), **_no_regions(len(images(indices)))})

        def row_numbers(indices: np.ndarray, slot: int) -> dict[str, Any]:
            distinct, image = np.unique(store.positions(images(indices)), return_inverse=True)
            regions = store.fixed_regions or int(store.counts(distinct).max())
            where = {"positions": torch.from_numpy(distinct), "image": torch.from_numpy(image)}
            return {**make(indices), **where, "regions": regions}

        def regions(indices: np.ndarray, slot: int) -> dict[str, Any]:
            return {**make(indices), **gather_regions(store, images(indices), buffers[slot])._asdict()}

        def ahead(indices: np.ndarray) -> None:
            store.will_need(store.positions(np.unique(images(indices))))

        return BatchLoader(order, row_numbers) if resident else BatchLoader(order, regions, ahead=ahead)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """With `resident`, the regions of the batch are taken from the store's copy on the device."""
        if "positions" not in batch:
            return batch
        if self.resident is None:
            assert self.store is not None
            self.resident = ResidentRegions(self.store, batch["positions"].device)
        return self.resident.fill(batch)

    # --- which features fit ---

    def features_rule(self) -> dict[str, Any] | None:
        """What a model package says about the features it was trained on; None without features."""
        if self.store is None:
            return None
        return {
            "dim": self.store.dim,
            "max_regions": self.settings["max_regions"],
            "extractor": self.store.extractor,
            "provenance": self.store.provenance,
        }

    def expect(self, trained: package.Package) -> None:
        """Refuses to evaluate a model on other features than it was trained on; an unknown extractor fits any."""
        rule, mine = trained.meta.get("features"), self.features_rule()
        if rule is None or mine is None:
            if rule is not None:
                raise UserError("data.features is empty, but the model was trained on image features")
            return
        for name in ("dim", "extractor"):
            if rule[name] not in (mine[name], "unknown"):
                raise UserError(f"data.features: {name} is {mine[name]}, but the model was trained on {rule[name]}")


def _no_regions(items: int) -> dict[str, torch.Tensor]:
    """What stands in a batch of a model that looks at no image: one region of no numbers, which is none."""
    return {
        "feats": torch.zeros(1, 1, 0),
        "boxes": torch.zeros(1, 1, 4),
        "mask": torch.zeros(1, 1, dtype=torch.bool),
        "image": torch.zeros(items, dtype=torch.long),
    }


def files_of(table: Any, split: str) -> list[Any]:
    """The files of a split in a config table: none, one, or a list of them."""
    value = table.get(split)
    return [] if value is None else [value] if isinstance(value, str) else list(value)
