"""Batches made one ahead by one thread, in memory that is used again, and resumable at any batch.

Worker processes lose here: a batch is some hundred megabytes copied at memory speed, and each would fault its shared
pages twice. Copies release Python's lock, so one thread is enough to hide them behind the model.

What Lightning 2.6 does with a loader, and what follows (read from its fit_loop, training_epoch_loop, combined_loader
and fetchers):

* `FitLoop.on_save_checkpoint` stores `state_dict()` of every loader that has the pair `state_dict`, `load_state_dict`.
  The fetcher knows the length and therefore fetches nothing ahead: batches drawn from here = batches trained on.
* `FitLoop.setup_data` loads that state only when the fit loop is `restarting`: not after an end-of-epoch checkpoint
  (unless `max_steps` is set), where `set_epoch` alone tells where to go on.
* `setup_data` then calls `iter(loader)`, BEFORE `on_advance_start` calls `set_epoch`, and in a resumed epoch there is
  no second `iter`. So an iteration decides where it begins at its first `next`, not at `iter`.
* `set_epoch` is looked up on `loader.sampler` (or `loader.batch_sampler.sampler`): hence the property `sampler`. It
  comes with the current epoch in mid-epoch (the loaded batch number must survive it), and with the next epoch after a
  checkpoint at the last batch (the loaded number must not).
* `len` must stay that of a whole epoch after a resume: the fetcher adds the batches already done to its count.
* At the end of an epoch `next` is not called once more: the thread must end by itself, and an iteration that never
  ended is simply replaced by the next `iter`.
* `CombinedLoader.reset` sets an attribute `_iterator` of the loader to None if there is one: there is none.
* `use_distributed_sampler` never touches a loader that is no `torch.utils.data.DataLoader`; keep it False all the same.
* With that, runs resumed from checkpoints of every batch end, validation end and epoch end were equal to the
  uninterrupted run (tests/unit/test_loader_lightning.py). Not so, by Lightning's own count: with `max_steps`, a
  checkpoint of `on_train_epoch_end` trains one batch in the old epoch and then leaves the new one. Set `max_epochs`.
* A checkpoint written while a step is running (an exception in `training_step`) counts that step's batch as drawn.
* `overfit_batches` warns that it turns shuffling off, which it cannot do here: give an order with `shuffle=False`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from limner.data.order import BatchOrder
from limner.errors import UserError

Make = Callable[[np.ndarray, int], dict[str, Any]]
TOTAL = "total"
"""Key of a batch: how many items the global batch has, over all processes."""


class BatchLoader:
    """Iterates over the batches of an epoch. Each gets a key `total`: the items of the batch over all processes.

    A batch stays valid until two more have been drawn: its tensors are memory of a slot of the ring, and the slot is
    filled again then. Copy what must live longer (`batch["id"].clone()`). On CUDA the slot is filled only after the
    device has finished what was queued before the batch's end, so copies may be asynchronous.

    Args:
        order: which items make which batch.
        make: builds a batch, `make(indices, slot) -> dict`, in buffers that belong to the slot (0..ring-1). Called in
            the thread; an exception there is raised again by `next`, with its traceback.
        ring: number of slots, 3 or more; each one over 3 lets the thread work one more batch ahead.
        ahead: called with the indices of the batch after the one to be made (say, `FeatureStore.will_need`).

    Iterating again begins again: only the newest iteration of a loader can be drawn from.
    """

    def __init__(
        self, order: BatchOrder, make: Make, *, ring: int = 3, ahead: Callable[[np.ndarray], object] | None = None
    ) -> None:
        if ring < 3:
            raise ValueError(f"ring is {ring}, expected 3 or more: two batches in use and one in the making")
        self.order, self.make, self.ring, self.ahead = order, make, ring, ahead
        self._next = (0, 0)  # epoch and batch at which the next iteration begins
        self._position = (0, 0)  # epoch, batches of it handed out
        self._drawn = 0  # batches handed out in all: the slot of the next one
        self.waited = 0.0
        """seconds that `next` has waited for batches in all"""
        self._thread: _Prefetch | None = None

    batch_sampler = None
    """Lightning reads it beside `sampler` when a validation loader is checked for shuffling."""

    @property
    def sampler(self) -> BatchLoader:
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.order)

    def __iter__(self) -> _Iteration:
        return _Iteration(self)

    def set_epoch(self, epoch: int) -> None:
        """Epoch of the next iteration. A change begins at its first batch; the same epoch keeps a loaded position."""
        if epoch != self._next[0]:
            self._next = (epoch, 0)
        if epoch != self._position[0]:
            self._position = (epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """`{"epoch", "batch"}`: the epoch and how many of its batches have been handed out, not how many were made."""
        epoch, batch = self._position
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on there; after an epoch's last batch, with the next epoch.

        Raises:
            UserError: when the epoch has fewer batches than the state counts: other data or another batch size.
        """
        epoch, batch = int(state["epoch"]), int(state["batch"])
        if batch > len(self):
            raise UserError(
                f"resume: the checkpoint stands at batch {batch:,} of an epoch, these data make {len(self):,}: "
                "use the data and batch size of the run"
            )
        self._position = (epoch, batch)
        self._next = (epoch + 1, 0) if batch == len(self) else (epoch, batch)

    def _begin(self) -> _Prefetch:
        if self._thread is not None:
            self._thread.stop(wait=True)  # it may be writing to a slot
        epoch, batch = self._next
        self._next, self._position = (epoch, 0), (epoch, batch)
        batches = self.order.batches(epoch)[batch:]
        self._thread = _Prefetch(batches, self._drawn, self.make, self.ahead, self.ring)
        return self._thread


