"""Tokens of a batch: rows of a flat list, padded on the right."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pad_tokens(flat: np.ndarray, offsets: np.ndarray, items: np.ndarray, pad: int) -> Tensor:
    """Tokens (B,T) int64 of some items of a flat list, right-padded to the longest with the id `pad`; T >= 1.

    Args:
        flat: (N,) token ids of all items, one after another. offsets: (Q+1,) where each item begins.
        items: (B,) which items.
    """
    starts, lengths = offsets[items], offsets[items + 1] - offsets[items]
    width = max(int(lengths.max(initial=0)), 1)
    columns = np.arange(width)
    if not len(flat):
        return torch.full((len(items), width), pad, dtype=torch.long)
    gathered = flat[np.minimum(starts[:, None] + columns, len(flat) - 1)].astype(np.int64)
    return torch.from_numpy(np.where(columns < lengths[:, None], gathered, pad))
