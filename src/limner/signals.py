"""Signals end a run truthfully: a checkpoint first, then the exit code the signal stands for."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch


class Stopped(BaseException):
    """A signal asked the run to stop; the last checkpoint has been written."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


class StopOnSignal(pl.Callback):
    """SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 stop the run after the current step, with a checkpoint; twice stops at once.

    Lightning's own handler would leave with exit code 0 and without a checkpoint. With several processes all stop after
    the same step: the flag is agreed on at each step, and the first process passes the signal on to those it started.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self, folder: Path):
        self.folder = folder
        self.received = 0
        self._before: dict[int, Any] = {}
        self._trainer: pl.Trainer | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trainer = trainer
        self._before = {s: signal.signal(s, self.handle) for s in self.SIGNALS}

    def handle(self, signum: int, frame: Any) -> None:
        launcher = self._trainer.strategy.launcher if self._trainer else None
        for process in getattr(launcher, "procs", []):
            process.send_signal(signum)
        if self.received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        received = self.agreed(trainer, pl_module)
        # an epoch's last batch is followed by validation and bookkeeping: stopping there would lose both
        if received and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            trainer.save_checkpoint(self.folder / "last.ckpt")
            raise Stopped(received)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        received = self.agreed(trainer, pl_module)
        if received:
            raise Stopped(received)  # Checkpoints, which stands before this callback, has just saved

    def agreed(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        """The signal that any process has received, the same on all; 0 for none."""
        if trainer.world_size == 1:
            return self.received
        flag = torch.tensor([self.received], device=pl_module.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return int(flag.item())

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}
