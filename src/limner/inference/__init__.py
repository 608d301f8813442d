"""Trained models at work: a package answers questions, writes captions, ranks answers; without Hydra and Lightning.

A module for each task offers the same five names:
    Predictor(packages, *, device, ...)   the three-line use from Python; `limner.load` returns it
    one_model(packages)                   the model of one package, or the ensemble of several
    predict(predictor, store, config)     the rows of `limner predict`, and how many they are
    trial(package, features, *, device)   one prediction, to see that a package computes; what was done, in words
    SUBMISSION                            writes the evaluation server's file from rows
and, where `limner predict` offers more than single predictions, MODES, what the key `mode` may be.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from limner.errors import UserError

TASKS = {
    "vqa": "limner.inference.vqa",
    "captioning": "limner.inference.captions",
    "visdial": "limner.inference.dialogs",
    "visdial_pretraining": "limner.inference.pretraining",
}


def module_for(task: str | None) -> ModuleType:
    """The module of a task, by the name that model.json gives."""
    if task not in TASKS:
        raise UserError(
            f"model: its task is '{task}', expected one of {', '.join(TASKS)}; was it made by a newer limner?"
        )
    return importlib.import_module(TASKS[task])


def modes(module: ModuleType) -> tuple[str, ...]:
    """What `limner predict mode=` may be for a task."""
    return getattr(module, "MODES", ("single",))
