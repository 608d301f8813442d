"""HDF5 files: those that limner reads as they are (its own, hengyuan-hu, visdial starter), and M2's with a dataset an
image: `{id}_features` (K, D), `{id}_boxes` (K, 4), `{id}_cls_prob` (K, C).
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint, table
from limner.data.features.layout import open_hdf5
from limner.data.features.store import FeatureStore
from limner.errors import UserError

ENDING = "_features"


def is_store(path: Path) -> bool:
    """Can `FeatureStore` open it, as far as its kind tells?"""
    return path.is_file() and h5py.is_hdf5(path) and not is_m2(path)


def is_m2(path: Path) -> bool:
    if not (path.is_file() and h5py.is_hdf5(path)):
        return False
    try:
        with h5py.File(path, "r") as file:
            return any(name.endswith(ENDING) and name[0].isdigit() for name in islice(file, 10))
    except OSError:
        return False


def _open_store(path: Path) -> Source:
    store = FeatureStore(path)
    layout = store.layout

    def entries() -> Generator[Entry, None, None]:
        # in the order of the file, so that a disk reads ahead
        for number, position in enumerate(np.argsort(layout.starts, kind="stable").tolist(), 1):
            image_id = int(layout.image_ids[position])
            yield Entry(f"{path}: image {image_id}", image_id, position, number)

    def decode(entry: Entry) -> Image:
        start = int(layout.starts[entry.data])
        rows = slice(start, start + int(layout.counts[entry.data]))
        optional = {name: values[rows] for name, values in layout.optional.items()}
        boxes = None if layout.boxes is None else layout.boxes[rows]
        return Image(layout.features[rows], boxes, store.size(entry.data), optional)

    told = store.provenance | fingerprint(path)
    return Source(entries, decode, len(store), store.extractor, told)


def _open_m2(path: Path) -> Source:
    file = open_hdf5(path)
    names = sorted(name.removesuffix(ENDING) for name in file if name.endswith(ENDING))

    def entries() -> Generator[Entry, None, None]:
        for number, name in enumerate(names, 1):
            yield Entry(f"{path}: {name}{ENDING}", name, name, number)

    def decode(entry: Entry) -> Image:
        def read(what: str) -> np.ndarray | None:
            dataset = file.get(f"{entry.data}_{what}")
            if dataset is None:
                return None
            try:
                return dataset[()]
            except OSError as error:
                raise UserError(f"{path}: {entry.data}_{what} cannot be read ({error}): copy it again") from error

        features, boxes, probs = read("features"), read("boxes"), read("cls_prob")
        regions = len(np.atleast_1d(np.asarray(features)))
        optional = {} if probs is None else {"class_probs": table(probs, regions, entry.where, "cls_prob")}
        return Image(
            table(features, regions, entry.where, "features"),
            None if boxes is None else table(boxes, regions, f"{path}: {entry.data}_boxes", "it", 4),
            (0, 0),
            optional,
        )

    return Source(entries, decode, len(names), "bottom-up attention", fingerprint(path))


STORE = Format("hdf5", "an HDF5 file of limner, hengyuan-hu or visdial starter", is_store, _open_store)
M2_HDF5 = Format("m2-hdf5", "an HDF5 file of M2, a dataset an image", is_m2, _open_m2)
