"""Connected components in NumPy alone: runs of pixels, joined by a vectorised union of their numbers."""

from __future__ import annotations

import numpy as np


def background(image: np.ndarray) -> np.ndarray:
    """The ground colour of a picture (H, W, 3) uint8: the commonest colour of its rim, (3,) float32.

    The colours are counted in steps of 16 and the winners averaged, so a little noise does no harm.
    """
    rim = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    coarse = rim >> 4
    code = (coarse[:, 0].astype(np.int32) << 8) | (coarse[:, 1].astype(np.int32) << 4) | coarse[:, 2]
    return rim[code == np.bincount(code).argmax()].mean(0, dtype=np.float32)


class Pixels:
    """The F foreground pixels of a picture and the component of each.

    x, y: (F,) int64 columns and rows, in reading order. rgb: (3, F) float32, 0 to 255. strength: (F,) float32, distance
    from the ground colour. label: (F,) int64 in [0, count). ground: (3,) float32, the ground colour.
    """

    def __init__(self, image: np.ndarray, *, threshold: float, similarity: float) -> None:
        height, width = image.shape[:2]
        self.ground = background(image)
        low = np.clip(np.ceil(self.ground - threshold), 0, 255).astype(np.uint8)
        high = np.clip(np.floor(self.ground + threshold), 0, 255).astype(np.uint8)
        rows = image.reshape(height, width * 3)  # whole rows at once: several times faster than an axis of 3
        other = ((rows < np.tile(low, width)) | (rows > np.tile(high, width))).reshape(-1, 3)
        place = np.flatnonzero(other[:, 0] | other[:, 1] | other[:, 2])
        self.y, self.x = np.divmod(place, width)
        self.rgb = image.reshape(-1, 3)[place].T.astype(np.float32)
        hue = self.rgb - self.ground[:, None]  # a smooth edge mixes in the ground: that keeps the direction of this
        self.strength = np.sqrt(np.einsum("cf,cf->f", hue, hue))
        hue /= np.maximum(self.strength, 1e-6)
        self.count, self.label = _components(place + self.y, width + 1, hue, similarity)


def _components(place: np.ndarray, stride: int, hue: np.ndarray, similarity: float) -> tuple[int, np.ndarray]:
    """Joins each pixel with those of its 8 neighbours that have a similar colour direction.

    place: (F,) ascending, row * stride + column, with one empty column at the end of each row, so that no neighbour
    wraps around. hue: (3, F) unit vectors. Returns the number of components and the component of each pixel.
    """
    count = len(place)
    if not count:
        return 0, np.zeros(0, np.int64)
    alike = np.einsum("cf,cf->f", hue[:, 1:], hue[:, :-1]) > similarity
    starts = np.ones(count, bool)
    starts[1:] = (np.diff(place) != 1) | ~alike
    run = np.cumsum(starts) - 1  # a run: neighbours in one row
    where = np.full(int(place[-1]) + stride + 2, -1, np.int32)
    where[place] = np.arange(count, dtype=np.int32)
    firsts, seconds, here = [], [], np.arange(count)
    for step in (stride, stride - 1, stride + 1):  # below; and slantwise, for pixels that do not go on straight below
        below = where[place[here] + step]
        there = np.flatnonzero(below >= 0)
        top, low = here[there], below[there]
        alike = np.einsum("cf,cf->f", hue[:, top], hue[:, low]) > similarity
        firsts.append(run[top[alike]])
        seconds.append(run[low[alike]])
        if step == stride:
            here = np.delete(here, there[alike])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    fresh = np.ones(len(first), bool)
    fresh[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)  # runs meet along many pixels: once is enough
    root = _union(int(run[-1]) + 1, first[fresh], second[fresh])
    numbers, label = np.unique(root, return_inverse=True)
    return len(numbers), label.reshape(-1)[run]


def _union(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest number reachable from each of `count` nodes along the edges; a few rounds, whatever the shape.

    Each round hooks the roots of both ends of an edge to the smaller one and then lets every node point to its root.
    """
    root = np.arange(count)
    while True:
        a, b = root[first], root[second]
        if (a == b).all():
            return root
        low = np.minimum(a, b)
        np.minimum.at(root, a, low)
        np.minimum.at(root, b, low)
        while True:
            further = root[root]
            if (further == root).all():
                break
            root = further
