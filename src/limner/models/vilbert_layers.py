"""The layers of ViLBERT: a BERT layer of one stream (Devlin et al. 2019), and the co-attention layer between two.

Normalisation follows each residual sum (post-norm), with an epsilon of 1e-12; GELU is the exact form.

Shapes: P rows of text or image (tokens or regions that are computed), S size of a stream, B size of co-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models.dropout import dropped
from limner.models.vilbert_attention import attend, attend_first
from limner.models.vilbert_layout import Group

EPS = 1e-12


class Wanted(NamedTuple):
    """The rows of a stream that are read after its last layer: `first (N,)`, those of the first tokens, then `more
    (M,)`; None: no others."""

    first: Tensor
    more: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        return self.first if self.more is None else torch.cat((self.first, self.more))


class After(nn.Module):
    """What follows attention: LN(dense(a) + x), then LN(down(GELU(up(.))) + .), dropout before each sum.

    Args:
        inputs: size of what attention gives. size: S. ffn: size between `up` and `down`.
    """

    def __init__(self, inputs: int, size: int, ffn: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.dense = nn.Linear(inputs, size)
        self.norm1 = nn.LayerNorm(size, eps=EPS)
        self.up = nn.Linear(size, ffn)
        self.down = nn.Linear(ffn, size)
        self.norm2 = nn.LayerNorm(size, eps=EPS)

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        """`attended (P, inputs)`, `x (P, S)` to `(P, S)`."""
        x = self.norm1(dropped(self.dense(attended), self.dropout, self.training) + x)
        return self.norm2(dropped(self.down(F.gelu(self.up(x))), self.dropout, self.training) + x)


class SelfLayer(nn.Module):
    """A BERT layer. Queries, keys and values are made by one matrix, `qkv (3 S, S)`.

    Args:
        size, heads, ffn: S, its attention heads, the size of the feed-forward part.
        dropout, dropout_attention: of the two sums, and of attention weights.
    """

    def __init__(self, size: int, heads: int, ffn: int, *, dropout: float, dropout_attention: float) -> None:
        super().__init__()
        self.heads, self.dropout_attention = heads, dropout_attention
        self.qkv = nn.Linear(size, 3 * size)
        self.after = After(size, size, ffn, dropout=dropout)

    def forward(
        self,
        x: Tensor,
        groups: Sequence[Group],
        *,
        spread: Tensor | None = None,
        wanted: Wanted | None = None,
        maps: list[Tensor] | None = None,
    ) -> Tensor:
        """`x (P, S)` to `(P, S)`.

        Args:
            groups: how the rows form sequences.
            spread: `(P,)`; where given, `x` holds distinct rows only, and row p is `x[spread[p]]`.
            wanted: make these rows only.
            maps: as for `attend`; then `groups` is one group.
        """
        drop = self.dropout_attention if self.training else 0.0
        if wanted is not None and wanted.more is None:
            x = x if spread is None else x.index_select(0, spread)
            first = x.index_select(0, wanted.first)
            return self.after(attend_first(x, first, self.qkv, groups, heads=self.heads, dropout=drop), first)
        qkv = self.qkv(x)
        if spread is not None:
            qkv, x = qkv.index_select(0, spread), x.index_select(0, spread)
        found = []
        for part, group in zip(qkv.split([g.rows for g in groups]), groups):
            q, k, v = part.unflatten(0, (group.sequences, group.length)).chunk(3, -1)
            out = attend(q, k, v, heads=self.heads, mask=group.mask, dropout=drop, maps=maps)
            found.append(out.flatten(0, 1))
        attended = torch.cat(found)
        if wanted is not None:
            attended, x = attended.index_select(0, wanted.rows), x.index_select(0, wanted.rows)
        return self.after(attended, x)


class JointMaps(NamedTuple):
    """Attention weights of a co-attention layer: `text (N, heads, L, R)` over regions, `image (N, heads, R, L)` over
    tokens."""

    text: Tensor
    image: Tensor


class JointLayer(nn.Module):
    """Co-attention (Lu et al. 2019, figure 2b): each stream asks with its own queries and reads the other's values.

    Args:
        text, image: (size, feed-forward size) of each stream. size: B. heads: heads of both attentions.
        dropout_text, dropout_image: of the sums in each stream.
        dropout_over_text, dropout_over_image: of the weights over tokens and over regions.
    """

    def __init__(
        self,
        *,
        text: tuple[int, int],
        image: tuple[int, int],
        size: int,
        heads: int,
        dropout_text: float,
        dropout_image: float,
        dropout_over_text: float,
        dropout_over_image: float,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout_over_text, self.dropout_over_image = dropout_over_text, dropout_over_image
        self.text_qkv = nn.Linear(text[0], 3 * size)
        self.image_qkv = nn.Linear(image[0], 3 * size)
        self.text_after = After(size, *text, dropout=dropout_text)
        self.image_after = After(size, *image, dropout=dropout_image)

    def forward(
        self,
        text: Tensor,
        image: Tensor,
        text_groups: Sequence[Group],
        image_group: Group,
        *,
        spread: Tensor | None = None,
        maps: list[JointMaps] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Both streams after the layer.

        Args:
            text: `(P, S)`, the rows of `text_groups`.
            image: the regions of the same sequences in the same order, the rows of `image_group`.
            spread: as for `SelfLayer`, of the image.
            maps: a list that the weights are put into; then `text_groups` is one group.
        """
        drops = (self.dropout_over_text, self.dropout_over_image) if self.training else (0.0, 0.0)
        of_text, of_image = self.text_qkv(text), self.image_qkv(image)
        if spread is not None:
            of_image, image = of_image.index_select(0, spread), image.index_select(0, spread)
        counts = [g.sequences for g in text_groups]
        regions = of_image.unflatten(0, (image_group.sequences, image_group.length)).split(counts)
        seen = [None] * len(counts) if image_group.mask is None else image_group.mask.split(counts)
        to_text, to_image = [], []
        weights: list[Tensor] | None = None if maps is None else []
        for part, group, region, real in zip(of_text.split([g.rows for g in text_groups]), text_groups, regions, seen):
            q, k, v = part.unflatten(0, (group.sequences, group.length)).chunk(3, -1)
            vq, vk, vv = region.chunk(3, -1)
            found = attend(q, vk, vv, heads=self.heads, mask=real, dropout=drops[1], maps=weights)
            to_text.append(found.flatten(0, 1))
            found = attend(vq, k, v, heads=self.heads, mask=group.mask, dropout=drops[0], maps=weights)
            to_image.append(found.flatten(0, 1))
        if maps is not None and weights is not None:
            maps.append(JointMaps(*weights))
        return self.text_after(torch.cat(to_text), text), self.image_after(torch.cat(to_image), image)
