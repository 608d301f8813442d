"""Sequences of different lengths as rows of one matrix, so that padding is not computed.

Sequences are sorted by length and cut into groups; the tokens of a group stand together, each sequence padded to the
longest of its group. Linear layers see one matrix of rows, attention sees a group as `(sequences, length)`, and a
group of equal lengths needs no mask at all. Where a kernel is cheap beside a token (a CPU, a large model), every
length is a group of its own; where it is dear (a GPU, a tiny model), a little padding buys fewer groups.

Shapes: N sequences, L padded length, P rows (tokens that are computed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

GROUP_FLOP = {"cpu": 8e6, "cuda": 4e9}  # what could be multiplied in the time that one more group takes in a layer


class Group(NamedTuple):
    """Sequences that stand together: how many, their padded length, and `mask (sequences, length)`, True where a token
    is real; None where all are."""

    sequences: int
    length: int
    mask: Tensor | None

    @property
    def rows(self) -> int:
        return self.sequences * self.length


class Layout:
    """Where each token of a batch stands in the matrix of rows.

    Args:
        mask: `(N, L)` bool, True where a token is real; each sequence has one at least.
        row_flop: floating-point operations of one row in one layer, which decide what a group is worth.
        whole: compute every position of `mask`, in order, as one group: rows are then `(N, L)` flattened.

    Attributes:
        order: `(N,)`, the sequence that stands k-th; inverse: `(N,)`, where each sequence stands.
        groups: the groups, in the order of the rows.
        index: `(P,)`, position in the flattened `(N, L)` of each row.
        first: `(N,)`, the row of each sequence's first token, in the order of the rows.
    """

    def __init__(self, mask: Tensor, *, row_flop: float = 1e6, whole: bool = False) -> None:
        self.shape, device = mask.shape, mask.device
        sequences, longest = mask.shape
        lengths = [longest] * sequences if whole else mask.sum(1).tolist()
        if whole:
            self.order = torch.arange(sequences, device=device)
            columns = torch.arange(longest, device=device).expand(sequences, -1)
        else:
            ascending = sorted(range(sequences), key=lengths.__getitem__)
            lengths = [lengths[k] for k in ascending]
            self.order = torch.tensor(ascending, dtype=torch.long, device=device)
            columns = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[self.order]  # real tokens first
        self.inverse = self.order.argsort()
        cuts = [(0, sequences)] if whole else cut(lengths, GROUP_FLOP.get(device.type, 4e9) / row_flop)
        padded = [lengths[b - 1] for a, b in cuts for _ in range(a, b)]
        starts = [0]
        for length in padded:
            starts.append(starts[-1] + length)
        self.first = torch.tensor(starts[:-1], dtype=torch.long, device=device)
        repeats = torch.tensor(padded, dtype=torch.long, device=device)
        sequence = torch.repeat_interleave(repeats, output_size=starts[-1])
        slot = torch.arange(starts[-1], device=device) - self.first[sequence]
        self.index = self.order[sequence] * longest + columns[sequence, slot]
        ordered = mask[self.order]
        self.groups = tuple(self._group(ordered[a:b], lengths[a:b], whole) for a, b in cuts) or (Group(0, 1, None),)

    @staticmethod
    def _group(mask: Tensor, lengths: list[int], whole: bool) -> Group:
        if whole:
            return Group(len(mask), mask.shape[1], mask)
        if lengths[0] == lengths[-1]:
            return Group(len(lengths), lengths[-1], None)
        real = torch.tensor(lengths, device=mask.device)
        return Group(len(lengths), lengths[-1], torch.arange(lengths[-1], device=mask.device) < real[:, None])

    def rows_at(self, chosen: Tensor) -> Tensor:
        """The rows of the tokens that `chosen (N, L)` bool marks, in reading order; only real tokens may be marked."""
        place = self.index.new_full((self.shape.numel(),), self.shape.numel())  # out of range: index_select refuses it
        place[self.index] = torch.arange(len(self.index), device=self.index.device)
        return place[chosen.flatten().nonzero().squeeze(1)]

    def padded(self, rows: Tensor) -> Tensor:
        """`(P, *)` to `(N, L, *)`, zero where a token was not computed."""
        out = rows.new_zeros(self.shape.numel(), *rows.shape[1:]).index_copy(0, self.index, rows)
        return out.unflatten(0, self.shape)


def cut(lengths: Sequence[int], cost: float) -> list[tuple[int, int]]:
    """Cuts ascending `lengths` into groups `(from, to)` with the least sum of padded rows and `cost` a group."""
    ends = [k + 1 for k in range(len(lengths)) if k + 1 == len(lengths) or lengths[k + 1] != lengths[k]]
    best: list[tuple[float, int]] = [(0.0, 0)]  # for each end: the least cost up to it, and where its last group begins
    places = [0, *ends]
    for j, end in enumerate(ends, start=1):
        options = ((best[i][0] + (end - places[i]) * lengths[end - 1] + cost, i) for i in range(j))
        best.append(min(options))
    found, j = [], len(ends)
    while j:
        i = best[j][1]
        found.append((places[i], places[j]))
        j = i
    return found[::-1]
