"""Regions without weights: the cells of a grid and the whole picture, described by their colours and edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from limner.errors import UserError
from limner.extract import Regions

# Every number of a feature, in order. Scale: about -1 to 1.
ENTRIES: tuple[str, ...] = (
    "whole",  # 1 for the whole picture, 0 for a cell
    "red", "green", "blue",  # mean colour, -1 (dark) to 1
    "red spread", "green spread", "blue spread",  # twice the standard deviation, 0 to 1
    "vertical edges", "horizontal edges",  # mean brightness step between neighbours across and down, times 8, cut at 1
    "falling edges", "rising edges",  # the same along the two diagonals
    "busy",  # part of the cell's pixels with a step of more than 10 % of the full range, 0 to 1
    "x", "y",  # centre in the picture, -1 (left, top) to 1
    "width", "height",  # as parts of the picture, 0 to 1
)  # fmt: skip


@dataclass(frozen=True)
class GridExtractor:
    """cells x cells equal rectangles in reading order, after the whole picture: cells^2 + 1 regions.

    cells: rows and columns of the grid. A picture must have as many pixels in each direction.

    The features are described by `ENTRIES`.
    """

    cells: int = 6

    name: ClassVar[str] = "grid"
    dim: ClassVar[int] = len(ENTRIES)

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise UserError(f"grid: cells is {self.cells}, expected 1 or more")

    def __call__(self, image: np.ndarray) -> Regions:
        """Regions of a picture (H, W, 3) uint8."""
        height, width = image.shape[:2]
        if min(height, width) < self.cells:
            raise UserError(
                f"grid: a picture has {width} x {height} pixels, expected {self.cells} or more: lower cells"
            )
        rows = np.arange(self.cells + 1) * height // self.cells
        columns = np.arange(self.cells + 1) * width // self.cells
        planes = _planes(image)
        sums = np.add.reduceat(np.add.reduceat(planes, rows[:-1], axis=1), columns[:-1], axis=2)
        sums = sums.reshape(len(planes), -1).T  # [cells^2, planes]
        sums = np.concatenate([sums.sum(0, keepdims=True), sums])

        y1, x1 = (part.ravel() for part in np.meshgrid(rows[:-1], columns[:-1], indexing="ij"))
        y2, x2 = (part.ravel() for part in np.meshgrid(rows[1:], columns[1:], indexing="ij"))
        boxes = np.stack([x1, y1, x2, y2], 1)
        boxes = np.concatenate([[[0, 0, width, height]], boxes]).astype(np.float32)
        x1, y1, x2, y2 = boxes.T
        mean = sums / ((x2 - x1) * (y2 - y1))[:, None]
        spread = np.sqrt(np.maximum(mean[:, 3:6] - mean[:, :3] ** 2, 0))
        whole = np.zeros((len(boxes), 1))
        whole[0] = 1
        place = [(x1 + x2) / width - 1, (y1 + y2) / height - 1, (x2 - x1) / width, (y2 - y1) / height]
        parts = [
            whole, 2 * mean[:, :3] - 1, 2 * spread, np.minimum(8 * mean[:, 6:10], 1), mean[:, 10:11], np.stack(place, 1)
        ]  # fmt: skip
        return Regions(np.concatenate(parts, 1).astype(np.float32), boxes)


def _planes(image: np.ndarray) -> np.ndarray:
    """What is summed over a cell: colours, their squares, four brightness steps, busy pixels. (11, H, W) float32."""
    planes = np.zeros((11, *image.shape[:2]), np.float32)
    np.divide(np.moveaxis(image, -1, 0), 255, out=planes[:3], dtype=np.float32)
    np.multiply(planes[:3], planes[:3], out=planes[3:6])
    light = (planes[0] + planes[1] + planes[2]) / 3
    planes[6, :, 1:] = np.abs(light[:, 1:] - light[:, :-1])
    planes[7, 1:] = np.abs(light[1:] - light[:-1])
    planes[8, 1:, 1:] = np.abs(light[1:, 1:] - light[:-1, :-1])
    planes[9, 1:, 1:] = np.abs(light[1:, :-1] - light[:-1, 1:])
    planes[10] = np.maximum(planes[6], planes[7]) > 0.1
    return planes
