"""HDF5 files: those that limner reads as they are (its own, hengyuan-hu, visdial starter), and two more.

| from | datasets |
|---|---|
| M2 | three an image: `{id}_features` (K, D), `{id}_boxes` (K, 4), `{id}_cls_prob` (K, C) |
| FGA | one a split: `{split}_features` (N, 37, D); the last region is the whole image. No ids, no boxes |

FGA's images stand in the order of its dialogs; ids come from a table beside the file, `{split}_ids.json` (or .pkl,
.npy). The whole image is left out: models here make it themselves.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from limner.data.features.formats.format import Entry, Format, Image, Source, fingerprint, table
from limner.data.features.layout import DAMAGE, open_hdf5, reading
from limner.data.features.legacy import FEATURES as LEGACY
from limner.data.features.legacy import ids_by_row
from limner.data.features.store import FeatureStore
from limner.data.pickles import load_table
from limner.errors import UserError

ENDING = "_features"


def is_store(path: Path) -> bool:
    """Can `FeatureStore` open it, as far as its kind tells?"""
    return path.is_file() and h5py.is_hdf5(path) and not any(kinds(path))


def kinds(path: Path) -> tuple[bool, bool]:
    """Is it M2's, is it FGA's?"""
    if not (path.is_file() and h5py.is_hdf5(path)):
        return False, False
    try:
        with h5py.File(path, "r") as file:
            if any(name in file for name in LEGACY):
                return False, False
            names = [name for name in _names(islice(file, 10)) if name.endswith(ENDING)]
            images = [name for name in names if name[0].isdigit()]
            return bool(images), bool(names) and not images and all(file[name].ndim == 3 for name in names)
    except DAMAGE:  # a group has no ndim
        return False, False


def _names(found: Iterable[str | bytes]) -> list[str]:
    """Names of datasets; one that is not UTF-8 comes as bytes and is none of ours."""
    return [name for name in found if isinstance(name, str)]


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
    with reading(path):
        names = sorted(name.removesuffix(ENDING) for name in _names(file) if name.endswith(ENDING))

    def entries() -> Generator[Entry, None, None]:
        for number, name in enumerate(names, 1):
            yield Entry(f"{path}: {name}{ENDING}", name, name, number)

    def decode(entry: Entry) -> Image:
        def read(what: str) -> np.ndarray | None:
            with reading(path):
                dataset = file.get(f"{entry.data}_{what}")
                return None if dataset is None else dataset[()]

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


def _open_fga(path: Path) -> Source:
    file = open_hdf5(path)
    places: list[tuple[str, int, int]] = []  # split, image id, row
    with reading(path):
        counts = {name.removesuffix(ENDING): len(file[name]) for name in _names(file) if name.endswith(ENDING)}
    for split, count in counts.items():
        tables = [path.with_name(f"{split}_ids{suffix}") for suffix in (".json", ".pkl", ".npy")]
        found = next((one for one in tables if one.is_file()), None)
        if found is None:
            raise UserError(
                f"{path}: has no image ids; expected beside it {tables[0].name}: "
                f"the ids of {split}_features in its order"
            )
        ids, rows = ids_by_row(load_table(found), count, found)
        places += [(split, int(image_id), int(row)) for image_id, row in zip(ids, rows)]

    def entries() -> Generator[Entry, None, None]:
        for number, (split, image_id, row) in enumerate(places, 1):
            yield Entry(f"{path}: {split}{ENDING}, row {row}", image_id, (split, row), number)

    def decode(entry: Entry) -> Image:
        split, row = entry.data
        with reading(path):
            return Image(file[split + ENDING][row][:-1], None, (0, 0), {})

    return Source(entries, decode, len(places), "unknown", fingerprint(path))


FGA_HDF5 = Format("fga-hdf5", "an HDF5 file of FGA, a dataset a split", lambda path: kinds(path)[1], _open_fga)
STORE = Format("hdf5", "an HDF5 file of limner, hengyuan-hu or visdial starter", is_store, _open_store)
M2_HDF5 = Format("m2-hdf5", "an HDF5 file of M2, a dataset an image", lambda path: kinds(path)[0], _open_m2)
