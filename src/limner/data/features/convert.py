"""Turns any readable feature file into limner's layout, image by image.

`READERS` is the table of formats: a reader says whether a path is its own and streams the images of it. A new format
is one more line there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from limner.data.features.layout import open_hdf5
from limner.data.features.store import FeatureStore
from limner.data.features.writer import FeatureWriter
from limner.errors import UserError


class Image(NamedTuple):
    """One image on its way from one file to another."""

    image_id: int
    features: np.ndarray  #: (k, D)
    boxes: np.ndarray  #: (k, 4) xyxy pixels
    size: tuple[int, int]  #: width, height; (0, 0) when unknown
    optional: dict[str, np.ndarray]  #: see `FeatureWriter.add`


class Source(NamedTuple):
    """A file of images that can be streamed."""

    dim: int
    total: int  #: images in it
    extractor: str
    provenance: dict[str, Any]
    images: Iterator[Image]
    classes: int | None = None  #: numbers in one region's class probabilities, when all images have them


class Reader(NamedTuple):
    """A format that `convert` understands."""

    name: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Source]


class Converted(NamedTuple):
    """What `convert` did."""

    images: int  #: in the new file
    left_out: list[int]  #: ids of images without any feature but zeros: their extraction had failed


def convert(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
) -> Converted:
    """Rewrites a feature file in limner's layout: float16 rows, packed, sorted, hashed. Stopped, it goes on later.

    Args:
        path: a file of any format in `READERS`.
        out: the new file. It must not exist.
        progress: called after each image with (images done, images in all).

    Raises:
        UserError: when no reader knows the file, it cannot be read, or its values cannot be stored.
    """
    path = Path(path)
    reader = next((reader for reader in READERS if reader.matches(path)), None)
    if reader is None:
        open_hdf5(path).close()  # says what is wrong with a missing, empty or unknown file
        raise UserError(f"{path}: no reader knows this format (known: {', '.join(reader.name for reader in READERS)})")
    source = reader.read(path)
    provenance = {**source.provenance, "converted_from": reader.name}
    left_out = []
    told = {"dim": source.dim, "extractor": source.extractor, "classes": source.classes}
    with FeatureWriter(out, provenance=provenance, **told) as writer:  # type: ignore[arg-type]
        for number, image in enumerate(source.images, 1):
            if not np.any(image.features):
                left_out.append(image.image_id)
            elif not writer.done(image.image_id):
                writer.add(image.image_id, image.features, image.boxes, image.size, **image.optional)
            if progress is not None:
                progress(number, source.total)
        images = len(writer)
    return Converted(images, left_out)


def _read_store(path: Path) -> Source:
    store = FeatureStore(path)
    layout = store.layout

    def images() -> Iterator[Image]:
        # in the order of the file, so that a disk reads ahead
        for position in np.argsort(layout.starts, kind="stable").tolist():
            start, stop = int(layout.starts[position]), int(layout.starts[position] + layout.counts[position])
            boxes = np.zeros((stop - start, 4), np.float32) if layout.boxes is None else layout.boxes[start:stop]
            optional = {name: rows[start:stop] for name, rows in layout.optional.items()}
            features = layout.features[start:stop]
            yield Image(int(layout.image_ids[position]), features, boxes, store.size(position), optional)

    provenance = {**store.provenance, **({} if layout.boxes is not None else {"boxes": "none in the source, all zero"})}
    return Source(store.dim, len(store), store.extractor, provenance, images(), store.classes or None)


#: Formats, tried in order.
READERS: list[Reader] = [
    Reader(
        "HDF5 (limner, hengyuan-hu, visdial starter)", lambda path: path.is_file() and h5py.is_hdf5(path), _read_store
    ),
]
