"""Checkpoint files: written whole or not at all, the best and the last one."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from limner.errors import UserError
from limner.files import whole


class WholeFiles(CheckpointIO):
    """Writes checkpoints so that a file is either absent, the old one or whole: temporary file, fsync, rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            # one name for all processes and runs: what a killed one left is written over
            with whole(path, part=part, sync=True), open(part, "wb") as file:
                torch.save(checkpoint, file)
        except BaseException as error:
            reason = write_failure(error)
            if reason is None:
                raise
            before = "the one before is whole" if path.exists() else "nothing was written"
            advice = f"free space, then: limner train resume={path.parent.parent}"
            raise UserError(f"{path}: the checkpoint could not be written ({reason}); {before}; {advice}") from None

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def write_failure(error: BaseException | None) -> str | None:
    """The operating system's reason when `error` began with a failed write; torch wraps it in errors of its own."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error):
            return "the disk may be full"
        error = error.__cause__ or error.__context__
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, plain types and tensors on the CPU only: nothing in it is run.

    Raises:
        UserError: there is no such file, or it is damaged or not a checkpoint.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as a checkpoint ({first}); it is damaged or not limner's") from None


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
        if validated and self.judge(self.value(pl_module), trainer.current_epoch):
            self.save(trainer, pl_module, "best.ckpt")
        self.save(trainer, pl_module, "last.ckpt")
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

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.fit_loop._should_accumulate():
            return  # the epoch's end saves in a moment, after the validation
        due = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        if due or self.time_is_up(trainer):
            self.save(trainer, pl_module, "last.ckpt")

    def time_is_up(self, trainer: pl.Trainer) -> bool:
        """The first process's clock decides for all."""
        if not self.every_minutes:
            return False
        up = time.monotonic() - self._saved_at > 60 * self.every_minutes
        if trainer.world_size == 1:
            return up
        return trainer.global_step % self.CLOCK_STEPS == 0 and bool(trainer.strategy.broadcast(up))
