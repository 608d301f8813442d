"""Which captions take part in which step when nothing is computed for padding.

Shapes: N captions, T words, P real tokens, H hidden, R regions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Captions sorted by length, longest first, so that those of a step are always the first so many.

    order: `(N,)`, the caption that stands at each place. counts: captions in each step.
    place, step: `(P,)`, of every real token, step by step.
    """

    order: Tensor
    counts: list[int]
    place: Tensor
    step: Tensor


def pack(lengths: Tensor) -> Packing:
    """The packing of captions with `lengths (N,)` tokens; of equal ones, the first stays first."""
    lengths, order = torch.sort(lengths, descending=True, stable=True)
    steps = torch.arange(int(lengths[0]) if len(lengths) else 0, device=lengths.device)
    real = lengths > steps.unsqueeze(1)  # [t, n]
    step, place = real.nonzero(as_tuple=True)
    return Packing(order, real.sum(1).tolist(), place, step)


class PackedStates(NamedTuple):
    """The real tokens of a batch, step by step, longest captions first: `hidden (P, H)` after dropout, `caption (P,)`
    the row of the caption, `step (P,)` the position, `attention (P, R)`."""

    hidden: Tensor
    caption: Tensor
    step: Tensor
    attention: Tensor

    def targets(self, tokens: Tensor) -> Tensor:
        """`(P,)`: what is to be predicted, of `tokens (N, T+1)`."""
        return tokens[self.caption, self.step + 1]
