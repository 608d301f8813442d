"""Limner's own layout of a feature file: which datasets there must be, and that they fit together.

/features (rows, D) f2    /boxes (rows, 4) f4    /offsets (N+1) i8    /image_id (N) i8, ascending    /size (N, 2) i4
/row_hash (N) u8, xxh3_64 of an image's features; optional values of each row; attributes schema, extractor, provenance
(JSON), complete (written last).
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from limner.data.features.layout import MAKE, Layout, SlowRows, map_file, rows_of, text_of
from limner.errors import UserError, listing

SCHEMA = 1
OPTIONAL = ("cls_id", "cls_prob", "attr_id", "attr_prob", "class_probs")


def open_native(path: Path, file: h5py.File) -> Layout:
    """An open file of limner's own layout.

    Raises:
        UserError: it is not complete, of another schema, or its datasets do not fit together.
    """
    needed = {"features", "boxes", "offsets", "image_id", "size", "row_hash"}
    if missing := needed - set(file):
        raise UserError(f"{path}: lacks {listing(sorted(missing))}, it is not complete: {MAKE}")
    if not file.attrs.get("complete", False):
        raise UserError(f"{path}: is not complete (its writer was stopped before the end): {MAKE}")
    schema = int(file.attrs.get("schema", 0))
    if schema != SCHEMA:
        raise UserError(f"{path}: has schema {schema}, this version of limner reads schema {SCHEMA}")
    mapping = map_file(path)
    features, offset = rows_of(file["features"], path, mapping)
    boxes, _ = rows_of(file["boxes"], path, mapping)
    ids, offsets = file["image_id"][:].astype(np.int64), file["offsets"][:].astype(np.int64)
    images, rows = len(ids), len(features)
    found = {"features": features.shape, "boxes": boxes.shape, "offsets": offsets.shape}
    shapes = {"size": (images, 2), "row_hash": (images,)}
    expected = {"features": (rows, features.shape[-1]), "boxes": (rows, 4), "offsets": (images + 1,), **shapes}
    for name, shape in expected.items():
        if found.get(name, file[name].shape) != shape:
            raise UserError(f"{path}: /{name} has shape {found.get(name, file[name].shape)}, expected {shape}")
    for name in (name for name in OPTIONAL if name in file):
        if len(file[name].shape) != (2 if name == "class_probs" else 1) or len(file[name]) != rows:
            raise UserError(
                f"{path}: /{name} has shape {file[name].shape}, expected one row for each of {rows:,} regions"
            )
    if images == 0:
        raise UserError(f"{path}: has no images: {MAKE}")
    if (np.diff(ids) <= 0).any():
        bad = ids[1:][np.diff(ids) <= 0]
        raise UserError(f"{path}: /image_id is not sorted or has duplicates (at ids {listing(bad[:5], len(bad))})")
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) <= 0).any():
        raise UserError(f"{path}: /offsets does not divide the {rows:,} rows among {images:,} images: {MAKE}")
    return Layout(
        kind="limner",
        image_ids=ids,
        starts=offsets[:-1],
        counts=np.diff(offsets),
        features=features,
        boxes=boxes,
        sizes=file["size"][:],
        hashes=file["row_hash"][:],
        extractor=text_of(file, "extractor", "unknown"),
        provenance=json.loads(text_of(file, "provenance", "{}")),
        optional={name: rows_of(file[name], path, mapping, kinds="fiu")[0] for name in OPTIONAL if name in file},
        mapping=None if isinstance(features, SlowRows) else mapping,
        offset=offset,
    )
