"""The batch whose loss was the first that is not a finite number: kept as a file, to be looked at.

RUN/bad_batch.pt, for `torch.load(..., weights_only=True)`:
  step        optimiser steps done before it; epoch and batch_idx say where in the epoch it stands
  rank        the process that had it
  seed        torch.manual_seed(seed) draws the dropout masks of the step again
  losses      name -> the mean over this process's share of the batch
  batch       what the model was given: tensors on the CPU, plain types
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.data.loader import cuda_fence
from limner.files import whole
from limner.losses import Loss

NAME = "bad_batch.pt"
_NEVER = 2**62


class BadBatch:
    """Looks at every step's losses and keeps the first batch of this process that made one of them not finite.

    On a GPU a look would wait for it, so a step's losses are copied behind its forward pass and looked at when the next
    step begins: the copy is there by then, the backward pass still runs, and the loader keeps a batch that long. On the
    CPU they are looked at right away.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.found: dict[str, Any] | None = None
        self._pending: tuple[Mapping[str, Any], dict[str, int], Tensor, Callable[[], None] | None, Any] | None = None

    def see(self, batch: Mapping[str, Any], losses: dict[str, Loss], **where: int) -> None:
        """Takes note of a step; `where` says which (epoch, step, batch_idx, rank)."""
        self.look()
        if self.found is not None:
            return
        first = next(iter(losses.values())).total  # rewards may be on the CPU beside it
        totals = torch.stack([loss.total.detach().to(first.device, torch.float32) for loss in losses.values()])
        totals = totals.to("cpu", non_blocking=totals.is_cuda)
        fence = fence_of(first)
        counts = {name: max(loss.count, 1) for name, loss in losses.items()}
        self._pending = (batch, counts, totals, fence, {**where, "seed": torch.initial_seed()})
        if fence is None:
            self.look()

    def look(self) -> None:
        """Keeps a copy of the batch that was seen last, when a loss of it is not finite."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        batch, counts, totals, fence, where = pending
        if fence is not None:
            fence()
        if not all(map(math.isfinite, totals.tolist())):
            means = {name: total / count for (name, count), total in zip(counts.items(), totals.tolist())}
            self.found = {**where, "losses": means, "batch": plain(batch)}

    def write(self, world_size: int, device: torch.device) -> Path | None:
        """The first of all processes that had such a batch writes it. Every process must call it.

        Returns:
            The file, the same on all processes; None when no process saw a batch, or the file cannot be written.
        """
        self.look()
        found, mine = self.found, _NEVER
        if found is not None:
            mine = (found["epoch"] << 40) + (found["batch_idx"] << 16) + found["rank"]
        first = mine
        if world_size > 1:
            agreed = torch.tensor(mine, device=device)
            torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MIN)
            first = int(agreed)
        if first == _NEVER:
            return None
        if first == mine:
            try:
                with whole(self.path) as part:
                    torch.save(found, part)
            except (OSError, RuntimeError):  # a full disk: the loss is what must be told
                return None
        return self.path


def fence_of(loss: Tensor) -> Callable[[], None] | None:
    """Something to call that waits for what a GPU has been asked so far; None on the CPU, where all is done."""
    return cuda_fence() if loss.is_cuda else None


def plain(value: Any) -> Any:
    """A copy of a batch that `torch.load(..., weights_only=True)` takes: tensors, and what Python itself has."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
