"""What goes into ViLBERT's encoder and what comes out of it: embeddings of both streams, and the three heads.

Shapes: N sequences, R regions, D features, P rows, S size of a stream, B size of co-attention, V words, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.errors import UserError
from limner.models.vilbert_layers import EPS

BOX = 5  # x1/w, y1/h, x2/w, y2/h, area/(w h)


class TextEmbedding(nn.Module):
    """LN(word + position + segment). `size` is S; no word has a zero vector, the padding neither."""

    def __init__(self, words: int, positions: int, segments: int, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.positions = nn.Embedding(positions, size)
        self.segments = nn.Embedding(segments, size)
        self.norm = nn.LayerNorm(size, eps=EPS)

    def check(self, tokens: Tensor, positions: Tensor, segments: Tensor) -> None:
        """Raises a `UserError` for ids that have no row; on a GPU, where it would have to wait, torch itself does."""
        if not len(tokens) or tokens.device.type != "cpu":
            return
        for name, ids, table in (("tokens", tokens, self.words), ("positions", positions, self.positions),
                                 ("segments", segments, self.segments)):  # fmt: skip
            low, high = (int(x) for x in ids.aminmax())
            if low < 0 or high >= table.num_embeddings:
                shorten = "; cut the text shorter" if name == "positions" else ""
                found, last = low if low < 0 else high, table.num_embeddings - 1
                raise UserError(f"{name}: found {found}, but the model knows 0 to {last}{shorten}")

    def forward(self, tokens: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        """All `(P,)` int64; to `(P, S)`."""
        return self.norm(self.words(tokens) + self.positions(positions) + self.segments(segments))

    def distinct(self, tokens: Tensor, positions: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct rows `(U, S)` and `(P,)`, which of them each row is: candidates share their dialog."""
        kinds, places = self.segments.num_embeddings, self.positions.num_embeddings
        keys, spread = torch.unique((tokens * kinds + segments) * places + positions, return_inverse=True)
        rest = keys // places
        return self(rest // kinds, keys % places, rest % kinds), spread


class ImageEmbedding(nn.Module):
    """LN(W features + U box), `(I, R, D)` and `(I, R, 5)` to `(I, R, S)`."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.features = nn.Linear(features, size)
        self.boxes = nn.Linear(BOX, size)
        self.norm = nn.LayerNorm(size, eps=EPS)

    def forward(self, feats: Tensor, boxes: Tensor) -> Tensor:
        dtype = self.features.weight.dtype
        return self.norm(self.features(feats.to(dtype)) + self.boxes(boxes.to(dtype)))


class WordsHead(nn.Module):
    """Masked words: LN(GELU(dense x)) times the word embedding, which is tied, and a bias `(V,)`."""

    def __init__(self, size: int, words: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """`x (M, S)`, `embedding (V, S)` to `(M, V)`."""
        return F.linear(self.norm(F.gelu(self.dense(x))), embedding, self.bias)


class RegionsHead(nn.Module):
    """Masked regions: class scores, or features that are predicted, `(M, S)` to `(M, C)`."""

    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size, eps=EPS)
        self.output = nn.Linear(size, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(F.gelu(self.dense(x))))


class AlignmentHead(nn.Module):
    """Whether text and image belong together, from the first token of each stream: class 0 is yes.

    `fusion`: "mul" (product of the pooled streams), "sum", or "text" (the text alone).
    """

    def __init__(self, text: int, image: int, size: int, *, fusion: str, dropout: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.text_pooler = nn.Linear(text, size)
        self.image_pooler = nn.Linear(image, size) if fusion != "text" else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(size, 2)

    def pooled(self, text: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """First tokens `(N, S)` of each stream to `(N, B)`."""
        of_image = None if self.image_pooler is None or image is None else F.relu(self.image_pooler(image))
        return F.relu(self.text_pooler(text)), of_image

    def forward(self, text: Tensor, image: Tensor | None) -> Tensor:
        """To `(N, 2)`."""
        fused, of_image = self.pooled(text, image)
        if of_image is not None:
            fused = fused * of_image if self.fusion == "mul" else fused + of_image
        return self.output(self.dropout(fused))
