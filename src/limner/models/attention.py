"""Top-down attention over image regions, computed image by image rather than question by question.

Shapes: I images, R regions, D features, B questions, H hidden, G glimpses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from limner.models.layers import Layer, activate, linear, width
from limner.models.regions import RegionBatch

# how many values of (questions, regions, hidden) are made at a time: on a CPU they stay in its cache
CHUNK = {"cpu": 1 << 18, "cuda": 1 << 26}


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis with exactly zero where `mask` is False, and all zero where no entry is True."""
    scores = scores.float() if scores.dtype != torch.float64 else scores
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1) * mask


def keep_mask(shape: tuple[int, ...], drop: float, device: torch.device) -> tuple[Tensor, float]:
    """A random int8 mask, 0 with probability `drop`, and the scale 1 / P(1) that keeps the mean.

    Four entries come of one 64-bit draw, at six times the speed of bernoulli_ on a CPU. P is a multiple of 2**-16
    and the scale belongs to the exact P, so that the expected value is exact.
    """
    size = torch.Size(shape).numel()
    bits = torch.empty((size + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    dropped = min(max(round(drop * 65536), 0), 65535)
    kept = bits.view(torch.int16)[:size] >= dropped - 32768
    return kept.view(torch.int8).view(shape), 65536 / (65536 - dropped)


class _ChunkedScores(torch.autograd.Function):
    """scores = dropout(joint(regions, question)) W^T, a few questions at a time.

    The joint (B, R, H) never exists as a whole: each chunk is made, used and forgotten, and made again in the
    backward pass. What is kept is the dropout mask, one byte a value.
    """

    @staticmethod
    def forward(ctx, regions, questions, weight, image, joint, drop) -> Tensor:
        scores = questions.new_empty(len(questions), regions.shape[1], len(weight))
        masks, scale = [], 1.0
        hidden = weight.shape[1]
        chunks = _chunks(regions, len(image), questions.shape[1])
        with torch.autocast(regions.device.type, enabled=False):
            for part in chunks:
                made = joint(regions.index_select(0, image[part]), questions[part].unsqueeze(1))  # [b, r, h]
                if drop:
                    mask, scale = keep_mask(made.shape, drop, made.device)
                    masks.append(mask)
                    made.mul_(mask)
                torch.matmul(made.view(-1, hidden), weight.t(), out=scores[part].view(-1, len(weight)))
        ctx.save_for_backward(regions, questions, weight, image, *masks)
        ctx.joint, ctx.chunks, ctx.scale = joint, chunks, scale
        return scores.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dscores: Tensor):
        regions, questions, weight, image, *masks = ctx.saved_tensors
        dscores = dscores * ctx.scale
        dregions, dquestions, dweight = torch.zeros_like(regions), torch.empty_like(questions), torch.zeros_like(weight)
        hidden = weight.shape[1]
        with torch.autocast(regions.device.type, enabled=False):
            for index, part in enumerate(ctx.chunks):
                with torch.enable_grad():
                    v = regions.index_select(0, image[part]).requires_grad_()
                    q = questions[part].requires_grad_()
                    made = ctx.joint(v, q.unsqueeze(1))
                dmade = dscores[part] @ weight  # [b, r, h]
                if masks:
                    dmade.mul_(masks[index])
                dv, dq = torch.autograd.grad(made, (v, q), dmade)
                made = made.detach()
                if masks:
                    made = made * masks[index]
                dweight.addmm_(dscores[part].flatten(0, 1).t(), made.view(-1, hidden))
                dquestions[part] = dq
                dregions.index_add_(0, image[part], dv)
        return dregions, dquestions, dweight, None, None, None


class _DroppedProduct(torch.autograd.Function):
    """scores[b, r, g] = sum_h mask[b, r, h] regions[image[b], r, h] queries[b, g, h], a few questions at a time.

    What product attention is with dropout. Beside `_ChunkedScores` it needs half the passes over (b, R, H): the
    question and the score weight are one factor, made before.
    """

    @staticmethod
    def forward(ctx, regions, queries, image, drop) -> Tensor:
        scores = queries.new_empty(len(queries), regions.shape[1], queries.shape[1])
        masks, scale = [], 1.0
        ctx.chunks = _chunks(regions, len(image), regions.shape[2])
        with torch.autocast(regions.device.type, enabled=False):
            for part in ctx.chunks:
                made = regions.index_select(0, image[part])  # [b, r, h]
                mask, scale = keep_mask(made.shape, drop, made.device)
                masks.append(mask)
                torch.bmm(made.mul_(mask), queries[part].mT, out=scores[part])
        ctx.save_for_backward(regions, queries, image, *masks)
        ctx.scale = scale
        return scores.mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dscores: Tensor):
        regions, queries, image, *masks = ctx.saved_tensors
        dscores = dscores * ctx.scale
        dregions, dqueries = torch.zeros_like(regions), torch.empty_like(queries)
        with torch.autocast(regions.device.type, enabled=False):
            for mask, part in zip(masks, ctx.chunks):
                made = regions.index_select(0, image[part]).mul_(mask)
                torch.bmm(dscores[part].mT, made, out=dqueries[part])
                torch.bmm(dscores[part], queries[part], out=made)
                dregions.index_add_(0, image[part], made.mul_(mask))
        return dregions, dqueries, None, None


