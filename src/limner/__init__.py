"""limner: experiments on image regions and language.

>>> import limner
>>> model = limner.load("models/vqa")                       # a model package: a folder
>>> model.answer(features, "What colour is the circle?")    # features: (R, D) region features
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["UserError", "__version__", "load"]

from pathlib import Path
from typing import Any

from limner.errors import UserError


def load(folder: str | Path, device: str = "cpu") -> Any:
    """Opens a model package for prediction; see `limner.weights.package.load`. Needs neither Hydra nor Lightning."""
    from limner.weights.package import load as load_package  # torch is heavy: only when it is used

    return load_package(folder, device=device)
