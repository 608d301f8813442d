"""Files of annotated boxes: COCO's instances, or a simple list of images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from limner.data.reading import open_binary
from limner.errors import UserError, listing

_FORMS = "expected COCO's instances (images, annotations, categories) or images with boxes and labels"


class Boxes(NamedTuple):
    """The annotated boxes of one picture.

    size: width and height in pixels.
    boxes: (k, 4) float32, x1, y1, x2, y2 in pixels; k may be 0.
    labels: (k,) int64, numbers of classes.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A plain or gzipped JSON file with an object at the top. Raises `UserError` when it is none."""
    with open_binary(os.fspath(path), next_step="give the file with the annotated boxes") as stream:
        try:
            contents = json.load(stream)
        except (ValueError, EOFError, OSError) as error:  # not JSON or not text, a cut gzip file
            raise UserError(f"{path}: is not JSON, plain or gzipped ({error}); {_FORMS}") from None
    if not isinstance(contents, dict):
        raise UserError(f"{path}: is a JSON {type(contents).__name__}, expected an object; {_FORMS}")
    return contents


def read_boxes(path: str | os.PathLike[str]) -> tuple[list[str], dict[int, Boxes]]:
    """Names of the classes, and image id -> its boxes; images without boxes too.

    Plain or gzipped JSON in one of two forms:

    - COCO's instances: `images` (id, width, height), `annotations` (image_id, category_id, bbox as x, y, width,
      height) and `categories` (id, name). Classes are numbered in the order of their ids: COCO's 80 become 0 to 79.
      Crowds count as one box.
    - simple: `categories` is a list of names, and every image has image_id, width, height, `boxes` (x1, y1, x2, y2)
      and `labels` (places in `categories`).

    Raises:
        UserError: no such file, no JSON, another form, or a record that cannot be right.
    """
    return boxes_of(load_json(path), str(path))


def boxes_of(contents: Mapping[str, Any], path: str) -> tuple[list[str], dict[int, Boxes]]:
    """`read_boxes` of what was in the file; `path` is for messages."""
    missing = [key for key in ("categories", "images") if not isinstance(contents.get(key), list)]
    if missing:
        raise UserError(f"{path}: has no list {listing(missing)} at the top; {_FORMS}")
    where = [f"{path}: "]  # the record being read
    try:
        names, records = _coco(contents, where) if "annotations" in contents else _simple(contents, where)
        found = {}
        for number, size, corners, labels in records:
            if number in found:
                raise ValueError("an image with this id came before")
            found[number] = _checked(size, corners, labels, len(names))
    except KeyError as error:
        raise UserError(f"{where[0]}: the field {error} is missing; {_FORMS}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{where[0]}: {error}") from None
    if not found:
        raise UserError(f"{path}: lists no images")
    return names, found


def _coco(contents: Mapping[str, Any], where: list[str]) -> tuple[list[str], Any]:
    path = where[0]
    where[0] = f"{path}categories"
    of_id = {kind["id"]: kind["name"] for kind in contents["categories"]}
    numbers = {category: number for number, category in enumerate(sorted(of_id))}
    corners: dict[int, list] = {}
    labels: dict[int, list] = {}
    for place, image in enumerate(contents["images"]):
        where[0] = f"{path}images[{place}]"
        corners[image["id"]], labels[image["id"]] = [], []
    for place, box in enumerate(contents["annotations"]):
        where[0] = f"{path}annotations[{place}]"
        if box["image_id"] not in corners:
            raise ValueError(f"image_id {box['image_id']} is not in the list of images")
        if box["category_id"] not in numbers:
            raise ValueError(f"category_id {box['category_id']} is not in the list of categories")
        x, y, width, height = box["bbox"]
        corners[box["image_id"]].append((x, y, x + width, y + height))
        labels[box["image_id"]].append(numbers[box["category_id"]])

    def records() -> Any:
        for place, image in enumerate(contents["images"]):
            number = image["id"]
            where[0] = f"{path}images[{place}] (id {number})"
            yield number, (image["width"], image["height"]), corners[number], labels[number]

    return [of_id[category] for category in numbers], records()


def _simple(contents: Mapping[str, Any], where: list[str]) -> tuple[list[str], Any]:
    path = where[0]

    def records() -> Any:
        for place, image in enumerate(contents["images"]):
            where[0] = f"{path}images[{place}]"
            number = image["image_id"]
            where[0] += f" (image_id {number})"
            yield number, (image["width"], image["height"]), image["boxes"], image["labels"]

    return list(contents["categories"]), records()


def _checked(size: tuple[int, int], corners: list, labels: list, classes: int) -> Boxes:
    """Raises `ValueError` for boxes or labels that cannot be right."""
    if min(size) <= 0:
        raise ValueError(f"width and height are {size[0]} and {size[1]}, expected pixels")
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    if len(boxes) != len(labels):
        raise ValueError(f"has {len(boxes)} boxes and {len(labels)} labels, expected as many")
    kinds = np.array(labels, np.int64)
    if len(kinds) and not 0 <= kinds.min() <= kinds.max() < classes:
        raise ValueError(
            f"labels are {kinds.min()} to {kinds.max()}, expected 0 to {classes - 1}: places in categories"
        )
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("boxes are not x1, y1, x2, y2 with x1 <= x2 and y1 <= y2")
    return Boxes((int(size[0]), int(size[1])), boxes, kinds)
