"""Which items make which batch: a pure function of (seed, epoch), and of the rank only for its slice.

The batches are drawn for all processes together and each takes its slice, so one process with batches of N and two with
N/2 each see the same items in the same step. Nothing is remembered between epochs, so a run that resumes in the middle
of epoch 7 draws epoch 7 again and skips.
"""

from __future__ import annotations

import numpy as np

from limner.errors import UserError

WINDOW = 16  # batches within which items are sorted by cost


class BatchOrder:
    """The batches of every epoch.

    Args:
        size: number of items.
        batch_size: items of one step over ALL processes; every batch has exactly so many but the last.
        seed: of the drawing.
        shuffle: draw anew in each epoch, or keep the items' own order.
        groups: (size,) integers, the group (image) of each item.
        by_group: items of a group stay together. Drawn by groups when shuffling, else sorted by group. A group is
            split only where a batch is full.
        rank: this process.
        world: number of processes; must divide `batch_size`.
        costs: (size,) numbers, what an item costs (its regions, its words). When shuffling, items of like cost share a
            batch (sorted within windows of 16 batches), which saves padding; a group costs its dearest item.

    A last batch that the processes cannot share equally is shared unequally; one with fewer items than processes is
    padded by repeating its own first items, so that every rank gets the same number of batches and none is empty:
    evaluation must drop repeated ids. One process never pads. `total` tells the size of the whole batch, by which a
    loss must be divided so that N processes learn what one does.

    Raises:
        UserError: when `world` does not divide `batch_size`.
        ValueError: for sizes below one, a rank outside `world`, or arrays of the wrong length.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        groups: np.ndarray | None = None,
        by_group: bool = False,
        rank: int = 0,
        world: int = 1,
        costs: np.ndarray | None = None,
    ) -> None:
        if size < 0 or batch_size < 1 or not 0 <= rank < world:
            raise ValueError(f"size {size}, batch_size {batch_size}, rank {rank} of {world} make no sense")
        if batch_size % world:
            near = batch_size - batch_size % world or world
            advice = f"take {near} or {near + world}"
            raise UserError(f"batch_size: {batch_size} items a step cannot be shared by {world} processes: {advice}")
        if by_group and groups is None:
            raise ValueError("by_group needs groups")
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.rank, self.world = rank, world
        # Units are drawn: single items, or groups. Unit u holds _items[_starts[u] : _starts[u] + _counts[u]].
        self._starts: np.ndarray | None = None
        self._counts: np.ndarray | None = None
        if by_group:
            _, group, self._counts = np.unique(_of_length(groups, size), return_inverse=True, return_counts=True)
            self._items = np.argsort(group, kind="stable")
            self._starts = np.cumsum(self._counts) - self._counts
        else:
            self._items = np.arange(size)
        self._costs = None if costs is None or not shuffle else self._unit_costs(_of_length(costs, size))

    def __len__(self) -> int:
        """Batches of an epoch, the same on every rank."""
        return -(-self.size // self.batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """This rank's batches of an epoch.

        Returns:
            `len(self)` arrays of item indices, int64.
        """
        order = self._draw(epoch) if self.shuffle else self._items
        steps = [order[start : start + self.batch_size] for start in range(0, self.size, self.batch_size)]
        if self._costs is not None and len(steps) > 2:  # cheap and dear batches in any order; a partial one stays last
            whole = self.size // self.batch_size
            steps[:whole] = [steps[step] for step in _permutation(whole, self.seed, epoch, 1)]
        return [self._slice(step) for step in steps]

    def total(self, batch: int) -> int:
        """Items of a batch over all processes, as they are trained on."""
        whole = min(self.batch_size, self.size - batch * self.batch_size)
        return max(whole, self.world)

    def _draw(self, epoch: int) -> np.ndarray:
        units = _permutation(len(self._items) if self._counts is None else len(self._counts), self.seed, epoch, 0)
        if self._costs is not None:
            items = np.arange(len(units)) if self._counts is None else np.cumsum(self._counts[units]) - 1
            units = units[np.lexsort((self._costs[units], items // (WINDOW * self.batch_size)))]
        if self._starts is None or self._counts is None:
            return units
        counts = self._counts[units]
        ends = np.cumsum(counts)
        return self._items[np.repeat(self._starts[units] - ends + counts, counts) + np.arange(self.size)]

    def _slice(self, step: np.ndarray) -> np.ndarray:
        if len(step) < self.world:
            step = np.resize(step, self.world)  # repeats from its beginning
        return step[self.rank * len(step) // self.world : (self.rank + 1) * len(step) // self.world]

    def _unit_costs(self, costs: np.ndarray) -> np.ndarray:
        return costs if self._starts is None or not self.size else np.maximum.reduceat(costs[self._items], self._starts)


def _permutation(size: int, *key: int) -> np.ndarray:
    """A random order of `range(size)` that depends on the key alone, in every version of numpy.

    Sorting raw 64-bit words is stable across versions; `Generator.permutation` is not promised to be.
    """
    words = np.random.PCG64(np.random.SeedSequence([number % 2**64 for number in key])).random_raw(size)
    return np.argsort(words, kind="stable")


def _of_length(values: object, size: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (size,):
        raise ValueError(f"expected one number for each of {size} items, found shape {array.shape}")
    return array
