"""Regions without weights: one region for each connected patch of colour, described by numbers one can read.

For drawings and diagrams on a plain ground (the toy world, easy-VQA). Patches that touch stay apart when their colours
differ clearly. On photographs it runs, but says little: use a detector there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limner.errors import UserError
from limner.extract import Regions
from limner.extract.labelling import Pixels

CELLS = 4  # a region's box is looked at in CELLS x CELLS parts
_CORNERS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")

_NUMBERS = ("one", "two", "three", "four or more")

# Every number of a feature, in order. Scale: about -1 to 1.
ENTRIES: tuple[str, ...] = (
    "whole",  # 1 for the whole picture, 0 for a patch
    "red", "green", "blue",  # mean colour of the patch's full-coloured pixels, -1 (dark) to 1
    *(f"near {color}" for color in _CORNERS),  # nearness to each corner of the colour cube, 0 to 1, sum 1
    "hue x", "hue y",  # the hue as a point on the unit circle, red at (1, 0); towards (0, 0) for greys
    "saturation",  # 0 to 1
    "x", "y",  # centre of mass in the picture, -1 (left, top) to 1
    "side x", "side y",  # the same, four times as steep and cut at -1 and 1: clearly in one half of the picture
    "left", "top", "right", "bottom",  # the box in the picture, -1 to 1
    "width", "height",  # of the box, as parts of the picture, on a log scale: 1 all, 0 a sixth, -1 a 32nd or less
    "root area",  # square root of the part of the picture it covers, on the same scale
    "fill",  # part of its box it covers, -1 to 1
    "aspect",  # log2(width / height) / 2, cut at -1 and 1
    "roundness",  # 4 pi area / perimeter^2 with a pixel perimeter, square root, 0 to 1
    "eta20", "eta11", "eta02",  # central moments, normalised by area: spread across, diagonal, down
    "eta30", "eta21", "eta12", "eta03",  # lopsidedness
    "eta40", "eta22", "eta04",  # peakedness
    "hu1", "hu2", "hu3", "hu4",  # the first four of Hu's invariants: they do not change when the patch is turned
    # how many patches of the picture, itself counted, have its colour, and how many its form: 1 at that number, else 0
    *(f"{number} of its {what}" for what in ("color", "form") for number in _NUMBERS),
    *(f"cell {row},{column}" for row in range(CELLS) for column in range(CELLS)),  # covered part of each cell, -1 to 1
)  # fmt: skip


@dataclass(frozen=True)
class ComponentsExtractor:
    """Connected patches of colour as regions, the largest first, after the whole picture.

    threshold: how far a pixel must be from the ground colour in its most different channel (0 to 255).
    similarity: cosine between the colours of two neighbours, seen from the ground colour, above which they belong
        together. 1 is the same colour; smooth edges towards the ground keep their direction and stay with their patch.
    min_area: patches with fewer pixels are dropped (specks, blended edges between touching colours).
    max_regions: the largest patches are kept, at most so many, the whole picture not counted.
    whole_image: the whole picture is region 0. It lets attention count, because the weight that it takes from the
        patches tells how many there are. A picture without a patch gives this region in any case.

    The features are described by `ENTRIES`.
    """

    threshold: float = 24.0
    similarity: float = 0.97
    min_area: int = 8
    max_regions: int = 36
    whole_image: bool = True

    name: ClassVar[str] = "components"
    dim: ClassVar[int] = len(ENTRIES)

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 255:
            raise UserError(f"components: threshold is {self.threshold}, expected 0 to 254")
        if not -1 <= self.similarity < 1:
            raise UserError(f"components: similarity is {self.similarity}, expected -1 to below 1")
        for key in ("min_area", "max_regions"):
            if getattr(self, key) < 1:
                raise UserError(f"components: {key} is {getattr(self, key)}, expected 1 or more")

    def __call__(self, image: np.ndarray) -> Regions:
        """Regions of a picture (H, W, 3) uint8."""
        height, width = image.shape[:2]
        pixels = Pixels(image, threshold=self.threshold, similarity=self.similarity)
        area = np.bincount(pixels.label, minlength=pixels.count)
        kept = np.flatnonzero(area >= self.min_area)
        kept = kept[np.argsort(-area[kept], kind="stable")][: self.max_regions]
        features, boxes = _describe(pixels, kept, width, height)
        if self.whole_image or not len(kept):
            features = np.concatenate([_whole(pixels, width, height)[None], features])
            boxes = np.concatenate([np.array([[0, 0, width, height]], np.float32), boxes])
        return Regions(features, boxes)


def _describe(pixels: Pixels, kept: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (k, D) and boxes (k, 4) of the components numbered in `kept`."""
    k = len(kept)
    if not k:
        return np.zeros((0, len(ENTRIES)), np.float32), np.zeros((0, 4), np.float32)
    rank = np.full(pixels.count, k, np.int64)
    rank[kept] = np.arange(k)
    order = np.argsort(rank[pixels.label], kind="stable")  # pixels by component: then one reduceat serves all sums
    label = rank[pixels.label[order]]
    starts = np.searchsorted(label, np.arange(k + 1))
    order, label, starts = order[: starts[k]], label[: starts[k]], starts[:k]
    x, y = pixels.x[order], pixels.y[order]
    area = np.diff(np.append(starts, len(label))).astype(np.float64)

    def mean(*planes: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.stack(planes), starts, axis=1) / area

    x1, x2 = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts) + 1
    y1, y2 = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts) + 1
    w, h = x2 - x1, y2 - y1

    # Colour: the palest pixels are edges, half ground; only those near the patch's full strength count.
    strength = pixels.strength[order]
    full = strength >= 0.85 * np.maximum.reduceat(strength, starts)[label]
    red, green, blue, counted = mean(*(pixels.rgb[:, order] * full), full)
    color = np.stack([red, green, blue], 1) / counted[:, None] / 255

    # Moments: pixels as points, around the centre of mass, in units of the square root of the area.
    cx, cy = mean(x, y)
    root = np.sqrt(area)
    dx, dy = (x - cx[label]) / root[label], (y - cy[label]) / root[label]
    dxx, dyy, dxy = dx * dx, dy * dy, dx * dy
    names = ("20", "11", "02", "30", "21", "12", "03", "40", "22", "04")
    sums = mean(dxx, dxy, dyy, dxx * dx, dxx * dy, dyy * dx, dyy * dy, dxx * dxx, dxx * dyy, dyy * dyy)
    eta = dict(zip(names, sums))
    hu = [
        eta["20"] + eta["02"],
        np.hypot(eta["20"] - eta["02"], 2 * eta["11"]),  # the square roots of the 2nd to 4th keep one scale
        np.hypot(eta["30"] - 3 * eta["12"], 3 * eta["21"] - eta["03"]),
        np.hypot(eta["30"] + eta["12"], eta["21"] + eta["03"]),
    ]

    cell = (y - y1[label]) * CELLS // h[label] * CELLS + (x - x1[label]) * CELLS // w[label]
    covered = np.bincount(label * CELLS**2 + cell, minlength=k * CELLS**2).reshape(k, CELLS, CELLS)
    rows, columns = _parts(h), _parts(w)  # how many pixel rows and columns each cell has; 0 in boxes under 4 pixels
    covered = covered / np.maximum(rows[:, :, None] * columns[:, None, :], 1)

    perimeter = _perimeter(x, y, label, k)
    across, down = 2 * (cx + 0.5) / width - 1, 2 * (cy + 0.5) / height - 1
    columns_of = [
        np.zeros(k), *(2 * color.T - 1), *_near_corners(color).T, *_hue(color),
        across, down, np.clip(4 * across, -1, 1), np.clip(4 * down, -1, 1),
        2 * x1 / width - 1, 2 * y1 / height - 1, 2 * x2 / width - 1, 2 * y2 / height - 1,
        _log(w / width), _log(h / height), _log(np.sqrt(area / (width * height))),
        2 * area / (w * h) - 1, np.clip(np.log2(w / h) / 2, -1, 1),
        np.sqrt(np.minimum(4 * np.pi * area / perimeter**2, 1)),
        6 * eta["20"], 6 * eta["11"], 6 * eta["02"],
        *(30 * eta[name] for name in ("30", "21", "12", "03")),
        *(30 * eta[name] for name in ("40", "22", "04")),
        4 * hu[0], 6 * hu[1], 20 * hu[2], 20 * hu[3],
        *_alike(2 * color - 1, np.max, 0.3), *_alike(2 * covered.reshape(k, -1) - 1, np.mean, 0.2),
        *(2 * covered.reshape(k, -1).T - 1),
    ]  # fmt: skip
    features = np.clip(np.stack(columns_of, 1), -2, 2).astype(np.float32)
    return features, np.stack([x1, y1, x2, y2], 1).astype(np.float32)


