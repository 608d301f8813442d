"""Looks at every byte of a feature file and says what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from limner.data.features.formats import Format, find
from limner.data.features.formats.hdf5 import is_store, kinds
from limner.data.features.layout import CONVERT, SlowRows
from limner.data.features.store import FeatureStore, not_finite, not_probabilities
from limner.errors import UserError, listing

HDF5 = (".h5", ".hdf5")
Progress = Callable[[int, int], None]  # (images done, images in all)


def check(path: str | os.PathLike[str], *, progress: Progress | None = None) -> list[str]:
    """Problems of a feature file, one line each; an empty list means that it can be trusted.

    Reads all of it: missing `complete`, truncation, ids unsorted or twice, features that are NaN, infinite, all zero
    (what older extractors leave for a failed image) or no longer match their hash, boxes outside the image, sizes
    unknown, class probabilities that do not add up to 1, and a layout that reads slowly.

    Args:
        path: the file.
        progress: called after each image.
    """
    if (form := _other(Path(path))) is not None:
        return [f"{path}: is {form.about}, which training does not read; {CONVERT.format(path=path)}"]
    try:
        store = FeatureStore(path)
        layout = store.layout
    except UserError as error:  # nothing behind it can be read
        return [str(error)]
    problems: list[str] = []
    kinds = ("bad", "zero", "rows", "hash", "boxes", "size", "classes")
    found: dict[str, list[int]] = {kind: [] for kind in kinds}
    probs = layout.optional.get("class_probs")
    for position, image_id in enumerate(store.image_ids.tolist()):
        start, count = int(layout.starts[position]), int(layout.counts[position])
        features = np.asarray(layout.features[start : start + count])
        zero = ~_nonzero_rows(features)
        for kind, wrong in (
            ("bad", not_finite(features)),
            ("zero", zero.all()),
            ("rows", zero.any() and not zero.all()),
            ("hash", layout.hashes is not None and store.row_hash(position) != layout.hashes[position]),
            (
                "boxes",
                layout.boxes is not None and not _boxes_fit(layout.boxes[start : start + count], store.size(position)),
            ),
            ("size", layout.sizes is not None and min(store.size(position)) <= 0),
            ("classes", probs is not None and not_probabilities(np.asarray(probs[start : start + count]))),
        ):
            if wrong:
                found[kind].append(image_id)
        if progress is not None:
            progress(position + 1, len(store))
    lines = {
        "bad": "have features that are NaN or infinite: extract them again",
        "zero": "have only zero features, their extraction failed: `limner features convert` leaves them out",
        "rows": "have some regions that are all zero",
        "hash": "do not match their hash, the file was damaged: copy it again",
        "boxes": "have boxes that are not finite, turned over, or outside the image",
        "size": "have no width and height",
        "classes": "have class probabilities that do not add up to 1: extract them again",
    }
    for kind, ids in found.items():
        if ids:
            problems.append(f"{store.path}: {len(ids):,} of {len(store):,} images {lines[kind]} (ids {listing(ids)})")
    if isinstance(layout.features, SlowRows):
        problems.append(f"{store.path}: reads slowly, {layout.features.name} is chunked; {CONVERT.format(path=path)}")
    return problems


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a feature file holds, from its header: plain values, in the order to show them.

    Raises:
        UserError: when it cannot be used.
    """
    path = Path(path)
    if (form := _other(path)) is not None:
        return _describe_other(path, form)
    store = FeatureStore(path)
    layout = store.layout
    counts = layout.counts
    regions = f"{counts.min()} to {counts.max()} an image, {counts.mean():.1f} on average"
    return {
        "file": str(store.path),
        "bytes": store.path.stat().st_size,
        "layout": layout.kind,
        "images": len(store),
        "regions": f"{counts.max()} an image" if counts.min() == counts.max() else regions,
        "dim": store.dim,
        "dtype": store.dtype.name,
        "boxes": layout.boxes is not None,
        "sizes": layout.sizes is not None,
        "optional": sorted(layout.optional),
        "classes": store.classes,
        "mapped": layout.mapping is not None,
        "extractor": store.extractor,
        "provenance": store.provenance,
        "fingerprint": store.fingerprint,
    }


def _other(path: Path) -> Format | None:
    """The format of what `FeatureStore` does not read, None for what it does or should."""
    if not path.exists() or is_store(path) or (path.suffix in HDF5 and not any(kinds(path))):
        return None
    return find(path)


def _describe_other(path: Path, form: Format) -> dict[str, Any]:
    """From its header and its first image."""
    source = form.open(path)
    with closing(source.entries()) as entries:
        entry = next(entries, None)
        if entry is None:
            raise UserError(f"{path}: has no images")
        image = source.decode(entry)
    return {
        "file": str(path),
        "layout": f"{form.name}: {form.about}; {CONVERT.format(path=path)}",
        "first image": f"{entry.name}: {len(image.features)} regions",
        "dim": image.features.shape[1],
        "boxes": image.boxes is not None,
        "size": f"{image.size[0]} x {image.size[1]}" if image.size[0] else "unknown",
        "optional": sorted(image.optional),
        "extractor": source.extractor,
        "provenance": source.provenance,
    }


def _nonzero_rows(features: np.ndarray) -> np.ndarray:
    return (features != 0).any(1) if features.dtype != np.float16 else ((features.view(np.uint16) & 0x7FFF) != 0).any(1)


def _boxes_fit(boxes: np.ndarray, size: tuple[int, int]) -> bool:
    boxes = np.asarray(boxes)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        return False
    inside = boxes.min() >= -1  # detectors round: a pixel beyond the border is no fault
    return bool(inside and (min(size) <= 0 or ((boxes[:, 2] <= size[0] + 1) & (boxes[:, 3] <= size[1] + 1)).all()))
