"""Regions without pixels: annotated boxes and their classes, described by numbers one can read.

What people draw around things (COCO's `instances_*.json`, boxes of one's own) says a lot about a picture: what is in
it, how many, how big, where, and what touches what. Nothing is learned, and captions are never looked at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limner.errors import UserError
from limner.extract import Regions
from limner.extract.boxes import Boxes, read_boxes

_COUNTS = ("one", "two", "three", "four or five", "six or more")
_STARTS = np.array([1, 2, 3, 4, 6])  # the smallest number of each

# The numbers of a region of its own, in order; its class and what is around it follow, see `AnnotationsExtractor`.
OWN: tuple[str, ...] = (
    "whole",  # 1 for the whole picture, 0 for a box
    "left", "top", "right", "bottom",  # the box in the picture, -1 to 1
    "width", "height",  # of the box, as parts of the picture, 0 to 1
    "root area",  # square root of the part of the picture it covers, 0 to 1
    "log area",  # 1 + log2 of the same / 2.5, cut at -1: small things differ as clearly as large
    "aspect",  # log2(width / height) / 2, cut at -1 and 1
    "center",  # 1 in the middle of the picture, 0 in a corner
    "rank",  # 1 for the largest box, then 1/2, 1/3, ...; 0 for the whole picture
    *(f"{number} of its class" for number in _COUNTS),  # 1 at the number of boxes of its class, itself counted
)  # fmt: skip

# The blocks of a feature behind `OWN`, each with a number for every class.
BLOCKS: tuple[str, ...] = (
    "class",  # 1 at the region's class; nothing for the whole picture
    "touch",  # how far the nearest box of the class lies over this one: common area / area of the smaller one
    "above",  # that box's centre above (to 1) or below (to -1) this one's, in heights of the higher one, times touch
    "present",  # 1 when the picture has the class
    "number",  # log2(1 + boxes of the class in the picture) / 3
    "covered",  # square root of the part of the picture that its boxes cover, added up, at most 1
)


@dataclass(frozen=True)
class AnnotationsExtractor:
    """Annotated boxes as regions, the largest first, after the whole picture. Takes files of boxes, not pictures.

    classes: how many classes there are. The file's may be fewer, never more.
    scale: all numbers are multiplied by it. A feature is sparse; at 6 its mean square is near 1 and layers that are
        initialised for such inputs learn from the start (with 1 a captioner needs several times as long).
    max_regions: the largest boxes are kept, at most so many, the whole picture not counted; all boxes count in what
        is said about the picture.

    A feature holds `OWN`, then each of `BLOCKS` for every class. The last three blocks describe the picture and are the
    same in all its regions: so they are found in every glimpse, and whole in the mean of the regions.
    A picture without boxes has the region of the whole picture alone. The class of a region is certain: `class_probs`
    has 1 at its class, counted from 1; the whole picture is background, 0.
    """

    classes: int = 80
    scale: float = 6.0
    max_regions: int = 36

    name: ClassVar[str] = "annotations"

    def __post_init__(self) -> None:
        for key in ("classes", "max_regions"):
            if getattr(self, key) < 1:
                raise UserError(f"annotations: {key} is {getattr(self, key)}, expected 1 or more")
        if not 0 < self.scale <= 1000:
            raise UserError(f"annotations: scale is {self.scale}, expected above 0, up to 1000")

    @property
    def dim(self) -> int:
        """Numbers in one region's feature."""
        return len(OWN) + len(BLOCKS) * self.classes

    @property
    def region_classes(self) -> int:
        """The classes and the background in front of them."""
        return 1 + self.classes

    def pictures(self, images: str | os.PathLike[str]) -> Mapping[int, Boxes]:
        """Image id -> its boxes, from a file of boxes (see `read_boxes`). Raises `UserError` for one that is not."""
        names, found = read_boxes(images)
        if len(names) > self.classes:
            raise UserError(
                f"{images}: has {len(names)} classes, expected at most {self.classes}: "
                f"set extractor.classes={len(names)}"
            )
        return found

    def __call__(self, image: Boxes) -> Regions:
        """Regions of an annotated picture."""
        width, height = image.size
        whole = np.array([[0, 0, width, height]], np.float32)
        boxes = np.clip(image.boxes, 0, whole[0, [2, 3, 2, 3]]).astype(np.float32)
        labels = image.labels
        order = np.argsort(-_area(boxes), kind="stable")
        boxes, labels = boxes[order], labels[order]

        own = np.zeros((1 + len(boxes), len(OWN)))
        own[0, 0] = 1
        own[:, 1:12] = _place(np.concatenate([whole, boxes]), width, height)
        number = np.bincount(labels, minlength=self.classes)
        step = np.searchsorted(_STARTS, number[labels], side="right") - 1
        own[np.arange(len(boxes)) + 1, OWN.index("one of its class") + step] = 1

        kind = np.zeros((1 + len(boxes), self.classes))
        kind[np.arange(len(boxes)) + 1, labels] = 1
        touch, above = _around(boxes, labels, self.classes)
        area = np.bincount(labels, weights=_area(boxes), minlength=self.classes) / (width * height)
        about = np.concatenate([number > 0, np.log2(1 + number) / 3, np.sqrt(np.minimum(area, 1))])
        features = np.concatenate([own, kind, touch, above, np.tile(about, (len(own), 1))], 1)
        rows = slice(0, 1 + self.max_regions)
        probs = np.zeros((1 + len(boxes), self.region_classes), np.float32)
        probs[np.arange(len(probs)), np.concatenate([[0], 1 + labels])] = 1
        boxes = np.concatenate([whole, boxes])
        return Regions((self.scale * features[rows]).astype(np.float32), boxes[rows], probs[rows])


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _place(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """`OWN` from "left" to "rank" of the whole picture and its boxes, the largest first."""
    x1, y1, x2, y2 = (boxes / (width, height, width, height)).T
    w, h = np.maximum(x2 - x1, 1e-3), np.maximum(y2 - y1, 1e-3)
    off = np.hypot(x1 + x2 - 1, y1 + y2 - 1) / np.sqrt(2)
    root = np.sqrt(w * h)
    rank = np.arange(len(boxes)) / np.maximum(np.arange(len(boxes)), 1) ** 2  # 0, 1, 1/2, 1/3, ...
    columns = [
        2 * x1 - 1, 2 * y1 - 1, 2 * x2 - 1, 2 * y2 - 1, w, h, root, np.maximum(1 + np.log2(root) / 2.5, -1),
        np.clip(np.log2(w * width / (h * height)) / 2, -1, 1), 1 - off, rank,
    ]  # fmt: skip
    return np.stack(columns, 1)


def _around(boxes: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The blocks "touch" and "above", each (1 + k, classes): nothing for the whole picture."""
    k = len(boxes)
    touch, above = np.zeros((2, 1 + k, classes))
    if k < 2:
        return touch, above
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.maximum(high - low, 0).prod(-1)
    area = np.maximum(_area(boxes), 1e-6)
    over = common / np.minimum(area[:, None], area[None])
    np.fill_diagonal(over, 0)
    middle, tall = (boxes[:, 1] + boxes[:, 3]) / 2, np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    higher = np.clip((middle[:, None] - middle[None]) / np.maximum(tall[:, None], tall[None]), -1, 1)
    for kind in np.unique(labels):
        of_kind = np.flatnonzero(labels == kind)
        nearest = of_kind[over[:, of_kind].argmax(1)]
        rows = np.arange(k)
        touch[1:, kind] = over[rows, nearest]
        above[1:, kind] = over[rows, nearest] * higher[rows, nearest]
    return touch, above
