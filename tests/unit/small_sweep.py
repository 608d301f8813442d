"""What tests of sweeps share: a process that stands for a training, and the parts of a configuration a sweep reads."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

SCRIPT = Path(__file__).with_name("sweep_training.py")


def config(**more):
    """The parts of a configuration that a search reads."""
    sweep = {"name": "s", "sampler": "tpe", "trials": 4, "seed": 1, "objectives": {}, "pruner": "none",
             "pruner_start_trials": 1, "pruner_start_epochs": 1, "parameters": {}, "jobs": 1, "pin": "none",
             "poll_seconds": 0.01}  # fmt: skip
    rest = {"callbacks": {"monitor": "val/score", "mode": "max"}, "logger": {"group": None}, "seed": 1}
    return OmegaConf.create({**rest, "sweep": {**sweep, **more}})
