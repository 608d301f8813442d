"""Several feature stores as one: train and val features lie in two files, a model trained on both reads both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import xxhash

from limner.data.features.store import FeatureStore, Regions
from limner.errors import UserError, listing


def open_stores(paths: Sequence[str | os.PathLike[str]], *, max_regions: int | None = None) -> FeatureStore | Stores:
    """One store, or several as one; see `FeatureStore` for the arguments."""
    if len(paths) == 1:
        return FeatureStore(paths[0], max_regions=max_regions)
    return Stores(paths, max_regions=max_regions)


class Stores:
    """The union of several stores, with the methods of one. An image that stands in two is read from the first.

    Raises:
        UserError: the stores differ in feature size, dtype or extractor.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], *, max_regions: int | None = None) -> None:
        self.stores = [FeatureStore(path, max_regions=max_regions) for path in paths]
        self.fixed_regions = max_regions
        first = self.stores[0]
        for other in self.stores[1:]:
            for name in ("dim", "dtype", "extractor"):
                mine, its = getattr(first, name), getattr(other, name)
                if mine != its:
                    raise UserError(
                        f"{other.path}: {name} is {its}, but {first.path} has {mine}: "
                        "features of one model must come from one extractor"
                    )

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ascending distinct ids, the store of each, its position there."""
        ids = np.concatenate([store.image_ids for store in self.stores])
        owner = np.repeat(np.arange(len(self.stores)), [len(store) for store in self.stores])
        place = np.concatenate([np.arange(len(store)) for store in self.stores])
        distinct, first = np.unique(ids, return_index=True)
        return distinct, owner[first], place[first]

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def image_ids(self) -> np.ndarray:
        return self._index[0]

    @property
    def path(self) -> str:
        return ", ".join(str(store.path) for store in self.stores)

    @property
    def dim(self) -> int:
        return self.stores[0].dim

    @property
    def dtype(self) -> np.dtype:
        return self.stores[0].dtype

    @property
    def extractor(self) -> str:
        return self.stores[0].extractor

    @property
    def provenance(self) -> dict[str, Any]:
        names = [store.path.name for store in self.stores]
        if len(set(names)) < len(names):  # train/regions.h5 and val/regions.h5
            names = [str(store.path) for store in self.stores]
        return {name: store.provenance for name, store in zip(names, self.stores)}

    @property
    def max_regions(self) -> int:
        return max(store.max_regions for store in self.stores)

    @cached_property
    def fingerprint(self) -> str:
        return xxhash.xxh3_128_hexdigest("".join(store.fingerprint for store in self.stores).encode())

    def positions(self, image_ids: np.ndarray) -> np.ndarray:
        wanted = np.asarray(image_ids, np.int64)
        known = self.image_ids
        found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        missing = np.unique(wanted[known[found] != wanted])
        if len(missing):
            first = listing(missing[:5].tolist(), len(missing))
            raise UserError(
                f"{self.path}: no features for {len(missing):,} images (ids {first}) in {len(self.stores)} files: "
                "extract them too, or give the feature file of this split"
            )
        return found

    def size(self, position: int) -> tuple[int, int]:
        _, owner, place = self._index
        return self.stores[owner[position]].size(int(place[position]))

    def sizes(self, positions: np.ndarray) -> np.ndarray:
        out = np.empty((len(positions), 2), np.float32)
        for store, here, places in self._parts(positions):
            out[here] = store.sizes(places)
        return out

    @property
    def classes(self) -> int:
        """As `FeatureStore.classes`. Raises `UserError` when the stores differ in it: all keep them, or none."""
        first, *others = self.stores
        for other in others:
            if other.classes != first.classes:
                raise UserError(
                    f"{other.path}: keeps probabilities of {other.classes or 'no'} classes, but {first.path} of "
                    f"{first.classes or 'none'}: extract all alike, or data.region_targets=features"
                )
        return first.classes

    def class_probs(self, positions: np.ndarray, regions: np.ndarray) -> np.ndarray:
        out = np.empty((len(positions), self.classes), np.float16)
        for store, here, places in self._parts(positions):
            out[here] = store.class_probs(places, regions[here])
        return out

    def counts(self, positions: np.ndarray) -> np.ndarray:
        out = np.empty(len(positions), np.int64)
        for store, here, places in self._parts(positions):
            out[here] = store.counts(places)
        return out

    def read(self, positions: np.ndarray, out: Regions | np.ndarray | None = None) -> Regions:
        """As `FeatureStore.read`; the images of each store are read in one piece where they stand together."""
        regions = self.fixed_regions or int(self.counts(positions).max(initial=0))
        if not isinstance(out, Regions):
            feats = out if out is not None else np.empty((len(positions), regions, self.dim), self.dtype)
            shape = (len(positions), feats.shape[1])
            out = Regions(feats, np.empty((*shape, 4), np.float32), np.empty(shape, bool))
        for store, here, places in self._parts(positions):
            edges = np.flatnonzero(np.diff(here) != 1) + 1
            for run, run_places in zip(np.split(here, edges), np.split(places, edges)):
                piece = slice(int(run[0]), int(run[-1]) + 1)
                store.read(run_places, Regions(out.feats[piece], out.boxes[piece], out.mask[piece]))
        return out

    def will_need(self, positions: np.ndarray) -> None:
        for store, _, places in self._parts(positions):
            store.will_need(places)

    def _parts(self, positions: np.ndarray) -> Iterator[tuple[FeatureStore, np.ndarray, np.ndarray]]:
        """`(store, indices into positions, positions in that store)` for each store that is concerned."""
        _, owner, place = self._index
        owners, places = owner[positions], place[positions]
        for number, store in enumerate(self.stores):
            here = np.flatnonzero(owners == number)
            if len(here):
                yield store, here, places[here]