def _chunks(regions: Tensor, count: int, width: int) -> list[slice]:
    step = max(1, CHUNK.get(regions.device.type, 1 << 20) // max(1, regions.shape[1] * width))
    return [slice(a, min(a + step, count)) for a in range(0, count, step)]


def dropped_product(regions: Tensor, queries: Tensor, image: Tensor, drop: float) -> Tensor:
    """dropout(regions of each question) . queries: `regions (I, R, H)`, `queries (B, G, H)` to `(B, R, G)`."""
    return _DroppedProduct.apply(regions, queries.to(regions.dtype), image, drop)


def chunked_scores(
    regions: Tensor, questions: Tensor, weight: Tensor, image: Tensor, joint: Callable, drop: float = 0.0
) -> Tensor:
    """dropout(joint(regions, question)) W^T: `regions (I, R, H')`, `questions (B, H')`, `weight (G, H)` to `(B, R, G)`.

    `joint` takes `(b, R, H')` and `(b, 1, H')` and returns a new `(b, R, H)`.
    """
    dtype = regions.dtype
    return _ChunkedScores.apply(regions, questions.to(dtype), weight.to(dtype), image, joint, drop)


class ProductAttention(nn.Module):
    """scores = W (f(regions) * g(question)), the attention of the published Up-Down VQA code.

    Args:
        feature_dim, question_dim, hidden, glimpses: D, size of a question vector, H, G.
        dropout: on the product, while training.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        question_dim: int,
        hidden: int,
        glimpses: int = 1,
        activation: str = "relu",
        dropout: float = 0.2,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.region = Layer(feature_dim, hidden, activation=activation, weight_norm=weight_norm)
        self.question = Layer(question_dim, hidden, activation=activation, weight_norm=weight_norm)
        self.score = linear(hidden, glimpses, weight_norm=weight_norm)
        self.dropout = dropout

    def forward(self, regions: RegionBatch, question: Tensor) -> Tensor:
        """`question (B, *)` to weights `(B, G, R)`."""
        relu = self.region.activation == "relu"
        keys = regions.layer(self.region.linear, relu=relu)  # [i, r, h]
        keys = keys if relu else activate(self.region.activation, keys)
        question = self.question(question)
        queries = question.unsqueeze(1) * self.score.weight  # [b, g, h], since W (p * s) = p (W * s)
        if self.training and self.dropout:
            scores = dropped_product(keys, queries, regions.image, self.dropout).mT
        else:  # a matrix product for each image, and no joint at all
            spread = regions.groups.spread(queries)  # [i, q, g, h]
            scores = torch.bmm(spread.flatten(1, 2).to(keys.dtype), keys.mT)  # [i, q * g, r]
            scores = regions.groups.collect(scores.unflatten(1, spread.shape[1:3]))
        return masked_softmax(scores + self.score.bias[:, None], regions.question_mask.unsqueeze(1))


class ConcatAttention(nn.Module):
    """scores = W f([region; question]) (paper, eq. 15).

    The layer f has one matrix over the concatenation; it is applied as W_v region + W_q question, so that regions
    are projected once for all questions of an image. Arguments as in `ProductAttention`.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        question_dim: int,
        hidden: int,
        glimpses: int = 1,
        activation: str = "relu",
        dropout: float = 0.0,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.joint = linear(feature_dim + question_dim, hidden * width(activation), weight_norm=weight_norm)
        self.score = linear(hidden, glimpses, weight_norm=weight_norm)
        self.activation, self.dropout, self.feature_dim = activation, dropout, feature_dim

    def forward(self, regions: RegionBatch, question: Tensor) -> Tensor:
        """`question (B, *)` to weights `(B, G, R)`."""
        of_region, of_question = self.joint.weight.split((self.feature_dim, question.shape[1]), dim=1)
        keys = regions.project(of_region, None)  # [i, r, h]
        question = F.linear(question, of_question, self.joint.bias)
        drop = self.dropout if self.training else 0.0
        scores = chunked_scores(keys, question, self.score.weight, regions.image, self._join, drop).mT
        return masked_softmax(scores + self.score.bias[:, None], regions.question_mask.unsqueeze(1))

    def _join(self, regions: Tensor, question: Tensor) -> Tensor:
        return activate(self.activation, regions + question)
