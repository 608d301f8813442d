"""Feature stores of the published sizes without their features: a file with holes, which takes no disk."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

REGIONS, DIM = 36, 2048


def write_store(path: Path, images: np.ndarray, *, filled: int, rng: np.random.Generator) -> None:
    """A store of 36 x 2048 regions for each image.

    Args:
        images: ids, ascending.
        filled: the first so many images get random features, half of them zero as after a ReLU; those of the others are
            a hole in the file, which reads as zeros at the same cost.
    """
    rows, filled = len(images) * REGIONS, min(filled, len(images))
    with h5py.File(path, "w", alignment_threshold=4096, alignment_interval=4096) as file:
        for name, shape, kind in (("features", (rows, DIM), "f2"), ("boxes", (rows, 4), "f4")):
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple(shape)
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind)), space, dcpl=layout)
        for first in range(0, filled, 100):
            drawn = np.maximum(rng.standard_normal((min(100, filled - first) * REGIONS, DIM), np.float32), 0)
            file["features"][first * REGIONS : first * REGIONS + len(drawn)] = drawn.astype(np.float16)
        file["offsets"] = np.arange(0, rows + 1, REGIONS, dtype="i8")
        file["image_id"] = images.astype("i8")
        file["size"] = np.full((len(images), 2), 640, "i4")
        file["row_hash"] = np.zeros(len(images), "u8")
        file.attrs.update({"schema": 1, "extractor": "none", "provenance": "{}", "complete": True})
