"""What every task shares: losses are logged, rows are gathered once and scored, the optimiser is built.

A task says three things: `loss(batch)`, `rows(batch)` and `score(rows)`. The base does the rest, so that a metric is
the same number on one process and on N, and reports, submission files and metrics come from the same rows.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.bad_batch import BadBatch
from limner.errors import UserError
from limner.losses import Loss
from limner.metrics import rows as rows_of
from limner.metrics.rows import Row
from limner.optim import Constant, Schedule, scheduler
from limner.paths import shown

Sums = dict[str, tuple[Any, int]]
"""Loss name -> (sum over items, a number or a 0-dim tensor; items)."""


class Task(pl.LightningModule):
    """A model with a loss, rows and a score.

    Args:
        model: a plain `nn.Module`.
        optimizer: makes an optimiser from parameters; None for a task that only evaluates.
        schedule: learning-rate factor by epoch (`limner.optim`).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: Callable[..., Optimizer] | None = None,
        schedule: Schedule | None = None,
    ):
        super().__init__()
        self.model = model
        self.counts_items = True
        """the loss is a mean over the batch's items, whose global number the loader knows; see `global_count`"""
        self.shown: tuple[str, ...] = ("loss", "sample_reward")
        """the training means that a line an epoch prints; metrics.jsonl has all"""
        self.make_optimizer = optimizer
        self.schedule = schedule or Constant()
        self.detailed = False
        """Rows carry everything (attention, runners-up); validation during training needs only what is scored."""
        self.scores: dict[str, float] = {}
        """the last evaluation's metrics, the same on every process"""
        self.last_rows: list[Row] = []
        self.step_sums: Sums = {}
        """loss sums and counts of this process since the last optimiser step; `MetricLines` empties it"""
        self.bad_batch: BadBatch | None = None
        """keeps the batch whose loss is not finite, when a run is to have it"""
        self._epoch_sums: Sums = {}
        self._rows: list[Row] = []

    # --- what a task defines ---

    @abstractmethod
    def loss(self, batch: dict[str, Any]) -> dict[str, Loss]:
        """Named losses of a batch as sums and counts; the first is optimised, the others are logged beside it."""

    @abstractmethod
    def rows(self, batch: dict[str, Any]) -> list[Row]:
        """One plain dict for each item of the batch, with its `id`."""

    @abstractmethod
    def score(self, rows: list[Row]) -> dict[str, float]:
        """Metrics of rows that are unique by id; `score` is the one that matters most."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a model package must say about the task: its name, how outputs become predictions."""

    def trained_as(self, descriptions: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what `describe` once said of the models that are evaluated now; most tasks need nothing of it."""

    def details(self) -> dict[str, Any]:
        """Everything the metric says about the last evaluation, for metrics.json."""
        return {"metrics": self.scores}

    # --- Lightning's hooks ---

    def on_train_epoch_start(self) -> None:
        self._epoch_sums = {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        losses = self.loss(batch)
        if self.bad_batch is not None:
            trainer = self.trainer
            where = {"epoch": trainer.current_epoch, "step": trainer.global_step, "batch_idx": batch_idx}
            self.bad_batch.see(batch, losses, **where, rank=trainer.global_rank)
            if self.bad_batch.found is not None and trainer.world_size == 1:  # several agree when they add up sums
                self.not_finite(self.bad_batch.found["losses"])
        for name, (total, count) in losses.items():
            for sums in (self.step_sums, self._epoch_sums):
                before, items = sums.get(name, (0.0, 0))
                sums[name] = (before + total.detach().to(self.wide), items + count)
        total, count = next(iter(losses.values()))
        self.log("train/loss", total.detach() / max(count, 1), prog_bar=True, logger=False, batch_size=max(count, 1))
        # the mean over the GLOBAL batch: processes may have unequal shares of it, and DDP averages over processes
        return total * (self.trainer.world_size / max(self.global_count(batch, count), 1))

    def global_count(self, batch: dict[str, Any], count: int) -> int:
        """What the optimised loss of this step is a mean over, on all processes together: the items of the batch.

        A task whose loss counts something else (tokens) sets `counts_items = False`; the processes' counts are then
        added up.
        """
        if self.counts_items:
            return int(batch.get("total", count))
        if self.trainer.world_size == 1:
            return count
        added = torch.tensor(count, device=self.device)
        torch.distributed.all_reduce(added)
        return int(added)

    @property
    def wide(self) -> torch.dtype:
        """What sums are kept in; Apple's GPUs have no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def step_means(self) -> dict[str, float]:
        """Mean losses over all items of the current optimiser step, on all processes (each must call it)."""
        return self.means(self.step_sums)

    def epoch_means(self) -> dict[str, float]:
        """Mean losses over the epoch so far (since the resume in a resumed one), on all processes."""
        return self.means(self._epoch_sums)

    def means(self, sums: Sums) -> dict[str, float]:
        """Adds up the processes' sums and divides once.

        Raises:
            UserError: a loss is not a finite number, on every process alike.
        """
        values = [torch.as_tensor(value, dtype=self.wide) for pair in sums.values() for value in pair]
        added = torch.stack([value.to(self.device) for value in values]) if values else torch.zeros(0)
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(added)
        pairs = added.view(-1, 2).tolist()
        self.not_finite({name: total for name, (total, _) in zip(sums, pairs)})
        return {name: total / max(count, 1) for name, (total, count) in zip(sums, pairs)}

    def not_finite(self, losses: Mapping[str, float]) -> None:
        """Stops the run when a loss is not a finite number; every process calls it with the same losses."""
        bad = [(name, value) for name, value in losses.items() if not math.isfinite(value)]
        if not bad:
            return
        name, value = bad[0]
        file = self.bad_batch.write(self.trainer.world_size, self.device) if self.bad_batch is not None else None
        kept, step = "", self.global_step
        if file is not None:
            kept = f" (its batch is in {shown(file)})"
        raise UserError(
            f"train/{name} is {value} at step {step}{kept}: "
            "lower optim.lr, set trainer.gradient_clip_val, or look for the cause with debug=anomaly"
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._rows += self.rows(batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._rows += self.rows(batch)

    def on_validation_epoch_start(self) -> None:
        self._rows = []

    def on_test_epoch_start(self) -> None:
        self._rows = []

    def on_validation_epoch_end(self) -> None:
        self.scores = self.score_all()
        for name, value in self.scores.items():
            self.log(f"val/{name}", value, logger=False, rank_zero_only=False, sync_dist=False)

    def on_test_epoch_end(self) -> None:
        self.scores = self.score_all()

    def score_all(self) -> dict[str, float]:
        """Gathers the rows of all processes, makes them unique and scores them; the same result on every process."""
        gathered = self._rows
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
            gathered = [row for part in parts for row in part]
        self.last_rows, self._rows = rows_of.unique(gathered), []
        return self.score(self.last_rows)

    def configure_optimizers(self) -> Any:
        if self.make_optimizer is None:
            return None
        optimizer = self.make_optimizer([p for p in self.parameters() if p.requires_grad])
        chosen = scheduler(
            optimizer, self.schedule, steps_per_epoch=self.steps_per_epoch(), epochs=self.trainer.max_epochs or 1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": chosen, "interval": "step"}}

    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch.

        Not Lightning's `estimated_stepping_batches`: it sets the training loader up before a checkpoint is restored,
        and the loader's place in the epoch would be lost.
        """
        trainer: Any = self.trainer
        batches, limit = len(trainer.datamodule.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return max(math.ceil(batches / trainer.accumulate_grad_batches), 1)
