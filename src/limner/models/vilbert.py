"""ViLBERT for visual dialog: a text stream and an image stream that attend to each other.

    tokens, segments --> embedding --> text layers ---+-- t layers --+-- ... --> words head (masked words)
                                                      |  co-attention          \\
                                                      |                        pooled, fused --> alignment (N, 2)
                                                      |                        /
    regions, boxes ----> embedding --> image layers --+-- v layers --+-- ... --> regions head (masked regions)

Lu et al. 2019, "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations"; Murahari et al. 2020,
"Large-scale Pretraining for Visual Dialog" (visdial-bert), whose order of operations this is.

Shapes: N sequences, L tokens, I images, R regions (the first is the image as a whole), D features, V words,
C region classes, M masked words, K masked regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import UserError
from limner.models import vilbert_options
from limner.models.dropout import dropped
from limner.models.vilbert_encoder import Encoder, Maps, Stream
from limner.models.vilbert_heads import AlignmentHead, ImageEmbedding, RegionsHead, TextEmbedding, WordsHead
from limner.models.vilbert_layers import JointLayer, SelfLayer, Wanted
from limner.models.vilbert_layout import Group, Layout


class ViLBERTOutput(NamedTuple):
    """`alignment (N, 2)`, class 0: the text belongs to the image (the candidate is the answer). `words (M, V)` and
    `regions (K, C)` at the places asked for, in reading order; None where none were."""

    alignment: Tensor
    words: Tensor | None
    regions: Tensor | None

    @property
    def score(self) -> Tensor:
        """`(N,)`, what candidates are ranked by: see `score`."""
        return score(self.alignment)


def score(alignment: Tensor) -> Tensor:
    """`(..., 2)` to `(...)`: the log odds that they belong together, which do not saturate as the probability does."""
    alignment = alignment if alignment.dtype == torch.float64 else alignment.float()
    return alignment[..., 0] - alignment[..., 1]


class Encoded(NamedTuple):
    """All that the encoder computes, padding too: `text (N, L, S)`, `image (N, R, S')`, the pooled first tokens
    `(N, B)`, and attention weights. Without an image stream its parts are None."""

    text: Tensor
    image: Tensor | None
    pooled_text: Tensor
    pooled_image: Tensor | None
    maps: Maps


class ViLBERT(nn.Module):
    """The two-stream encoder with its three heads. Defaults: the published base, 250 million parameters.

    Args:
        words: V, rows of the word embedding. feature_dim: D. region_classes: C (D, where features are predicted).
        text_hidden, text_layers, text_heads, text_ffn: the text stream. positions, segments: rows of its embeddings.
        image_hidden, image_layers, image_heads, image_ffn: the image stream.
        joint_hidden, joint_heads: of co-attention; the pooled streams have joint_hidden as well.
        text_connections, image_connections: layers of each stream that come before each co-attention layer.
        fusion: of the pooled streams: "mul" (published), "sum", or "text": the language-only baseline, which has no
            image stream and no connections.
        dropout_text, dropout_image: of embeddings and sums. dropout_text_attention, dropout_image_attention: of
            weights over tokens and over regions. dropout_fused: before the alignment's layer.
        checkpointing: while training keep only what goes into each layer and compute it again in the backward pass.
        init_std: of the normal distribution that matrices and embeddings begin with; biases begin at 0. BERT's 0.02 is
            right for a size near 768. For a size S a value near 1 / sqrt(S) lets attention and residual branches say
            something from the start.

    Raises:
        UserError: one line with every option that cannot be.
    """

    # for `limner.build.start_from`: outputs as many as the data have classes; arguments that no shape of a weight shows
    ANEW = ("regions_head.output.",)
    # for `limner.weights.remap`: layers with a row for each word part
    VOCABULARY = {"words": ("text_embedding.words", "words_head")}  # noqa: RUF012
    UNSEEN = ("text_heads", "image_heads", "joint_heads", "text_connections", "image_connections", "fusion")

    def __init__(
        self,
        *,
        words: int,
        feature_dim: int = 2048,
        region_classes: int = 1601,
        text_hidden: int = 768,
        text_layers: int = 12,
        text_heads: int = 12,
        text_ffn: int = 3072,
        positions: int = 512,
        segments: int = 2,
        image_hidden: int = 1024,
        image_layers: int = 6,
        image_heads: int = 8,
        image_ffn: int = 1024,
        joint_hidden: int = 1024,
        joint_heads: int = 8,
        text_connections: Sequence[int] = (6, 7, 8, 9, 10, 11),
        image_connections: Sequence[int] = (0, 1, 2, 3, 4, 5),
        fusion: str = "mul",
        dropout_text: float = 0.1,
        dropout_image: float = 0.1,
        dropout_text_attention: float = 0.1,
        dropout_image_attention: float = 0.1,
        dropout_fused: float = 0.1,
        checkpointing: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        vilbert_options.check(dict(locals()))
        with_image = fusion != "text"
        self.dropout_text, self.dropout_image = dropout_text, dropout_image
        self.drops = any((dropout_text, dropout_image, dropout_text_attention, dropout_image_attention))
        self.row_flop = 4 * text_hidden * (2 * text_hidden + text_ffn)
        self.text_embedding = TextEmbedding(words, positions, segments, text_hidden)
        self.image_embedding = ImageEmbedding(feature_dim, image_hidden) if with_image else None
        text = {"dropout": dropout_text, "dropout_attention": dropout_text_attention}
        image = {"dropout": dropout_image, "dropout_attention": dropout_image_attention}
        joint: dict[str, Any] = {
            "text": (text_hidden, text_ffn),
            "image": (image_hidden, image_ffn),
            "size": joint_hidden,
            "heads": joint_heads,
            "dropout_text": dropout_text,
            "dropout_image": dropout_image,
            "dropout_over_text": dropout_text_attention,
            "dropout_over_image": dropout_image_attention,
        }
        self.encoder = Encoder(
            [SelfLayer(text_hidden, text_heads, text_ffn, **text) for _ in range(text_layers)],
            [SelfLayer(image_hidden, image_heads, image_ffn, **image) for _ in range(image_layers * with_image)],
            [JointLayer(**joint) for _ in text_connections],
            text_connections=text_connections,
            image_connections=image_connections,
            checkpointing=checkpointing,
        )
        self.alignment_head = AlignmentHead(
            text_hidden, image_hidden, joint_hidden, fusion=fusion, dropout=dropout_fused
        )
        self.words_head = WordsHead(text_hidden, words)
        self.regions_head = RegionsHead(image_hidden, region_classes) if with_image else None
        self.apply(partial(_initialise, std=init_std))

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        text_mask: Tensor,
        feats: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
        image: Tensor | None = None,
        *,
        words_at: Tensor | None = None,
        regions_at: Tensor | None = None,
    ) -> ViLBERTOutput:
        """Computes the alignment, and the other heads where they are asked for.

        Args:
            tokens, segments: `(N, L)` int64. text_mask: `(N, L)` bool, True where a token is real.
            feats: `(I, R, D)` float16 or float32, the first region being the image as a whole.
            boxes: `(I, R, 5)` x1/w, y1/h, x2/w, y2/h, area/(w h). mask: `(I, R)` bool, True where a region is real.
            image: `(N,)` int64, the row of each sequence's image; None: sequence n has image n.
            words_at: `(N, L)` bool, tokens whose word is predicted; real ones only.
            regions_at: `(N, R)` bool, regions whose class is predicted.
        """
        layout = Layout(text_mask.bool(), row_flop=self.row_flop)
        more = None if words_at is None else layout.rows_at(words_at)
        text = self._text(tokens, segments, layout, Wanted(layout.first, more))
        seen = None
        if self.image_embedding is not None:
            seen = self._image(feats, boxes, mask, image, layout)
            count, regions = seen.groups[0].sequences, seen.groups[0].length
            first = torch.arange(0, count * regions, regions, device=tokens.device)
            more = None
            if regions_at is not None:
                which, region = regions_at.nonzero().unbind(1)
                more = layout.inverse[which] * regions + region
            seen = seen._replace(wanted=Wanted(first, more))
        t, v = self.encoder(text, seen)
        n = len(tokens)
        alignment = self.alignment_head(t[:n], None if v is None else v[:n])[layout.inverse]
        words = None if words_at is None else self.words_head(t[n:], self.text_embedding.words.weight)
        at_regions = None if regions_at is None or v is None or self.regions_head is None else self.regions_head(v[n:])
        return ViLBERTOutput(alignment, words, at_regions)

    def encode(self, tokens, segments, text_mask, feats=None, boxes=None, mask=None, image=None) -> Encoded:
        """Everything that is inside, for those who look at it; arguments as for `forward`, which is the fast way."""
        layout = Layout(text_mask.bool(), whole=True)
        text = self._text(tokens, segments, layout, None)
        seen = None if self.image_embedding is None else self._image(feats, boxes, mask, image, layout, whole=True)
        maps = Maps([], [], [])
        t, v = self.encoder(text, seen, maps)
        t = layout.padded(t)
        v = None if v is None else v.unflatten(0, (len(tokens), -1))
        return Encoded(t, v, *self.alignment_head.pooled(t[:, 0], None if v is None else v[:, 0]), maps)

    def _text(self, tokens: Tensor, segments: Tensor, layout: Layout, wanted: Wanted | None) -> Stream:
        index = layout.index
        rows = tokens.flatten()[index], index % tokens.shape[1], segments.flatten()[index]
        self.text_embedding.check(*rows)
        if self.training and self.drops:
            x = dropped(self.text_embedding(*rows), self.dropout_text, True)
            return Stream(x, layout.groups, wanted=wanted)
        if index.device.type != "cpu":  # elsewhere counting the distinct rows costs more than it saves
            return Stream(self.text_embedding(*rows), layout.groups, wanted=wanted)
        x, spread = self.text_embedding.distinct(*rows)
        return Stream(x, layout.groups, spread, wanted=wanted)

    def _image(self, feats, boxes, mask, image, layout: Layout, *, whole: bool = False) -> Stream:
        if feats is None or boxes is None or mask is None or self.image_embedding is None:
            raise UserError("feats, boxes and mask: not all were given, but the model has an image stream: give them")
        image = layout.order if image is None else image[layout.order]
        x, mask = self.image_embedding(feats, boxes), mask.bool()
        full = not whole and mask.device.type == "cpu" and bool(mask.all())
        images, regions = mask.shape
        group = Group(len(image), regions, None if full else mask[image])
        rows = (image[:, None] * regions + torch.arange(regions, device=image.device)).flatten()
        x = x.flatten(0, 1)
        if self.training and self.drops:  # dropout differs from sequence to sequence
            return Stream(dropped(x.index_select(0, rows), self.dropout_image, True), (group,))
        own = (Group(images, regions, None if full else mask),)
        return Stream(x.index_select(0, rows), (group,)) if whole else Stream(x, (group,), rows, own)


def _initialise(module: nn.Module, *, std: float) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
