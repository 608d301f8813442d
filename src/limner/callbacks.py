"""What happens around training steps: their seeds, the lines that are logged, one printed line an epoch."""

from __future__ import annotations

import math
import os
import random
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy

from limner.loggers.lines import JsonLines
from limner.loggers.wandb_run import WandbRun


class StepSeed(pl.Callback):
    """Seeds every training step from (seed, step, rank).

    The random draws of a step then depend on nothing that went before it: a run that is resumed draws the same
    dropout masks as one that was never interrupted, on any number of processes, and an evaluation in between (which
    may draw, too) changes nothing.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        value = int(np.random.SeedSequence([self.seed, step, trainer.global_rank]).generate_state(1, np.uint32)[0])
        torch.manual_seed(value)
        np.random.seed(value)  # noqa: NPY002 - a user's own data code may use the old generator
        random.seed(value)


class MetricLines(pl.Callback):
    """Logs losses every so many steps, and the scores of each validation, in lines of all loggers.

    A training line says the mean loss of one optimiser step, over all its items on all processes, the norms of its
    gradients and its learning rate: a pure function of the step, so that a resumed run writes the same lines. `step`
    counts the optimiser steps done. A checkpoint remembers how long metrics.jsonl was; what was written after it is
    taken back on resume.

    It stands before the callback that saves checkpoints.
    """

    def __init__(self, lines: JsonLines, *, every: int):
        self.lines, self.every = lines, every
        self._rate: float | None = None
        self._norms: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.lines.size()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lines.rewind(state_dict["bytes"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun):
                logger.catch_up(self.lines.path, self.lines.path.with_name("speed.jsonl"))

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self._rate = float(optimizer.param_groups[0]["lr"])
        logs = (trainer.global_step + 1) % self.every == 0
        self._norms = gradient_norms(pl_module.model, shards=shards(trainer)) if logs else {}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._rate is None:
            return  # gradients are still being accumulated
        rate, self._rate = self._rate, None
        means = pl_module.step_means() if trainer.global_step % self.every == 0 else None
        pl_module.step_sums = {}
        if means is not None:
            losses = {f"train/{name}": value for name, value in means.items()}
            norms = {f"grad/{name}": value for name, value in self._norms.items()}
            self.write(trainer, {"epoch": trainer.current_epoch, **losses, "lr": rate, **norms})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if pl_module.scores:
            scores = {f"val/{name}": value for name, value in pl_module.scores.items()}
            self.write(trainer, {"epoch": trainer.current_epoch, **scores})

    def write(self, trainer: pl.Trainer, line: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(line, trainer.global_step)


def gradient_norms(model: torch.nn.Module, *, shards: int = 1) -> dict[str, float]:
    """`norm`, of all gradients, and that of each part of the model by its name; parts without gradients are left out.

    Args:
        shards: processes that gradients are divided among. With several, this one holds a piece of each, of some none;
            every process must call it, and a part without gradients has the norm 0. Single numbers are not divided.
    """
    parts: dict[str, list[torch.Tensor]] = defaultdict(list)
    for name, weight in model.named_parameters():
        if weight.requires_grad and (shards > 1 or weight.grad is not None):
            part = parts[name.removeprefix("_fsdp_wrapped_module.").partition(".")[0]]
            if weight.grad is not None:
                part.append(weight.grad if weight.grad.dim() else weight.grad / math.sqrt(shards))
    if not parts:
        return {}
    device = next(model.parameters()).device
    norms = [
        torch.nn.utils.get_total_norm(grads) if grads else torch.zeros((), device=device) for grads in parts.values()
    ]
    whole = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    squares = torch.stack([norm.float() ** 2 for norm in whole])
    if shards > 1:
        torch.distributed.all_reduce(squares)
    norm, *each = torch.cat((squares.sum(0, keepdim=True), squares)).sqrt().tolist()
    return {"norm": norm, **dict(zip(parts, each))}


def shards(trainer: pl.Trainer) -> int:
    """Among how many processes a trainer divides gradients."""
    return trainer.world_size if isinstance(trainer.strategy, FSDPStrategy) else 1


class Speed(pl.Callback):
    """Logs how fast training was since the line before, how long it waited for data, and how much memory it holds.

    Evaluation and checkpoints at an epoch's end do not count. What is logged differs from run to run, and so stands in
    a file of its own. On resume, the lines after the checkpoint are taken back.
    """

    def __init__(self, lines: JsonLines, *, every: int):
        self.lines, self.every = lines, every
        self._seconds = self._waited = self._mark = 0.0
        self._items = self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.lines.rewind_to(trainer.global_step)
        self._step = trainer.global_step
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        now = time.perf_counter()
        self._seconds, self._mark = self._seconds + now - self._mark, now
        self._items += int(batch.get("total", len(batch["id"]) * trainer.world_size))
        step = trainer.global_step
        if step == self._step or step % self.every:
            return  # nothing new, or gradients are still being accumulated
        line: dict[str, float] = {"epoch": trainer.current_epoch, "speed/items": self._items / self._seconds}
        waited = getattr(trainer.train_dataloader, "waited", None)
        if waited is not None:
            line["speed/waiting"] = 100 * max(waited - self._waited, 0.0) / self._seconds
            self._waited = waited
        line |= memory(pl_module.device)
        self._items, self._seconds, self._step = 0, 0.0, step
        for logger in [self.lines, *(one for one in trainer.loggers if not isinstance(one, JsonLines))]:
            logger.log_metrics(line, step)


def memory(device: torch.device) -> dict[str, float]:
    """What the process holds now, and the most that it has held of a GPU, in GiB."""
    found = {}
    with suppress(OSError):  # Linux alone has it
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        found["speed/memory"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    if device.type == "cuda":
        found["speed/gpu_memory"] = torch.cuda.max_memory_allocated(device) / 2**30
    return found


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

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
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
