"""Checkpoint files: written whole or not at all, the best and the last one."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from limner.errors import UserError


class WholeFiles(CheckpointIO):
    """Writes checkpoints so that a file is either absent, the old one or whole: temporary file, fsync, rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
            if isinstance(error, RuntimeError) and "write" not in str(error) and "PytorchStreamWriter" not in str(error):
                raise
            part.unlink(missing_ok=True)
            before = "the one before is whole" if path.exists() else "nothing was written"
            advice = f"free space, then: limner train resume={path.parent.parent}"
            raise UserError(f"{path}: the checkpoint could not be written ({error}); {before}; {advice}") from None

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            first = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as a checkpoint ({first}); it is damaged or not ours") from None

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class Checkpoints(pl.Callback):
    """Keeps `best.ckpt` (by the monitored metric) and `last.ckpt` (after each epoch, N steps or M minutes).

    Saving happens after an epoch's validation and bookkeeping, so that a resumed run begins exactly at a boundary.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str, every_steps: int | None, every_minutes: float | None):
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.best: float | None = None
        self.best_epoch: int | None = None
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]

    def save(self, trainer: pl.Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
        self._saved_at = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            known = ", ".join(sorted(k for k in trainer.callback_metrics if k.startswith("val/")))
            raise UserError(f"callbacks.monitor={self.monitor}: no such metric was logged; there are {known}")
        score = float(value)
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        better = self.best is None or (score > self.best if self.mode == "max" else score < self.best)
        if validated and better and not math.isnan(score):
            self.best, self.best_epoch = score, trainer.current_epoch
            self.save(trainer, "best.ckpt")
        self.save(trainer, "last.ckpt")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return  # the epoch's end saves in a moment, after the validation
        due = self.every_steps and trainer.global_step % self.every_steps == 0
        if self.every_minutes and trainer.world_size == 1:  # clocks of several processes would disagree
            due = due or time.monotonic() - self._saved_at > 60 * self.every_minutes
        if due and not trainer.fit_loop._should_accumulate():
            self.save(trainer, "last.ckpt")
