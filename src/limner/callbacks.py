"""What happens around training steps: their seeds, one printed line an epoch."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from rich.console import Console


class StepSeed(pl.Callback):
    """Seeds every training step from (seed, step, rank).

    The random draws of a step then depend on nothing that went before it: a run that is resumed draws the same
    dropout masks as one that was never interrupted, on any number of processes, and an evaluation in between (which
    may draw, too) changes nothing.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int):
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        value = int(np.random.SeedSequence([self.seed, step, trainer.global_rank]).generate_state(1, np.uint32)[0])
        torch.manual_seed(value)
        np.random.seed(value)  # noqa: NPY002 - a user's own data code may use the old generator
        random.seed(value)


class EpochLines(pl.Callback):
    """Prints one line an epoch: losses, validation metrics, the best so far, speed."""

    def __init__(self, *, monitor: str):
        self.monitor = monitor
        self.console = Console(highlight=False, soft_wrap=True)
        self._start = 0.0
        self._items = 0
        self._best = float("nan")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._items = time.perf_counter(), 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any):
        self._items += len(batch["id"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        shown = [f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"]
        metrics = trainer.callback_metrics
        shown += [f"{name} {float(metrics[name]):.4g}" for name in ("train/loss", self.monitor) if name in metrics]
        seconds = max(getattr(self, "_trained", 0.0) or time.perf_counter() - self._start, 1e-9)
        shown.append(f"{self._items * trainer.world_size / seconds:,.0f} items/s")
        self.console.print("  ".join(shown))
