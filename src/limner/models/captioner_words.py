"""The word layer over the hidden states of all of a batch's tokens at once, and its losses.

The word layer has 10,000 outputs and more, so log-probabilities of a batch's P tokens are hundreds of megabytes, and
what a loss needs of them is one number a token. Here P is taken a few hundred rows at a time, and nothing of size
(P, outputs) is kept.

Work a token, in units of H x outputs multiply-adds: logits 1, gradient of the hidden state 1, of the weight 1. The
gradient of a sum with known factors, sum_p w_p log p(target_p), can be made in the forward pass while the logits are
there: 3 (`word_loss`). For log-probabilities that go through something else first, logits are made twice: 4
(`word_layer_log_probs`), a third more; keeping them would be 1 write and 1 read of (P, outputs).

Shapes: P tokens, H hidden, W outputs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = {"cpu": 512, "cuda": 4096}  # tokens at a time: 20 MB of logits for 10,011 outputs


class WordLoss(NamedTuple):
    """`total ()`: the weighted sum; `log_probs (P,)`: of the targets, without a gradient."""

    total: Tensor
    log_probs: Tensor


class _Gradients(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor


def _run(hidden, weight, bias, targets, factors, smoothing, gradients):
    """Log-probabilities `(P,)` of the targets, losses `(P,)`, and gradients of sum(factors * loss) when asked for."""
    pieces = -(-len(hidden) // ROWS.get(hidden.device.type, 512))
    rows, outputs = -(-len(hidden) // max(pieces, 1)), len(weight)  # all pieces alike: a small product is a slow one
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    log_probs = torch.empty(len(hidden), dtype=wide, device=hidden.device)
    losses = torch.empty_like(log_probs)
    made = None
    if gradients:
        made = _Gradients(torch.empty_like(hidden), torch.empty_like(weight), torch.zeros_like(bias))
        if not len(hidden):
            made.weight.zero_()
    space = hidden.new_full((rows, _aligned(outputs)), -torch.inf)
    rest = smoothing / max(outputs - 1, 1)
    entropy = (1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(rest) if smoothing else 0.0
    for a in range(0, len(hidden), max(rows, 1)):
        part = slice(a, min(a + rows, len(hidden)))
        x, target = hidden[part], targets[part, None]
        logits = space[: len(x)]
        torch.addmm(bias, x, weight.t(), out=logits[:, :outputs])
        logp = torch.log_softmax(logits, 1, dtype=wide)
        log_probs[part] = logp.gather(1, target).squeeze(1)
        losses[part] = -log_probs[part]
        if smoothing:
            others = logp[:, :outputs].sum(1) - log_probs[part]
            losses[part] = entropy - (1 - smoothing) * log_probs[part] - rest * others
        if made is None:
            continue
        dlogits = logp.exp_()
        if smoothing:
            dlogits.sub_(rest)
        dlogits.scatter_add_(1, target, dlogits.new_full((1, 1), rest - (1 - smoothing)).expand(len(x), 1))
        # as if every factor were 1: factors are put on the smaller sides
        dlogits, factor = dlogits.to(x.dtype)[:, :outputs], factors[part].to(x.dtype)
        torch.mm(dlogits, weight, out=made.hidden[part]).mul_(factor.unsqueeze(1))
        torch.addmm(made.weight, dlogits.t(), x * factor.unsqueeze(1), beta=1 if a else 0, out=made.weight)
        made.bias.addmv_(dlogits.t(), factor)
    return log_probs, losses, made


def _aligned(outputs: int) -> int:
    """Columns of a matrix whose rows start at multiples of 64 bytes: a product into it is half as fast again."""
    return -(-outputs // 16) * 16


class _WordLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, factors, smoothing, wanted):
        with torch.autocast(hidden.device.type, enabled=False):
            log_probs, losses, ctx.made = _run(hidden, weight, bias, targets, factors, smoothing, wanted)
        ctx.save_for_backward(hidden, weight, bias, targets, factors)
        ctx.smoothing = smoothing
        ctx.mark_non_differentiable(log_probs)
        return (losses * factors).sum(), log_probs

    @staticmethod
    @once_differentiable
    def backward(ctx, dtotal, _):
        made, ctx.made = ctx.made, None  # they are given away: a second backward pass has to make them again
        if made is None:
            with torch.autocast(dtotal.device.type, enabled=False):
                hidden, weight, bias, targets, factors = ctx.saved_tensors
                made = _run(hidden, weight, bias, targets, factors, ctx.smoothing, True)[2]
        return *(g.mul_(dtotal.to(g.dtype)) for g in made), None, None, None, None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        ctx.save_for_backward(hidden, weight, bias, targets)
        with torch.autocast(hidden.device.type, enabled=False):
            return _run(hidden, weight, bias, targets, None, 0.0, False)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, dlog_probs):
        hidden, weight, bias, targets = ctx.saved_tensors
        with torch.autocast(hidden.device.type, enabled=False):
            return *_run(hidden, weight, bias, targets, -dlog_probs, 0.0, True)[2], None


def word_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    factors: Tensor | None = None,
    smoothing: float = 0.0,
) -> WordLoss:
    """sum_p factors_p x loss_p, where loss_p is the cross-entropy of token p.

    Args:
        hidden: `(P, H)`. weight: `(W, H)`. bias: `(W,)`. targets: `(P,)` int64.
        factors: `(P,)` without a gradient; None: 1. Cross-entropy: 1; policy gradient: the advantages.
        smoothing: s in [0, 1): loss_p is the divergence KL(q || p) from the target distribution q, 1 - s at the target
            and s / (W - 1) elsewhere (Szegedy et al. 2016, eq. 12; the published captioners' form). 0: -log p.
    """
    if factors is None:
        factors = torch.ones(len(hidden), device=hidden.device)
    hidden, weight, bias = _cast(hidden, weight, bias)
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (hidden, weight, bias))
    return WordLoss(*_WordLoss.apply(hidden, weight, bias, targets, factors.detach().to(wide), smoothing, wanted))


def word_logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """W h + b: `hidden (*, H)` to `(*, W)`. Without a gradient its rows may lie further apart than W numbers."""
    if torch.is_grad_enabled() or hidden.dim() != 2 or hidden.device.type != "cpu":
        return F.linear(hidden.to(weight.dtype), weight, bias)
    hidden, weight, bias = _cast(hidden, weight, bias)
    logits = hidden.new_empty(len(hidden), _aligned(len(weight)))[:, : len(weight)]
    return torch.addmm(bias, hidden, weight.t(), out=logits)


def word_layer_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """log softmax(W h + b) at the targets, `(P,)`, with a gradient; arguments as for `word_loss`.

    The backward pass makes the logits again. Where the loss is a sum with factors that are known, `word_loss` is
    cheaper by a quarter.
    """
    return _LogProbs.apply(*_cast(hidden, weight, bias), targets)


def _cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """To the type that matrix products are made in: autocast's, or the weight's."""
    device = tensors[1].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensors[1].dtype
    return tuple(tensor.to(dtype) for tensor in tensors)
