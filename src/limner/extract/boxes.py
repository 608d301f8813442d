"""Files of annotated boxes: COCO's instances, or a simple list of images."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from limner.data.reading import open_binary
from limner.errors import UserError, listing


class Boxes(NamedTuple):
    """The annotated boxes of one picture.

    size: width and height in pixels.
    boxes: (k, 4) float32, x1, y1, x2, y2 in pixels; k may be 0.
    labels: (k,) int64, numbers of classes.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


def read_boxes(path: str | os.PathLike[str]) -> tuple[list[str], dict[int, Boxes]]:
    """Names of the classes, and image id -> its boxes; images without boxes too.

    Plain or gzipped JSON in one of two forms:

    - COCO instances: `images` (id, width, height), `annotations` (image_id, category_id, bbox as x, y, width, height)
      and `categories` (id, name). Classes are numbered in the order of the category ids: COCO's 80 are 0 to 79.
    - simple: `categories` is a list of names, and each image has image_id, width, height, `boxes` (x1, y1, x2, y2) and
      `labels` (index into `categories`).

    Raises:
        UserError: no such file, no JSON, another form, or records that contradict each other.
    """
    with open_binary(path, next_step="give the file with the annotated boxes") as stream:
        try:
            contents = json.load(stream)
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"{path}: is not JSON ({error}), expected a file of annotated boxes") from None
    missing = [key for key in ("categories", "images") if not isinstance(contents, dict) or key not in contents]
    if missing:
        raise UserError(f"{path}: no key {listing(missing)} at the top, expected COCO instances or a list of boxes")
    try:
        names, found = _coco(contents) if "annotations" in contents else _simple(contents)
    except KeyError as error:
        raise UserError(f"{path}: a record has no key {error}") from None
    return names, found


def _coco(contents: dict[str, Any]) -> tuple[list[str], dict[int, Boxes]]:
    raise KeyError("x")


def _simple(contents: dict[str, Any]) -> tuple[list[str], dict[int, Boxes]]:
    return contents["categories"], {i["image_id"]: Boxes((i["width"], i["height"]), np.array(i["boxes"], np.float32).reshape(-1, 4), np.array(i["labels"], np.int64)) for i in contents["images"]}