def _whole(pixels: Pixels, width: int, height: int) -> np.ndarray:
    """The feature (D,) of the whole picture: ground colour, place, and how much of each part is not ground."""
    color = pixels.ground[None] / 255
    cell = pixels.y * CELLS // height * CELLS + pixels.x * CELLS // width
    parts = _parts(np.array([height]))[0][:, None] * _parts(np.array([width]))[0][None]
    covered = np.bincount(cell, minlength=CELLS**2).reshape(CELLS, CELLS) / np.maximum(parts, 1)
    values = dict.fromkeys(ENTRIES, 0.0)
    values |= {"whole": 1, "left": -1, "top": -1, "right": 1, "bottom": 1, "width": 1, "height": 1, "root area": 1}
    values |= {"fill": 2 * len(pixels.x) / (width * height) - 1, "aspect": np.clip(np.log2(width / height) / 2, -1, 1)}
    values |= dict(zip(("red", "green", "blue"), 2 * color[0] - 1))
    values |= dict(zip((f"near {name}" for name in _CORNERS), _near_corners(color)[0]))
    values |= {name: value.item() for name, value in zip(("hue x", "hue y", "saturation"), _hue(color))}
    values |= {f"cell {r},{c}": 2 * covered[r, c] - 1 for r in range(CELLS) for c in range(CELLS)}
    return np.array(list(values.values()), np.float32)


