"""Multi-head attention of groups of sequences (Vaswani et al. 2017, section 3.2).

Shapes: n sequences of a group, a queries, b keys, S size of all heads together, d of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models.dropout import dropped
from limner.models.vilbert_layout import Group


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    heads: int,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    maps: list[Tensor] | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for each head: `q (n, a, S)`, `k`, `v (n, b, S)` to `(n, a, S)`.

    Args:
        mask: `(n, b)` bool, True where a key is real; None: all are.
        dropout: of the weights.
        maps: a list that the weights `(n, heads, a, b)` are put into, before dropout.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # [n, heads, a or b, d]
    seen = None if mask is None else mask[:, None, None, :]
    # with dropout, torch's kernel for the CPU draws masks six times as slowly as `dropped`
    if maps is None and not (dropout and q.device.type == "cpu"):
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
    else:
        weights = _softmax(q @ k.mT * q.shape[-1] ** -0.5, seen)
        if maps is not None:
            maps.append(weights)
        out = dropped(weights, dropout, True) @ v
    return out.transpose(1, 2).flatten(2)


def attend_first(
    x: Tensor, first: Tensor, qkv: nn.Linear, groups: Sequence[Group], *, heads: int, dropout: float = 0.0
) -> Tensor:
    """Self-attention of the first token of each sequence alone, without making any key or value.

    q . (W_k x) = (W_k^T q) . x and sum_b w_b W_v x_b = W_v sum_b w_b x_b: with one query the matrices need not be
    applied to every token. The key's bias adds the same to all scores of a query, so softmax does not see it.

    Args:
        x: `(P, S)`, the rows of `groups`. first: `(n, S)`, those of the first tokens.
        qkv: the layer that makes queries, keys and values, `(3 S, S)`.

    Returns:
        `(n, S)`.
    """
    query, key, value = (weight.unflatten(0, (heads, -1)) for weight in qkv.weight.chunk(3))  # [heads, d, S]
    query_bias, _, value_bias = qkv.bias.chunk(3)
    q = F.linear(first, query.flatten(0, 1), query_bias).unflatten(1, (heads, -1))  # [n, heads, d]
    asked = (q.transpose(0, 1) @ key).transpose(0, 1) * q.shape[-1] ** -0.5  # [n, heads, S]
    pooled, total = [], []
    rows, asked_by = x.split([g.rows for g in groups]), asked.split([g.sequences for g in groups])
    for part, mine, group in zip(rows, asked_by, groups):
        tokens = part.unflatten(0, (group.sequences, group.length))
        weights = _softmax(mine @ tokens.mT, None if group.mask is None else group.mask[:, None, :])
        weights = dropped(weights, dropout, True)  # [n, heads, b]
        pooled.append(weights @ tokens)
        total.append(weights.sum(2, keepdim=True))  # not 1 after dropout
    out = (torch.cat(pooled).transpose(0, 1) @ value.mT).transpose(0, 1)  # [n, heads, d]
    return (out + torch.cat(total) * value_bias.unflatten(0, (heads, -1))).flatten(1)


def _softmax(scores: Tensor, seen: Tensor | None) -> Tensor:
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    return scores.softmax(-1)
