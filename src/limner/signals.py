"""Signals end a training truthfully: the step is finished and saved first, then the exit code says which signal."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from limner.processes import Stopped, started_by_lightning


class StopOnSignal(pl.Callback):
    """SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 stop the run after the current step, with a checkpoint.

    A second Ctrl-C stops at once. Other signals may come twice: schedulers send them to every process, torchrun hands
    its own on to the same ones, and after Slurm's SIGUSR1 follows a SIGTERM.

    Lightning's own handler would leave with exit code 0 and without a checkpoint. With several processes all stop after
    the same step: they agree at each step, so that it is enough when one of them receives the signal. A signal during
    the validation waits for its end.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self, folder: Path):
        self.folder = folder
        self.received = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not started_by_lightning():  # the others have the same terminal and would hear of it twice
            self._before = {s: signal.signal(s, self.handle) for s in self.SIGNALS}

    def handle(self, signum: int, frame: Any) -> None:
        if self.received and signum == signal.SIGINT:
            raise Stopped(signum)
        self.received = self.received or signum

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        # an epoch's last batch is followed by validation and bookkeeping: stopping there would lose both
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.fit_loop._should_accumulate():
            return
        received = self.agreed(trainer, pl_module)
        if received:
            trainer.save_checkpoint(self.folder / "last.ckpt")
            raise Stopped(received, together=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        received = self.agreed(trainer, pl_module)
        if received:
            raise Stopped(received, together=True)  # Checkpoints, which stands before this callback, has just saved

    def agreed(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        """The signal that any process has received, the same on all; 0 for none."""
        if trainer.world_size == 1:
            return self.received
        flag = torch.tensor([self.received], device=pl_module.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return int(flag.item())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.teardown(trainer, pl_module, "fit")
        if self.received:  # it came after the last epoch's end
            raise Stopped(self.received)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}