class _Iteration:
    """One pass over the rest of an epoch; begins at its first `next`."""

    def __init__(self, loader: BatchLoader) -> None:
        self._loader = loader
        self._thread: _Prefetch | None = None

    def __iter__(self) -> _Iteration:
        return self

    def __next__(self) -> dict[str, Any]:
        loader = self._loader
        if self._thread is None:
            self._thread = loader._begin()
            weakref.finalize(self, self._thread.stop).atexit = False  # `_stop_all` waits as well
            self._epoch, self._batch = loader._position
        elif self._thread is not loader._thread:
            raise RuntimeError("a newer iteration of this loader has begun: its buffers are shared, draw from that one")
        begin = time.perf_counter()
        batch = self._thread.draw()
        loader.waited += time.perf_counter() - begin
        batch[TOTAL] = loader.order.total(self._batch)
        self._batch += 1
        loader._position = (self._epoch, self._batch)
        loader._drawn += 1
        return batch


class _Prefetch:
    """The thread that makes batches, and the queue they wait in.

    Batch number n of the loader's life lives in slot n % ring. Drawn batches n-1 and n are in use, so the thread may
    make n+1 .. n+ring-2.
    """

    def __init__(
        self,
        batches: list[np.ndarray],
        number: int,
        make: Make,
        ahead: Callable[[np.ndarray], object] | None,
        ring: int,
    ) -> None:
        self._batches, self._number, self._make, self._ahead, self._ring = batches, number, make, ahead, ring
        self._change = threading.Condition()
        self._ready: deque[dict[str, Any]] = deque()
        self._drawn, self._stopped, self._pid = 0, False, os.getpid()
        self._error: BaseException | None = None
        self._fence: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._work, name="limner-batches", daemon=True)
        _RUNNING.add(self)
        self._thread.start()

    def draw(self) -> dict[str, Any]:
        """The next batch; waits for it."""
        if self._pid != os.getpid():
            raise RuntimeError("this iteration began before the process forked: begin a new one")
        with self._change:
            if self._drawn == len(self._batches):
                raise StopIteration
            while not (self._ready or self._error or self._stopped):
                self._change.wait()
            if self._ready:
                self._drawn += 1
                self._fence = cuda_fence()
                self._change.notify_all()
                return self._ready.popleft()
            error, self._error, self._stopped = self._error, None, True
        if error is None:
            raise StopIteration
        if isinstance(error, StopIteration):  # it would end the epoch as if all were well
            raise RuntimeError("making a batch raised StopIteration") from error
        try:
            raise error
        finally:
            del error

    def stop(self, *, wait: bool = False) -> None:
        """Ends the thread after the batch it is making."""
        if self._pid != os.getpid():  # a fork has no such thread
            return
        with self._change:
            self._stopped = True
            self._change.notify_all()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        try:
            for made, indices in enumerate(self._batches):
                with self._change:
                    while made > self._drawn + self._ring - 3 and not self._stopped:
                        self._change.wait()
                    if self._stopped:
                        return
                    fence, self._fence = self._fence, None
                if self._ahead is not None:
                    for near in self._batches[made + 1 : made + 2] if made else self._batches[:2]:
                        self._ahead(near)
                if fence is not None:
                    fence()
                batch = self._make(indices, (self._number + made) % self._ring)
                with self._change:
                    self._ready.append(batch)
                    self._change.notify_all()
                del batch
        except BaseException as error:
            with self._change:
                self._error = error
                self._change.notify_all()


def cuda_fence() -> Callable[[], None] | None:
    """Something to call that waits for all work queued on the current CUDA stream so far; None without CUDA.

    A copy from pinned memory returns before it has read it: the memory must not be filled again earlier.
    """
    torch = sys.modules.get("torch")  # no torch, no copies
    if torch is None or not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event()
    event.record()
    return event.synchronize


_RUNNING: weakref.WeakSet[_Prefetch] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Before the interpreter goes: a thread that runs on inside a dying interpreter can crash it."""
    for thread in list(_RUNNING):
        thread.stop(wait=True)
