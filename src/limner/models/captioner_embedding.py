"""Words in: rows of a word matrix for the steps of a recurrence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limner.models.captioner_ledger import Ledger


class EmbeddingLedger(Ledger):
    """A word matrix that every step takes rows of: its gradient, as large as itself, is made once and not at each."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix)
        self.clear()

    def clear(self) -> None:
        self.noted: list[tuple[Tensor, Tensor]] = []

    def settle(self) -> Sequence[Tensor | None]:
        if not self.noted:
            return (None,)
        tokens, drows = (torch.cat(parts) for parts in zip(*self.noted))
        (matrix,) = self.values
        return (torch.ops.aten.embedding_dense_backward(drows, tokens, len(matrix), -1, False).to(matrix.dtype),)


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, handle: Tensor, ledger: EmbeddingLedger, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.ledger = ledger
        return ledger.values[0].index_select(0, tokens).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, drows: Tensor):
        ctx.ledger.open()
        ctx.ledger.noted.append((ctx.saved_tensors[0], drows))
        return drows.new_zeros((), dtype=ctx.ledger.values[0].dtype), None, None, None


def embed(handle: Tensor, ledger: EmbeddingLedger, tokens: Tensor, dtype: torch.dtype) -> Tensor:
    """Rows of the word matrix: `tokens (n,)` to `(n, E)` of type `dtype`."""
    return _Embed.apply(handle, ledger, tokens, dtype)
