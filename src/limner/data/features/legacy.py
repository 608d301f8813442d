"""Older feature files: fixed (N, K, D) HDF5 layouts of earlier code, and the id tables that lie beside them.

| from | datasets | ids |
|---|---|---|
| hengyuan-hu | image_features (N,K,D), image_bb (N,K,4), spatial_features (N,K,6) | `train36_imgid2idx.pkl` |
| the same, adaptive | image_features (rows,D), image_bb (rows,4), pos_boxes (N,2) | `trainval_imgid2idx.pkl` |
| visdial-challenge-starter | features (N,K,D), boxes (N,K,4), classes, scores (N,K) | dataset image_id or image_ids |

The tables are pickles of Python 2. A pickle can run any code when it is loaded; `limner.data.pickles` refuses
everything but plain data.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from limner.data.features.layout import MAKE, Layout, SlowRows, map_file, rows_of, text_of
from limner.data.pickles import load_table
from limner.errors import UserError, listing

FEATURES = ("image_features", "features")
BOXES = ("image_bb", "boxes")
CLASSES = {"cls_id": "classes", "cls_prob": "scores"}
IDS = ("image_id", "image_ids")
TABLES = ("{stem}_imgid2idx.pkl", "{stem}_imgid2idx.json", "{stem}_ids.pkl", "{stem}_ids.npy", "{stem}_ids.json")


def as_image_id(value: Any) -> int:
    """The number of an image: 9, "9" and "COCO_train2014_000000000009" are all image 9.

    Raises:
        ValueError: for text without digits at its end, and numbers that are no int64.
    """
    if isinstance(value, str):
        digits = re.search(r"(\d+)(?:\.\w+)?$", value)
        if digits is None:
            raise ValueError(f"{value!r} has no number at its end")
        value = digits[1]
    number = int(value)
    if abs(number) >= 1 << 63:
        raise ValueError(f"{number} is too large for an id")
    return number


def ids_by_row(table: Any, images: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Image ids and their rows from a table: {id: row}, or ids in the order of rows.

    Raises:
        UserError: when an entry is no id, or a row lies outside the file.
    """
    try:
        if isinstance(table, dict):
            ids = np.array([as_image_id(key) for key in table], np.int64)
            rows = np.array([int(row) for row in table.values()], np.int64)
        else:
            ids = np.array([as_image_id(value) for value in table], np.int64)
            rows = np.arange(len(ids))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: expected image ids, as {{id: row}} or one for each row, but {error}") from error
    outside = ids[(rows < 0) | (rows >= images)]
    if len(outside) or len(ids) == 0:
        what = f"rows outside 0..{images - 1} for ids {listing(outside[:5], len(outside))}" if len(ids) else "no ids"
        raise UserError(f"{path}: has {what}, the feature file holds {images:,} images: is it the table of this file?")
    return ids, rows


def open_legacy(path: Path, file: h5py.File) -> Layout:
    """An older file, in the terms of `Layout`.

    Raises:
        UserError: when the datasets are none that we know, disagree in shape, or there are no image ids.
    """
    name = next((name for name in FEATURES if name in file), None)
    if name is None:
        found = listing(sorted(file)) or "nothing"
        raise UserError(
            f"{path}: has no region features (found {found}; expected /features or /image_features): {MAKE}"
        )
    mapping = map_file(path)
    features, offset = rows_of(file[name], path, mapping)
    box_name = next((box for box in BOXES if box in file), None)
    boxes = None if box_name is None else rows_of(file[box_name], path, mapping)[0]
    if len(features.shape) != 2 or (boxes is not None and boxes.shape != (len(features), 4)):
        expected = f"{len(features):,} rows of 4"
        raise UserError(f"{path}: /{box_name} has shape {getattr(boxes, 'shape', None)}, expected {expected}")
    if "pos_boxes" in file:
        first, last = file["pos_boxes"][:].astype(np.int64).T
    elif file[name].ndim == 3:
        images, regions = file[name].shape[:2]
        first = np.arange(images) * regions
        last = first + regions
    else:
        raise UserError(f"{path}: /{name} has shape {file[name].shape}, expected (images, regions, numbers): {MAKE}")
    if (first < 0).any() or (last > len(features)).any() or (last <= first).any():
        raise UserError(f"{path}: /pos_boxes names rows that the file does not have, or images without a region")
    ids, rows = _find_ids(path, file, len(first))
    order = np.argsort(ids, kind="stable")
    ids, rows = ids[order], rows[order]
    if (same := ids[1:] == ids[:-1]).any():
        bad = np.unique(ids[1:][same])
        raise UserError(f"{path}: {len(bad):,} image ids are there twice ({listing(bad[:5], len(bad))})")
    starts, counts = first[rows], (last - first)[rows]
    return Layout(
        kind="hengyuan" if name == "image_features" else "visdial starter",
        image_ids=ids,
        starts=starts,
        counts=counts,
        features=features,
        boxes=boxes,
        sizes=_sizes(file, boxes, starts),
        hashes=None,
        extractor=text_of(file, "extractor", "unknown"),
        provenance={"layout": f"/{name} {file[name].shape}", **_told(file)},
        optional=_optional(file, len(features)),
        mapping=None if isinstance(features, SlowRows) else mapping,
        offset=offset,
    )


def _find_ids(path: Path, file: h5py.File, images: int) -> tuple[np.ndarray, np.ndarray]:
    for name in IDS:
        if name in file:
            values = file[name].asstr()[:] if file[name].dtype.kind in "OS" else file[name][:]
            if len(values) != images:
                raise UserError(f"{path}: /{name} has {len(values):,} ids for {images:,} images")
            return ids_by_row(values.tolist(), images, path)
    names = [name.format(stem=path.stem) for name in TABLES]
    for name in names:
        if (table := path.with_name(name)).is_file():
            return ids_by_row(load_table(table), images, table)
    raise UserError(
        f"{path}: has no image ids: expected a dataset /{IDS[0]}, or beside the file one of {', '.join(names)}"
    )


def _told(file: h5py.File) -> dict[str, Any]:
    """visdial starter names the split; its reader refuses a file of another one."""
    split = file.attrs.get("split")
    return {} if split is None else {"split": split.decode() if isinstance(split, bytes) else str(split)}


def _optional(file: h5py.File, rows: int) -> dict[str, Any]:
    """visdial starter's extractor writes the class of each region and how sure it is, (N, K) both."""
    found = {ours: file[theirs] for ours, theirs in CLASSES.items() if theirs in file and file[theirs].size == rows}
    return {name: dataset[:].reshape(rows) for name, dataset in found.items() if dataset.dtype.kind in "fiu"}


def _sizes(file: h5py.File, boxes: Any, starts: np.ndarray) -> np.ndarray | None:
    """Image sizes: spatial_features are (x1, y1, x2, y2, w, h) / size, so size = box / spatial for the far corner.

    The first box of each image serves; (0, 0) where it is all zero.
    """
    spatial = file.get("spatial_features")
    if spatial is None or not isinstance(boxes, np.ndarray) or spatial.chunks is not None:
        return None
    fractions = spatial[:].reshape(-1, spatial.shape[-1])[starts, 2:4]
    corners = np.asarray(boxes[starts, 2:4], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.where(fractions > 0, np.rint(corners / fractions), 0)
    return sizes.astype(np.int32)
