"""Many sequences through ViLBERT in parts that fit into memory and cache, with the numbers of one large batch.

Sequences of like length go together, as many as a budget of rows allows. With gradients each part but the last is
computed twice: first without a graph, then, when the gradient of its outputs is known, again with one, its random
numbers replayed. So a loss over all 100 options of a round has exact gradients in the memory of one part.

Shapes: N sequences, L tokens, I images, R regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ROWS = 2048  # tokens and regions of a part


def in_parts(function: Callable[..., Tensor], parts: Sequence[Sequence[Any]]) -> Tensor:
    """`torch.cat([function(*part) for part in parts])`, and its gradient, in the memory of the largest part.

    Args:
        function: returns one tensor; it may draw random numbers and read modules that need gradients.
        parts: the arguments of each call.
    """
    if not torch.is_grad_enabled():
        return torch.cat([function(*part) for part in parts])
    *early, last = parts
    kept = [checkpoint(function, *part, use_reentrant=False) for part in early]
    return torch.cat([*kept, function(*last)])  # backward begins with the last: its graph can stay


def by_length(lengths: Sequence[int], *, rows: int = ROWS, extra: int = 0) -> list[list[int]]:
    """Numbers of sequences in parts of like length, each part with at most `rows` rows, or one sequence.

    Args:
        lengths: tokens of each sequence. extra: rows that come with each sequence (its regions).
    """
    parts: list[list[int]] = []
    used = rows + 1
    for k in sorted(range(len(lengths)), key=lengths.__getitem__):
        if used + lengths[k] + extra > rows:
            parts.append([])
            used = 0
        parts[-1].append(k)
        used += lengths[k] + extra
    return parts


def alignment_in_parts(
    model: nn.Module,
    tokens: Tensor,
    segments: Tensor,
    text_mask: Tensor,
    feats: Tensor | None = None,
    boxes: Tensor | None = None,
    mask: Tensor | None = None,
    image: Tensor | None = None,
    *,
    rows: int = ROWS,
) -> Tensor:
    """The alignment `(N, 2)` of many sequences; arguments as for `ViLBERT.forward`, in parts of `rows` rows."""
    lengths = text_mask.sum(1).tolist()
    where = tokens.new_tensor(range(len(tokens))) if image is None else image

    def part(chosen: Tensor, longest: int) -> Tensor:
        text = (x[chosen, :longest] for x in (tokens, segments, text_mask))
        if feats is None or boxes is None or mask is None:
            return model(*text).alignment
        used, image = where[chosen].unique(return_inverse=True)
        return model(*text, feats[used], boxes[used], mask[used], image).alignment

    found = by_length(lengths, rows=rows, extra=0 if mask is None else mask.shape[1]) or [[]]
    ends = text_mask.shape[1] - text_mask.flip(1).to(torch.uint8).argmax(1)  # where the last real token ends
    longest = ends.tolist()
    parts = [(tokens.new_tensor(each), max((longest[k] for k in each), default=1)) for each in found]
    order = torch.cat([chosen for chosen, _ in parts])
    return in_parts(part, parts)[order.argsort()]
