"""When checkpoints are written: after the best epoch, each epoch, each so many steps or minutes."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from limner.checkpoint_files import BEST, LAST, WholeFiles
from limner.errors import UserError


class Checkpoints(pl.Callback):
    """Keeps `best.ckpt` (by the monitored metric) and `last.ckpt` (after each epoch, N steps or M minutes).

    Saving happens after a whole optimiser step, or after an epoch's validation and bookkeeping, so that a resumed run
    begins exactly at a boundary. A model whose loss is not finite is never saved.

    Args:
        folder: where the files go.
        monitor: name of a validation metric, `val/score`. mode: is `max` or `min` better.
        every_steps: optimiser steps between two saves within an epoch; None: never.
        every_minutes: minutes since the last save; None: never.
        patience: validations without a better value before training stops; None: never.
    """

    CLOCK_STEPS = 20  # several processes agree on the time each so many steps

    def __init__(
        self,
        folder: Path,
        *,
        monitor: str,
        mode: str,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        patience: int | None = None,
    ):
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_steps, self.every_minutes, self.patience = every_steps, every_minutes, patience
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.waited = 0
        """validations since the best one"""
        self._validated = False
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.waited = (state_dict[name] for name in ("best", "best_epoch", "waited"))

    def save(self, trainer: pl.Trainer, pl_module: Any, name: str) -> None:
        pl_module.epoch_means()  # refuses a loss that is not finite
        trainer.save_checkpoint(self.folder / name)
        self._saved_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved_at = time.monotonic()
        self.stop_when_due(trainer)  # the run may have been killed after its last epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        validated, self._validated = self._validated, False
        best = validated and self.judge(self.value(pl_module), trainer.current_epoch)
        self.save(trainer, pl_module, BEST if best else LAST)  # the best is the last one, too
        self.stop_when_due(trainer)

    def value(self, pl_module: Any) -> float:
        """The monitored metric of the validation that has just ended, the same on every process."""
        name = self.monitor.removeprefix("val/")
        if name not in pl_module.scores:
            known = ", ".join(f"val/{name}" for name in pl_module.scores) or "none: the split has no annotations"
            raise UserError(f"callbacks.monitor={self.monitor}: no such metric was measured; there are {known}")
        return float(pl_module.scores[name])

    def judge(self, value: float, epoch: int) -> bool:
        """Takes note of an epoch's value; is it the best so far? The first of equal ones is; NaN never."""
        best, sign = self.best, 1 if self.mode == "max" else -1
        better = not math.isnan(value) and (best is None or sign * value > sign * best)
        if better:
            self.best, self.best_epoch, self.waited = value, epoch, 0
        else:
            self.waited += 1
        return better

    def stop_when_due(self, trainer: pl.Trainer) -> None:
        if self.patience is not None and self.waited >= max(self.patience, 1):
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        files(trainer).wait()
        trainer.strategy.barrier()  # all processes read best.ckpt next

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        files(trainer).check()  # a full disk ends the run at the next step
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.fit_loop._should_accumulate():
            return  # the epoch's end saves in a moment, after the validation
        due = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        if due or self.time_is_up(trainer):
            self.save(trainer, pl_module, LAST)

    def time_is_up(self, trainer: pl.Trainer) -> bool:
        """The first process's clock decides for all."""
        if not self.every_minutes:
            return False
        up = time.monotonic() - self._saved_at > 60 * self.every_minutes
        if trainer.world_size == 1:
            return up
        return trainer.global_step % self.CLOCK_STEPS == 0 and bool(trainer.strategy.broadcast(up))


def files(trainer: pl.Trainer) -> WholeFiles:
    """What writes a trainer's checkpoints."""
    found = trainer.strategy.checkpoint_io
    assert isinstance(found, WholeFiles)  # build.build_trainer gives it
    return found