def _alike(values: np.ndarray, over: Callable[..., np.ndarray], near: float) -> np.ndarray:
    """How many of k patches have `values` (k, n) near a patch's own: (numbers, k), 1 in the row of that number.

    With it one look can count: softmax attention, which averages, learns numbers very slowly without it.
    """
    number = (over(np.abs(values[:, None] - values[None]), axis=2) < near).sum(1)
    return (np.minimum(number, len(_NUMBERS)) == np.arange(1, len(_NUMBERS) + 1)[:, None]).astype(np.float64)


def _near_corners(color: np.ndarray) -> np.ndarray:
    """Weights (k, 8) of the corners of the colour cube, as in trilinear interpolation of `color` (k, 3) in [0, 1]."""
    ends = np.stack([1 - color, color], -1)  # [k, 3, 2]
    return np.einsum("ka,kb,kc->kabc", ends[:, 0], ends[:, 1], ends[:, 2]).reshape(len(color), 8)


def _log(part: np.ndarray) -> np.ndarray:
    """Parts in (0, 1] on a log scale from -1 (a 32nd or less) to 1 (all): small things differ as clearly as large."""
    return np.maximum(1 + np.log2(part) / 2.5, -1)


def _hue(color: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue on the unit circle (x, y) and saturation, each (k,), of colours (k, 3) in [0, 1]."""
    red, green, blue = color.T
    chroma = color.max(1) - color.min(1)
    across, up = red - (green + blue) / 2, np.sqrt(3) / 2 * (green - blue)
    scale = np.minimum(chroma / 0.15, 1) / np.maximum(np.hypot(across, up), 1e-6)  # a grey has no hue
    return across * scale, up * scale, chroma / np.maximum(color.max(1), 1e-6)


def _parts(length: np.ndarray) -> np.ndarray:
    """How many of `length` (k,) pixels fall to each of CELLS parts: (k, CELLS)."""
    edges = -(-np.arange(CELLS + 1) * length[:, None] // CELLS)  # pixel p lies in part p * CELLS // length
    return np.diff(edges, axis=1)


def _perimeter(x: np.ndarray, y: np.ndarray, label: np.ndarray, k: int) -> np.ndarray:
    """Pixel sides (k,) of each region that border on anything else."""
    stride = int(x.max()) + 3
    place = (y + 1) * stride + x + 1
    canvas = np.full((int(y.max()) + 3) * stride, -1, np.int64)
    canvas[place] = label
    sides = sum((canvas[place + step] != label).astype(np.int64) for step in (-1, 1, -stride, stride))
    return np.bincount(label, weights=sides, minlength=k)
