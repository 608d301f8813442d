"""The regions of a batch's images: projected once an image, pooled for every question about it.

Many questions share an image (5.4 on average in VQA v2), so nothing here is ever copied to every question. And
features are stored in half precision: a float32 copy of a whole batch (151 MB for 512 x 36 x 2048) costs more than
all the conversions, so on a CPU they are converted a block at a time, again where they are needed again.

Shapes: I images, R regions, D features, B questions, G glimpses, Q the most questions of one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from limner.models.layers import WeightNormLinear

BLOCK = 2304  # regions converted at a time: large enough for a fast matrix product, small enough for a cache


class Groups(NamedTuple):
    """Where each question stands among the questions of its image.

    `slot (B,)`: its row when the questions are laid out as (I * Q); `images` = I, `most` = Q.
    """

    slot: Tensor
    images: int
    most: int

    def spread(self, x: Tensor) -> Tensor:
        """Per question `(B, ...)` to per image `(I, Q, ...)`, zero where an image has fewer than Q questions."""
        rows = x.new_zeros(self.images * self.most, *x.shape[1:]).index_copy(0, self.slot, x)
        return rows.unflatten(0, (self.images, self.most))

    def collect(self, x: Tensor) -> Tensor:
        """Per image `(I, Q, ...)` to per question `(B, ...)`."""
        return x.flatten(0, 1).index_select(0, self.slot)


def group(image: Tensor, images: int) -> Groups:
    """Group questions by `image (B,)`, the row of each question's image among `images` rows."""
    counts = torch.bincount(image, minlength=images)
    most = max(int(counts.max()), 1) if len(image) else 1
    order = torch.argsort(image, stable=True)
    rank = torch.empty_like(image)
    rank[order] = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image[order]]
    return Groups(image * most + rank, images, most)


@dataclass
class RegionBatch:
    """`feats (I, R, D)` as stored, `mask (I, R)` True where real, `image (B,)` the row of each question's image.

    `dtype`: what to compute in. `normalize`: scale the features of each region to length 1.
    """

    feats: Tensor
    mask: Tensor
    image: Tensor
    dtype: torch.dtype
    normalize: bool = False

    @cached_property
    def groups(self) -> Groups:
        """The questions by image."""
        return group(self.image, len(self.feats))

    @cached_property
    def question_mask(self) -> Tensor:
        """`(B, R)`: the mask of each question's image."""
        return self.mask[self.image]

    @cached_property
    def in_blocks(self) -> bool:
        """Whether to convert a block at a time: on a CPU, for features that need no gradient."""
        exact = self.dtype in (torch.float32, torch.float64)
        return exact and not self.feats.is_cuda and not self.feats.requires_grad

    @cached_property
    def whole(self) -> Tensor:
        """All features, ready to compute with."""
        return self.ready(self.feats)

    def ready(self, feats: Tensor) -> Tensor:
        """Some features, ready to compute with."""
        feats = feats.to(self.dtype)
        return F.normalize(feats, dim=-1) if self.normalize else feats

    def project(self, weight: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
        """W x + b, or its ReLU, for every region: `weight (H, D)` to `(I, R, H)`.

        Where a tenth or more of the rows is padding, they are left out on a CPU and come back as zero (a CUDA device
        would have to wait for the count).
        """
        if not self.in_blocks:
            out = F.linear(self.whole, weight, bias)
            return F.relu(out) if relu else out
        real = None
        if int(self.mask.sum()) <= 0.9 * self.mask.numel():
            real = self.mask.flatten().nonzero().squeeze(1)
        return _Project.apply(weight, bias, self, real, relu).unflatten(0, self.mask.shape)

    def layer(self, linear: nn.Linear | WeightNormLinear, *, relu: bool) -> Tensor:
        """`project` with the parameters of a linear layer."""
        return self.project(linear.weight, linear.bias, relu=relu)

    def pool(self, weights: Tensor) -> Tensor:
        """Weighted sums of regions: `weights (B, G, R)` to `(B, G, D)`."""
        glimpses = weights.shape[1]
        spread = self.groups.spread(weights).flatten(1, 2).to(self.dtype)  # [i, q * g, r]
        pooled = self.pool_images(spread)
        return self.groups.collect(pooled.unflatten(1, (self.groups.most, glimpses)))

    def pool_images(self, weights: Tensor) -> Tensor:
        """Weighted sums for each image: `weights (I, N, R)` to `(I, N, D)`."""
        return _Pool.apply(weights, self) if self.in_blocks else torch.bmm(weights, self.whole)

    def images_a_block(self) -> int:
        return max(1, BLOCK // max(1, self.feats.shape[1]))


class _Project(torch.autograd.Function):
    """The projection of blocks of regions; the backward converts the features again rather than keep a copy."""

    @staticmethod
    def forward(ctx, weight: Tensor, bias: Tensor | None, batch: RegionBatch, real: Tensor | None, relu: bool):
        rows = batch.feats.flatten(0, 1)
        new = weight.new_empty if real is None else weight.new_zeros
        out = new(len(rows), len(weight))
        ctx.blocks = _blocks(len(rows) if real is None else len(real), BLOCK)
        for a, b in ctx.blocks:
            x = batch.ready(rows[a:b] if real is None else rows.index_select(0, real[a:b]))
            y = out[a:b] if real is None else out.new_empty(b - a, len(weight))
            if bias is None:
                torch.mm(x, weight.t(), out=y)
            else:
                torch.addmm(bias, x, weight.t(), out=y)
            if relu:
                y.clamp_(min=0)
            if real is not None:
                out.index_copy_(0, real[a:b], y)
        ctx.save_for_backward(real, out if relu else None)
        ctx.batch, ctx.biased = batch, bias is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):
        real, out = ctx.saved_tensors
        rows = ctx.batch.feats.flatten(0, 1)
        dweight = dout.new_zeros(dout.shape[1], rows.shape[1])
        dbias = dout.new_zeros(dout.shape[1]) if ctx.biased else None
        for a, b in ctx.blocks:
            pick = slice(a, b) if real is None else real[a:b]
            dy = dout[pick]
            if out is not None:
                dy = torch.ops.aten.threshold_backward(dy, out[pick], 0)
            dweight.addmm_(dy.t(), ctx.batch.ready(rows[pick]))
            if dbias is not None:
                dbias += dy.sum(0)
        return dweight, dbias, None, None, None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, batch: RegionBatch) -> Tensor:
        out = weights.new_empty(*weights.shape[:2], batch.feats.shape[2])
        ctx.batch, ctx.blocks = batch, _blocks(len(weights), batch.images_a_block())
        for a, b in ctx.blocks:
            torch.bmm(weights[a:b], batch.ready(batch.feats[a:b]), out=out[a:b])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, dout: Tensor):
        dweights = dout.new_empty(*dout.shape[:2], ctx.batch.feats.shape[1])
        for a, b in ctx.blocks:
            torch.bmm(dout[a:b], ctx.batch.ready(ctx.batch.feats[a:b]).mT, out=dweights[a:b])
        return dweights, None


def _blocks(count: int, size: int) -> list[tuple[int, int]]:
    return [(a, min(a + size, count)) for a in range(0, count, size)]
