"""Gradients of what all steps of a recurrence share: noted at each step, added up once.

Autograd adds a gradient as large as the weight at every step: 200 MB a step for the LSTMs of a captioner, for matrix
products of a hundred rows. Here a step only notes what its share is made of (the gradient of its outputs, its inputs),
and one product over the rows of many steps makes the gradient when the last step has gone backwards.

How it works: `Ledger.share` makes a 0-dim handle that depends on the shared tensors. Every step takes the handle as an
input, so autograd goes back through the handle when all steps have been, and there the ledger settles. Steps may be
any graph: rows may leave, be copied or be chosen between steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 2048  # noted rows at which they are multiplied and forgotten: large enough for a fast product


class Ledger(ABC):
    """What steps owe to the tensors `values` that they share. Kinds of ledgers say how a share is noted.

    `needed[k]`: whether value k gets a gradient at all.
    """

    def __init__(self, *values: Tensor) -> None:
        self.values = [value.detach() for value in values]
        self.needed = [value.requires_grad and torch.is_grad_enabled() for value in values]
        self._versions = self.versions()
        self._pass = -1

    def versions(self) -> list[int]:
        """How often each value that gets a gradient was changed in place; tensors of inference mode do not count it."""
        return [value._version for value, needed in zip(self.values, self.needed) if needed]

    def share(self, *values: Tensor) -> Tensor:
        """The handle that every step must take as an input; `values` as given to the constructor."""
        return _Share.apply(self, *values)

    def open(self) -> None:
        """Called first in the backward of a step: what an earlier, unfinished backward pass noted does not count.

        Raises:
            RuntimeError: the values were changed since the forward pass, by an optimiser's step for example.
        """
        current = torch._C._current_graph_task_id()  # a number for each backward pass
        if current == self._pass:
            return
        if self.versions() != self._versions:
            raise RuntimeError("weights of the captioner were changed between the forward and the backward pass")
        self.clear()
        self._pass = current

    @abstractmethod
    def clear(self) -> None:
        """Forgets everything noted."""

    @abstractmethod
    def settle(self) -> Sequence[Tensor | None]:
        """The gradient of each value from what was noted."""


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ledger: Ledger, *values: Tensor) -> Tensor:
        ctx.ledger = ledger
        return values[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, _: Tensor):
        ctx.ledger.open()
        gradients = ctx.ledger.settle()
        ctx.ledger.clear()
        return None, *(g if wanted else None for g, wanted in zip(gradients, ctx.ledger.needed))


class LinearLedger(Ledger):
    """Linear maps: blocks of columns of one or more matrices, each block with its own input.

    Args:
        blocks: name -> (which of the values, first column, last column + 1); they must cover every column.
        values: matrices `(outputs, inputs)`.
    """

    def __init__(self, blocks: dict[str, tuple[int, int, int]], *values: Tensor) -> None:
        super().__init__(*values)
        self.blocks = blocks
        self.clear()

    def weight(self, name: str) -> Tensor:
        """The block `(outputs, inputs)`: a view."""
        which, first, last = self.blocks[name]
        return self.values[which][:, first:last]

    def note(self, doutputs: Tensor, inputs: dict[str, Tensor]) -> None:
        """The gradient of outputs `(n, outputs)` that are a sum of blocks of `inputs (n, *)`."""
        names = tuple(inputs)
        if not names:
            return
        self.noted.setdefault(names, []).append((doutputs, *inputs.values()))
        if sum(len(entry[0]) for entry in self.noted[names]) >= ROWS:
            self.multiply(names)

    def multiply(self, names: tuple[str, ...]) -> None:
        """Adds what is noted for these blocks to their gradients."""
        noted = self.noted.pop(names)
        douts, *inputs = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*noted))
        for name, x in zip(names, inputs):
            which, first, last = self.blocks[name]
            if self.gradients[which] is None:
                self.gradients[which] = torch.empty_like(self.values[which], memory_format=torch.contiguous_format)
            target = self.gradients[which][:, first:last]
            if name in self.started:
                target.addmm_(douts.t(), x)
            else:
                torch.mm(douts.t(), x, out=target)
                self.started.add(name)

    def clear(self) -> None:
        self.noted: dict[tuple[str, ...], list[tuple[Tensor, ...]]] = {}
        self.started: set[str] = set()
        self.gradients: list[Any] = [None] * len(self.values)

    def settle(self) -> Sequence[Tensor | None]:
        for names in list(self.noted):
            self.multiply(names)
        for name, (which, first, last) in self.blocks.items():
            if self.gradients[which] is not None and name not in self.started:
                self.gradients[which][:, first:last] = 0
        return self.gradients


class _Map(torch.autograd.Function):
    """x W^T for one block, onto rows of `base` when there is one."""

    @staticmethod
    def forward(ctx, handle, ledger: LinearLedger, name: str, x: Tensor, base: Tensor | None, rows: Tensor | None):
        ctx.save_for_backward(x, rows)
        ctx.ledger, ctx.name = ledger, name
        ctx.base = None if base is None else base.shape
        weight = ledger.weight(name).t()
        if rows is not None:
            assert base is not None
            return base.index_select(0, rows).addmm_(x, weight)
        return torch.mm(x, weight) if base is None else torch.addmm(base, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):
        x, rows = ctx.saved_tensors
        ledger, need = ctx.ledger, ctx.needs_input_grad
        if need[0]:
            ledger.open()
            ledger.note(dout, {ctx.name: x})
        dx = torch.mm(dout, ledger.weight(ctx.name)) if need[3] else None
        dbase = None
        if need[4]:
            dbase = dout.sum_to_size(ctx.base) if rows is None else dout.new_zeros(ctx.base).index_add_(0, rows, dout)
        return dout.new_zeros(()), None, None, dx, dbase, None


def linear_map(
    handle: Tensor, ledger: LinearLedger, name: str, x: Tensor, base: Tensor | None = None, rows: Tensor | None = None
) -> Tensor:
    """`x W^T` with the block `name`: `x (n, inputs)` to `(n, outputs)`.

    Args:
        base: added: `(n, outputs)` or `(outputs,)`, or with `rows (n,)` any `(m, outputs)`, of which each takes one.
    """
    return _Map.apply(handle, ledger, name, x, base, rows)
