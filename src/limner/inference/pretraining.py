"""A package of a pretraining stage: it is evaluated and trained further, but predicts nothing yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from limner.errors import UserError
from limner.inference.dialogs import trial
from limner.weights.package import Package

__all__ = ["SUBMISSION", "Predictor", "one_model", "predict", "trial"]


class Predictor:
    """There is none. Raises `UserError` with what to do instead."""

    def __init__(self, packages: Sequence[Package], *, device: str = "cpu") -> None:
        refuse()


def one_model(packages: Sequence[Package]) -> nn.Module:
    """The model of one package. Raises `UserError` for several."""
    if len(packages) > 1:
        raise UserError(f"model: {len(packages)} packages of a pretraining stage make no ensemble: give one")
    return packages[0].model


def predict(predictor: Any, store: Any, config: Any) -> NoReturn:
    """There is nothing to predict. Raises `UserError`."""
    refuse()


def SUBMISSION(path: Path, rows: Sequence[Any]) -> NoReturn:
    """There is nothing to submit. Raises `UserError`."""
    refuse()


def refuse() -> NoReturn:
    raise UserError(
        "model: a pretraining stage predicts nothing yet; train it further (limner train experiment=visdial "
        "weights=PACKAGE), or look at its losses (limner evaluate model=PACKAGE)"
    )
