"""What MMF knows of an image: features, and a dict of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from limner.data.features.formats.format import Image, pixels, table
from limner.errors import UserError


def merged(features: Any, info: dict[str, Any], where: str) -> Image:
    """An image from features (K, D) and `bbox`, `num_boxes`, `objects`, `cls_prob`, `image_width`, `image_height`.

    Features may be padded beyond `num_boxes`.

    Raises:
        UserError: the arrays do not belong together.
    """
    if not isinstance(features, np.ndarray) or features.ndim != 2:
        raise UserError(f"{where}: features are {type(features).__name__}, expected an array (regions, numbers)")
    regions = len(features)
    if info.get("num_boxes") is not None:
        regions = _count(info["num_boxes"], regions, where)
    boxes = info.get("bbox")
    size = (0, 0)
    if info.get("image_width") is not None:
        size = pixels(info["image_width"], info.get("image_height"), where)
    optional = {}
    if info.get("cls_prob") is not None and np.ndim(info["cls_prob"]) == 2:
        optional["class_probs"] = table(info["cls_prob"][:regions], regions, where, "cls_prob")
    if info.get("objects") is not None:
        optional["cls_id"] = np.asarray(info["objects"])[:regions]
    return Image(
        table(features[:regions], regions, where, "features"),
        None if boxes is None else table(np.asarray(boxes)[:regions], regions, where, "bbox", 4),
        size,
        optional,
    )


def _count(value: Any, most: int, where: str) -> int:
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "iuf" or not 1 <= int(found.reshape(())) <= most:
        raise UserError(f"{where}: num_boxes is {value!r:.40}, expected a number from 1 to {most} (rows of features)")
    return int(found.reshape(()))
