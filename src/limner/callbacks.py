"""What happens around training steps: their seeds, the lines of metrics.jsonl, one printed line an epoch."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from limner.loggers import JsonLines


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


class MetricLines(pl.Callback):
    """Logs losses every so many steps, and the scores of each validation, in lines of all loggers.

    A training line says the mean loss of one optimiser step, over all its items on all processes, and the learning rate
    of the step: a pure function of the step, so that a resumed run writes the same lines. `step` counts the optimiser
    steps done. A checkpoint remembers how long metrics.jsonl was; what was written after it is taken back on resume.

    It stands before the callback that saves checkpoints.
    """

    def __init__(self, lines: JsonLines, *, every: int):
        self.lines, self.every = lines, every
        self._rate: float | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.lines.size()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lines.rewind(state_dict["bytes"])

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._rate is None:
            return  # gradients are still being accumulated
        rate, self._rate = self._rate, None
        means = pl_module.step_means() if trainer.global_step % self.every == 0 else None
        pl_module.step_sums = {}
        if means is not None:
            line = {"epoch": trainer.current_epoch, **{f"train/{k}": v for k, v in means.items()}, "lr": rate}
            self.write(trainer, line)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.scores:
            scores = {f"val/{name}": value for name, value in pl_module.scores.items()}
            self.write(trainer, {"epoch": trainer.current_epoch, **scores})

    def write(self, trainer: pl.Trainer, line: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(line, trainer.global_step)


class EpochLines(pl.Callback):
    """Prints one line an epoch: the mean loss over its items, the score, speed."""

    def __init__(self, *, monitor: str):
        self.monitor = monitor
        self._start = self._trained = 0.0
        self._items = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._trained, self._items = time.perf_counter(), 0.0, 0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if not self._start:  # resumed in the middle of an epoch, which does not start again
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any):
        self._items += len(batch["id"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter() - self._start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        means = pl_module.epoch_means()  # on every process: they add up their sums
        if not trainer.is_global_zero:
            return
        shown = [f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"]
        shown += [f"train/{name} {value:.4g}" for name, value in means.items() if name in pl_module.shown]
        if self.monitor in trainer.callback_metrics:
            shown.append(f"{self.monitor} {float(trainer.callback_metrics[self.monitor]):.2f}")
        seconds = max(self._trained or time.perf_counter() - self._start, 1e-9)
        shown.append(f"{self._items * trainer.world_size / seconds:,.0f} items/s")
        print("  ".join(shown), flush=True)  # not rich's console: a live progress bar moves plain lines above itself
