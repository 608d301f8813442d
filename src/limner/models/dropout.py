"""Dropout that costs little on a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limner.models.attention import keep_mask


def dropped(x: Tensor, drop: float, training: bool) -> Tensor:
    """Dropout; on a CPU with a mask that costs a sixth of torch's (`keep_mask`)."""
    if not training or not drop:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, drop)
    mask, scale = keep_mask(x.shape, drop, x.device)
    return x * mask.to(x.dtype).mul_(scale)
