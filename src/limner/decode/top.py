"""Reductions over the words: the k largest with ties decided (torch.topk leaves them open), and the normaliser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS = 32  # of ten thousand words: temporary values of so many rows stay in a core's cache


def pieces(scores: Tensor) -> Sequence[Tensor]:
    """The rows in pieces whose temporary values stay in cache, on a CPU; a GPU takes all at once."""
    return scores.split(ROWS) if scores.device.type == "cpu" else (scores,)


def log_total(scores: Tensor) -> Tensor:
    """`scores.logsumexp(1, keepdim=True)`, which takes twice the time when its temporary matrix leaves the cache."""
    return torch.cat([rows.logsumexp(1, keepdim=True) for rows in pieces(scores)])


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row, largest first; equal scores in the order of their column.

    One `topk` pass, and a second look only at rows that do hold equal scores there. The columns of -inf are not
    defined: a caller takes -inf for "there is none".

    Args:
        scores: (N,W).
        k: how many; all W when k is larger.

    Returns:
        Scores and columns, both (N,k).
    """
    width = scores.shape[1]
    k = min(k, width)
    if k > width // 8:  # where a whole sort is the faster way
        values, columns = torch.sort(scores, dim=1, descending=True, stable=True)
        return values[:, :k], columns[:, :k]
    values, columns = scores.topk(min(k + 1, width), dim=1)
    tied = ((values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)).any(1)
    values, columns = values[:, :k], columns[:, :k]
    rows = tied.nonzero().flatten()
    if len(rows):
        values, columns = values.clone(), columns.clone()
        values[rows], columns[rows] = _in_order(scores[rows], values[rows], columns[rows])
    return values, columns


def _in_order(scores: Tensor, values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The same for rows with ties: all that is above the k-th score, then the first columns that equal it."""
    n, k = values.shape
    width = scores.shape[1]
    last = values[:, -1:]
    above = torch.where(values > last, columns, width)
    numbers = torch.arange(width, device=scores.device)
    equal = torch.where(scores == last, numbers, width).topk(k, dim=1, largest=False).values
    found = torch.cat([above, equal], 1).sort(dim=1).values  # by column, so that the stable sort keeps that order
    padded = torch.cat([scores, scores.new_full((n, 1), -torch.inf)], 1)  # column W: none
    values, order = padded.gather(1, found).sort(dim=1, descending=True, stable=True)
    return values[:, :k], found.gather(1, order)[:, :k].clamp(max=width - 1)
