"""Additive attention over the regions of an image for all of its captions, without a copy of the regions a caption.

    a_r = w^T tanh(W_v v_r + W_h h),  alpha = softmax(a),  pooled = sum_r alpha_r v_r        (paper, eq. 3-5)

`keys` = W_v v_r are made once an image. tanh(keys + query), the largest thing of a captioner in training (P x R x A
numbers: 400 MB for 500 captions), is made a few rows at a time in the cache and made again in the backward pass: that
costs less than writing and reading it.

On a CPU a sigmoid takes a third of the time of a tanh, and tanh(x) = 2 s(2x) - 1. So keys and queries come here
doubled, and w^T tanh(x) = 2 w^T s(2x) - sum(w), of which the softmax does not see the last term.

Shapes: I images, R regions, F features, A attention size, n rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from limner.models.attention import CHUNK
from limner.models.captioner_ledger import Ledger
from limner.models.regions import Groups, group


class RegionLedger(Ledger):
    """Regions `(I, R, F)`, keys `(I, R, A)` and the score weight `(A,)`, which all steps share."""

    def __init__(self, regions: Tensor, keys: Tensor, weight: Tensor) -> None:
        super().__init__(regions, keys, weight)
        self.regions, self.keys, self.weight = self.values
        self.clear()

    def clear(self) -> None:
        self.pooled: list[tuple[Tensor, Tensor, Tensor]] = []  # image, weights, gradient of the pooled regions
        self.dkeys: Tensor | None = None
        self.dweight: Tensor | None = None

    def settle(self) -> Sequence[Tensor | None]:
        dregions = None
        if self.pooled:
            image, weights, dpooled = (torch.cat(parts) for parts in zip(*self.pooled))
            groups = group(image, len(self.regions))
            dregions = torch.bmm(groups.spread(weights).mT, groups.spread(dpooled))  # [i, r, f]
        dkeys = None if self.dkeys is None else self.dkeys.mul_(self.weight)
        return dregions, dkeys, self.dweight


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, handle: Tensor, ledger: RegionLedger, query: Tensor, image: Tensor) -> Tensor:
        regions = ledger.keys.shape[1]
        scores = query.new_empty(len(query), regions)
        for part in _chunks(ledger.keys, len(query)):
            torch.mv(_joint(ledger, query, image, part).flatten(0, 1), ledger.weight, out=scores[part].view(-1))
        ctx.save_for_backward(query, image)
        ctx.ledger = ledger
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx, dscores: Tensor):
        query, image = ctx.saved_tensors
        ledger: RegionLedger = ctx.ledger
        ledger.open()
        _, want_keys, want_weight = ledger.needed
        if want_keys and ledger.dkeys is None:
            ledger.dkeys = torch.zeros_like(ledger.keys)
        if want_weight and ledger.dweight is None:
            ledger.dweight = torch.zeros_like(ledger.weight)
        dscores = dscores.contiguous()
        dquery = torch.empty_like(query)
        for part in _chunks(ledger.keys, len(query)):
            joint, dpart = _joint(ledger, query, image, part), dscores[part]
            if ledger.dweight is not None:
                ledger.dweight.addmv_(joint.flatten(0, 1).t(), dpart.view(-1))
            slope = torch.addcmul(joint, joint, joint, value=-1)  # s (1 - s): [b, r, a]
            torch.bmm(dpart.unsqueeze(1), slope, out=dquery[part].unsqueeze(1))
            if ledger.dkeys is not None:
                ledger.dkeys.index_add_(0, image[part], slope.mul_(dpart.unsqueeze(2)))
        return dquery.new_zeros(()), None, dquery.mul_(ledger.weight), None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, handle: Tensor, ledger: RegionLedger, weights: Tensor, image: Tensor, groups: Groups) -> Tensor:
        ctx.save_for_backward(weights, image)
        ctx.ledger, ctx.groups = ledger, groups
        return groups.collect(torch.bmm(groups.spread(weights), ledger.regions))

    @staticmethod
    @once_differentiable
    def backward(ctx, dpooled: Tensor):
        weights, image = ctx.saved_tensors
        ledger: RegionLedger = ctx.ledger
        ledger.open()
        if ledger.needed[0]:
            ledger.pooled.append((image, weights, dpooled))
        dweights = ctx.groups.collect(torch.bmm(ctx.groups.spread(dpooled), ledger.regions.mT))
        return dpooled.new_zeros(()), None, dweights, None, None


def _chunks(keys: Tensor, count: int) -> list[slice]:
    """Rows whose joint with their regions stays in a cache."""
    step = max(1, CHUNK.get(keys.device.type, 1 << 20) // max(1, keys.shape[1] * keys.shape[2]))
    return [slice(a, min(a + step, count)) for a in range(0, count, step)]


def _joint(ledger: RegionLedger, query: Tensor, image: Tensor, part: slice) -> Tensor:
    """sigmoid(keys + query) of some rows: `(b, R, A)`, fresh."""
    return ledger.keys.index_select(0, image[part]).add_(query[part].unsqueeze(1)).sigmoid_()


def scores(handle: Tensor, ledger: RegionLedger, query: Tensor, image: Tensor) -> Tensor:
    """`w^T sigmoid(keys + query)`: `query (n, A)` and `image (n,)`, the row of each query's image, to `(n, R)`."""
    return _Scores.apply(handle, ledger, query, image)


def pool(handle: Tensor, ledger: RegionLedger, weights: Tensor, image: Tensor, groups: Groups) -> Tensor:
    """Weighted sums of regions: `weights (n, R)` to `(n, F)`. `groups`: the rows by image."""
    return _Pool.apply(handle, ledger, weights, image, groups)
