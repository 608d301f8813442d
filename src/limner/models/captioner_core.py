"""The recurrence of the Up-Down captioner: attention LSTM, attention, language LSTM.

    x1 = [h2; global; word],  h1 = LSTM1(x1, h1)                                              (paper, eq. 1-2)
    v  = attention(regions, h1)                                                               (eq. 3-5)
    h2 = LSTM2([v; h1], h2)                                                                   (eq. 6)

What belongs to an image is computed once for all of its captions and steps: its projected regions and the part of
LSTM1's gates that comes from its global vector. What belongs to a word does not wait for the steps before it either.
A step is left with the products of the hidden states.

Shapes: I images, R regions, F their size, A attention size, H hidden, E words, n rows (captions).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.models import captioner_attention
from limner.models.attention import masked_softmax
from limner.models.captioner_attention import RegionLedger
from limner.models.captioner_embedding import EmbeddingLedger, embed
from limner.models.captioner_ledger import LinearLedger, linear_map
from limner.models.captioner_lstm import lstm_step
from limner.models.dropout import dropped
from limner.models.regions import Groups


class Hidden(NamedTuple):
    """Hidden states and cells of both LSTMs, each `(n, H)`."""

    h1: Tensor
    c1: Tensor
    h2: Tensor
    c2: Tensor


class Attention(nn.Module):
    """The layers of a_r = w^T tanh(W_v v_r + W_h h): `region (A, F)`, `query (A, H)`, `score (1, A)`."""

    def __init__(self, regions: int, hidden: int, size: int, *, bias: bool) -> None:
        super().__init__()
        self.region = nn.Linear(regions, size, bias=bias)
        self.query = nn.Linear(hidden, size, bias=bias)
        self.score = nn.Linear(size, 1, bias=bias)


class Prepared:
    """Images, ready for the steps of any number of captions: computed once, shared by all rows of a state.

    Args:
        regions: `(I, R, F)`, zero where padded. mask: `(I, R)`. vector: `(I, G)`, the global vector.
        words: the embedding. attention, lstm1, lstm2: the layers, the LSTMs' columns as above.
        word_relu: ReLU after the embedding. dropout: of words, while training.
    """

    def __init__(
        self,
        regions: Tensor,
        mask: Tensor,
        vector: Tensor,
        *,
        words: nn.Embedding,
        attention: Attention,
        lstm1: nn.LSTMCell,
        lstm2: nn.LSTMCell,
        word_relu: bool,
        dropout: float,
    ) -> None:
        dtype, size = regions.dtype, lstm1.hidden_size
        self.mask, self.dtype, self.word_relu, self.dropout = mask, dtype, word_relu, dropout
        wi1, wh1, wi2, wh2, query, score = (
            weight.to(dtype)
            for weight in (lstm1.weight_ih, lstm1.weight_hh, lstm2.weight_ih, lstm2.weight_hh)
            + (2 * attention.query.weight, 2 * attention.score.weight[0])
        )
        first, last = size + vector.shape[1], wi1.shape[1]
        self.lstm1 = LinearLedger(
            {"h2": (0, 0, size), "global": (0, size, first), "word": (0, first, last), "h1": (1, 0, size)}, wi1, wh1
        )
        v = regions.shape[2]
        self.lstm2 = LinearLedger({"v": (0, 0, v), "h1": (0, v, v + size), "h2": (1, 0, size)}, wi2, wh2)
        self.query = LinearLedger({"h1": (0, 0, size)}, query)
        self.words = EmbeddingLedger(words.weight)
        self.handles = {
            "lstm1": self.lstm1.share(wi1, wh1),
            "lstm2": self.lstm2.share(wi2, wh2),
            "query": self.query.share(query),
            "words": self.words.share(words.weight),
        }
        # keys, queries and scores are doubled for captioner_attention; both biases stand inside its tanh, so they are
        # added once an image
        biased = attention.region.bias is not None
        inside = 2 * (attention.region.bias + attention.query.bias).to(dtype) if biased else None
        keys = F.linear(regions, 2 * attention.region.weight.to(dtype), inside)
        self.regions = RegionLedger(regions, keys, score)
        self.handles["regions"] = self.regions.share(regions, keys, score)
        self.score_bias = attention.score.bias
        biases = (lstm1.bias_ih + lstm1.bias_hh).to(dtype)
        self.gates = linear_map(self.handles["lstm1"], self.lstm1, "global", vector, biases)  # [i, 4h]
        self.bias2 = (lstm2.bias_ih + lstm2.bias_hh).to(dtype)

    def word_gates(self, tokens: Tensor, image: Tensor) -> Tensor:
        """All of LSTM1's gates that no earlier step decides: `tokens (n,)`, `image (n,)` to `(n, 4H)`.

        Where dropout does not make every occurrence of a word different, each distinct word is multiplied once. (On a
        CUDA device that would wait for a count, which costs more than the product.)
        """
        if not self.dropout and tokens.device.type == "cpu":
            distinct, where = torch.unique(tokens, return_inverse=True)
            if 2 * len(distinct) < len(tokens):
                return self.gates.index_select(0, image) + self._words(distinct).index_select(0, where)
        return self._words(tokens, self.gates, image)

    def _words(self, tokens: Tensor, base: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        x = embed(self.handles["words"], self.words, tokens, self.dtype)
        x = dropped(F.relu(x) if self.word_relu else x, self.dropout, True)
        return linear_map(self.handles["lstm1"], self.lstm1, "word", x, base, rows)

    def step(self, gates: Tensor, state: Hidden | None, image: Tensor, groups: Groups) -> tuple[Hidden, Tensor]:
        """One step for n rows.

        Args:
            gates: `(n, 4H)` of `word_gates`.
            state: None at the start, where all is zero and need not be multiplied.
            image, groups: `(n,)`, the row of each one's image, and what `regions.group` makes of it.

        Returns:
            The next state, and attention `(n, R)`, exactly zero on padded regions.
        """
        handles = self.handles
        back1 = {} if state is None else {"h2": state.h2, "h1": state.h1}
        back2 = {} if state is None else {"h2": state.h2}
        h1, c1 = lstm_step(handles["lstm1"], self.lstm1, gates, None if state is None else state.c1, back1)
        query = linear_map(handles["query"], self.query, "h1", h1)
        scores = captioner_attention.scores(handles["regions"], self.regions, query, image)
        scores = scores if self.score_bias is None else scores + self.score_bias
        weights = masked_softmax(scores, self.mask.index_select(0, image))
        v = captioner_attention.pool(handles["regions"], self.regions, weights.to(self.dtype), image, groups)
        base = self.bias2.expand(len(image), -1)
        h2, c2 = lstm_step(
            handles["lstm2"], self.lstm2, base, None if state is None else state.c2, {"v": v, "h1": h1, **back2}
        )
        return Hidden(h1, c1, h2, c2), weights
