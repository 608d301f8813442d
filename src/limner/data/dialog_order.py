"""Which dialogs make which batch, for training: the numbers that a batch is made from say its epoch, too.

Sequences, wrong candidates and masks are functions of (seed, epoch, item); a batch that is made from numbers that know
the epoch needs nothing else, whoever asks for it and whenever.
"""

from __future__ import annotations

import numpy as np

from limner.data.order import BatchOrder


class DialogOrder:
    """The training batches of every epoch.

    Args:
        size: number of items: dialogs, or judged rounds.
        batch_size: items of one step over ALL processes.
        seed: of the drawing.
        rank, world: this process, and how many there are; `world` must divide `batch_size`.

    Raises:
        UserError: when `world` does not divide `batch_size`.
    """

    def __init__(self, size: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        self.size = size
        self.order = BatchOrder(size, batch_size, seed=seed, shuffle=True, rank=rank, world=world)

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return len(self.order)

    def total(self, batch: int) -> int:
        """Items of a batch over all processes."""
        return self.order.total(batch)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """This rank's batches of an epoch: arrays of `epoch * size + item`; `items` takes them apart."""
        return [epoch * self.size + batch for batch in self.order.batches(epoch)]

    def items(self, numbers: np.ndarray) -> tuple[int, np.ndarray]:
        """The epoch and the items (B,) of a batch."""
        return int(numbers[0]) // self.size, numbers % self.size
