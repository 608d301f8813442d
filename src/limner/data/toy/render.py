"""Paints a scene: smooth shapes on a light ground, at least three clear pixels between any two."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from limner.data.toy.world import COLORS, HEIGHT, WIDTH, Scene

GROUND = (246, 244, 239)
_EMPTY = np.tile(np.array(GROUND, np.uint8), (HEIGHT, WIDTH, 1))
_FINER = 8  # shapes are drawn this many times larger, then averaged down: smooth edges


def _outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a shape in a box from -1 to 1, y downwards."""
    if shape == "square":
        return [(-0.92, -0.92), (0.92, -0.92), (0.92, 0.92), (-0.92, 0.92)]
    if shape == "triangle":
        return [(0, -1), (1, 0.85), (-1, 0.85)]
    if shape == "diamond":
        return [(0, -1), (0.8, 0), (0, 1), (-0.8, 0)]
    if shape == "star":
        angles = [math.pi * (k / 5 - 0.5) for k in range(10)]
        return [(math.cos(a) * r, math.sin(a) * r + 0.08) for a, r in zip(angles, [1, 0.46] * 5)]
    if shape == "cross":
        a = 0.36
        return [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    if shape == "heart":
        turns = [2 * math.pi * k / 60 for k in range(60)]
        return [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16.5)
            for t in turns
        ]
    raise ValueError(f"no shape is called {shape!r}")


@lru_cache(maxsize=256)
def mask(shape: str, radius: int) -> np.ndarray:
    """How much of each pixel a shape covers: (2 radius + 1, 2 radius + 1) float32 in [0, 1]."""
    side = (2 * radius + 1) * _FINER
    image = Image.new("L", (side, side), 0)
    draw, half = ImageDraw.Draw(image), (side - 1) / 2
    if shape in ("circle", "moon"):
        draw.ellipse((0, 0, side - 1, side - 1), fill=255)
        if shape == "moon":  # a circle without a smaller one at its right
            draw.ellipse((side * 0.36, side * 0.08, side * 1.2, side * 0.92), fill=0)
    else:
        draw.polygon([(half + x * half, half + y * half) for x, y in _outline(shape)], fill=255)
    return np.asarray(image.reduce(_FINER), dtype=np.float32) / 255


def render(scene: Scene) -> np.ndarray:
    """The picture of a scene: (HEIGHT, WIDTH, 3) uint8."""
    canvas = _EMPTY.copy()
    ground = _EMPTY[0, 0].astype(np.float32)
    for thing in scene.things:
        color = np.clip(np.array(COLORS[thing.color], np.float32) + thing.shade, 0, 255)
        x1, y1, x2, y2 = thing.box
        painted = ground + mask(thing.shape, thing.radius)[..., None] * (color - ground)
        canvas[y1:y2, x1:x2] = (painted + 0.5).astype(np.uint8)  # nothing else stands in this box
    return canvas


def save(image: np.ndarray, path: Path) -> None:
    """Writes a picture as PNG. Run lengths alone pack flat colours well, and are fast: thousands are written."""
    Image.fromarray(image).save(path, format="PNG", compress_level=1, compress_type=Image.core.RLE)
