"""Region features from pictures: an extractor looks at one picture, `run.extract` looks at all of them.

An extractor is any callable with a `name` and a `dim`; a dataclass of its settings, so that they are kept with the
features. One that looks at something else than pixels also says how that is read (`OwnPictures`); one that tells what
things are, how many classes it knows (`Classifies`). To plug in another one, write the class and a YAML file in
`conf/extractor` whose `_target_` names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Regions(NamedTuple):
    """The regions of one picture.

    features: (k, D) float32, k >= 1.
    boxes: (k, 4) float32, x1, y1, x2, y2 in pixels; x2 and y2 one past the last pixel.
    class_probs: (k, C) float32, the probability of each class, background first; None from an extractor without
        `region_classes`.
    """

    features: np.ndarray
    boxes: np.ndarray
    class_probs: np.ndarray | None = None


class Extractor(Protocol):
    """What `run.extract` asks of an extractor."""

    @property
    def name(self) -> str:
        """What the feature file is marked with."""
        ...

    @property
    def dim(self) -> int:
        """Numbers in one region's feature."""
        ...

    def __call__(self, image: Any) -> Regions:
        """Regions of a picture, (H, W, 3) uint8 RGB, or of what its own `pictures` gives."""
        ...


@runtime_checkable
class OwnPictures(Protocol):
    """An extractor that is not shown pixels."""

    def pictures(self, images: str | os.PathLike[str]) -> Mapping[int, Any]:
        """Image id -> what the extractor is called with, from the path given as `images`.

        Each has `size`: width and height of the picture in pixels.
        """
        ...


@runtime_checkable
class Classifies(Protocol):
    """An extractor whose regions come with `class_probs`: what models that predict masked regions learn from."""

    @property
    def region_classes(self) -> int:
        """C, the background in front included."""
        ...
