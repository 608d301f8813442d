"""Learning-rate schedules: a factor on the base rate as a function of the epoch, fractions counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Schedule = Callable[[float, float], float]
"""`schedule(epoch, epochs) -> factor`: `epoch` runs from 0 to `epochs` in steps of one optimiser step."""


@dataclass(kw_only=True)
class Constant:
    """1 throughout, after an optional linear warm-up."""

    warmup_epochs: float = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        return warmup(epoch, self.warmup_epochs)


@dataclass(kw_only=True)
class Linear:
    """From 1 linearly to `end` at the last step, after an optional warm-up (the captioner paper: from 0.01 to 0)."""

    warmup_epochs: float = 0.0
    end: float = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup_epochs:
            return warmup(epoch, self.warmup_epochs)
        left = (epochs - epoch) / max(epochs - self.warmup_epochs, 1e-9)
        return self.end + (1 - self.end) * max(left, 0.0)


@dataclass(kw_only=True)
class Steps:
    """Multiplied by `factor` at each epoch of `at`, after a linear warm-up (openvqa: 3 epochs; 0.2 at 10 and 12)."""

    warmup_epochs: float = 3.0
    at: list[float] = field(default_factory=list)
    factor: float = 0.2

    def __call__(self, epoch: float, epochs: float) -> float:
        return warmup(epoch, self.warmup_epochs) * self.factor ** sum(epoch >= start for start in self.at)


@dataclass(kw_only=True)
class XEThenSCST:
    """Cross-entropy with a rate that falls by steps, then self-critical training with a rate of its own.

    Up to `start` as `ImageCaptioning.pytorch` does it: times `factor` after every `every` epochs. From there the base
    rate times `rl_factor`, constant: a tenth of the base rate is what that code's recipe comes to.

    `start` must be the epoch at which the task begins with SCST (`scst.start_epoch`).
    """

    start: float
    every: float = 3.0
    factor: float = 0.8
    rl_factor: float = 0.1
    warmup_epochs: float = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch >= self.start:
            return self.rl_factor
        return warmup(epoch, self.warmup_epochs) * self.factor ** math.floor(epoch / self.every)


def warmup(epoch: float, warmup_epochs: float) -> float:
    """Rises linearly to 1 over `warmup_epochs`; the very first step is not 0 but one step's share."""
    return 1.0 if epoch >= warmup_epochs else max(epoch / warmup_epochs, 1e-3)


def scheduler(optimizer: Optimizer, schedule: Schedule, *, steps_per_epoch: float, epochs: float) -> LambdaLR:
    """A torch scheduler that is stepped once for each optimiser step.

    Args:
        optimizer: its parameter groups keep their own base rates.
        schedule: factor by epoch.
        steps_per_epoch: optimiser steps an epoch.
        epochs: length of the training in epochs.
    """
    return LambdaLR(optimizer, lambda step: schedule(step / steps_per_epoch, epochs))
