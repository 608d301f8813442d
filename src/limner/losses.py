"""Losses as pure functions that return a sum and a count.

A mean over a batch changes with the size of the last batch, the number of processes and gradient accumulation. A sum
and a count do not: add both over whatever was computed, then divide once.

Shapes: B questions, A answers; `logits (B, A)` before any non-linearity; `scores (B, A)` soft scores in [0, 1].
All VQA losses are sums over answers; their mean is over questions. They are computed in float32 or better.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(NamedTuple):
    """`total`: a 0-dim tensor, the sum over items; `count`: how many items it is a sum over."""

    total: Tensor
    count: int  # type: ignore[assignment]  # the method of the same name is of no use here

    @property
    def mean(self) -> Tensor:
        """The mean over items (0 when there are none)."""
        return self.total / max(self.count, 1)


def full(logits: Tensor) -> Tensor:
    """In float32 or better."""
    return logits if logits.dtype == torch.float64 else logits.float()


def soft_bce(logits: Tensor, scores: Tensor) -> Loss:
    """Binary cross-entropy with soft scores (Teney et al. 2018; the loss of the published Up-Down VQA code).

    Its mean is what that code calls the mean of the binary cross-entropy times the number of answers.
    """
    logits = full(logits)
    total = F.binary_cross_entropy_with_logits(logits, scores.to(logits.dtype), reduction="sum")
    return Loss(total, len(logits))


def hard_bce(logits: Tensor, scores: Tensor) -> Loss:
    """Binary cross-entropy with the best answer as 1 and all others as 0 (the "hard scores" of Teney et al. 2018).

    The first best answer counts where several are equal; a question with no score at all has no 1.
    """
    best = scores.argmax(dim=1, keepdim=True)
    hard = torch.zeros_like(scores).scatter_(1, best, (scores.gather(1, best) > 0).to(scores.dtype))
    return soft_bce(logits, hard)


def softmax_ce(logits: Tensor, scores: Tensor) -> Loss:
    """Softmax cross-entropy weighted by soft scores: -sum_a s_a log softmax(x)_a (Kazemi and Elqursh 2017, with
    soft scores in the place of the average over annotators).

    Questions with a high total score weigh more; one with no score adds nothing but is counted.
    """
    logits = full(logits)
    return Loss(-(scores.to(logits.dtype) * F.log_softmax(logits, dim=1)).sum(), len(logits))


def softmax_kl(logits: Tensor, scores: Tensor) -> Loss:
    """KL(s / sum(s) || softmax(x)): softmax cross-entropy less the entropy of the target.

    Every question weighs the same; one with no score adds nothing but is counted.
    """
    logits = full(logits)
    scores = scores.to(logits.dtype)
    mass = scores.sum(dim=1, keepdim=True)
    target = scores / torch.where(mass > 0, mass, torch.ones_like(mass))
    return Loss(F.kl_div(F.log_softmax(logits, dim=1), target, reduction="sum"), len(logits))
