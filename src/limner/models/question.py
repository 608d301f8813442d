"""The question encoder: word embedding and a GRU or LSTM, with nothing computed for padding or twice.

The published code pads questions on the LEFT to 14 positions and runs the GRU over all of them, pads included, from a
zero state. So the state a question starts from depends on its length, and a model trained that way needs it
(`encode_padding=True`). Batches here are padded on the RIGHT; the left padding is restored inside.

Three ways to the same numbers:
- the trie (CPU, one direction): each distinct prefix once, see `question_trie`;
- packed (CUDA, or dropout on the embedding): the states after 0..14 pads once, then the real tokens by cuDNN;
- plain (two directions that read padding): the recurrent network over the padded rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from limner.errors import UserError
from limner.models import question_trie

ENCODERS = {"gru": nn.GRU, "lstm": nn.LSTM}


class QuestionEncoder(nn.Module):
    """Tokens `(B, T)` to question vectors `(B, outputs)`: the last state of the top layer.

    Args:
        words: number of words; the pad id is `words`, its embedding is zero and is not trained.
        embed_dim, hidden, layers: sizes. Both directions of `bidirectional` are concatenated: outputs = 2 * hidden.
        encoder: "gru" or "lstm".
        encode_padding: read the pads on the left of a question, as the published code does; else real tokens only,
            from a zero state.
        question_length: positions in the padded question; later tokens are dropped.
        dropout: on word embeddings, while training.

    Raises:
        UserError: for an encoder that is not known or a size below 1.
    """

    def __init__(
        self,
        *,
        words: int,
        embed_dim: int = 300,
        hidden: int = 1024,
        encoder: str = "gru",
        layers: int = 1,
        bidirectional: bool = False,
        encode_padding: bool = True,
        question_length: int = 14,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise UserError(f"encoder={encoder!r} is not known: choose one of {', '.join(ENCODERS)}")
        self.pad, self.encode_padding, self.question_length = words, encode_padding, question_length
        self.dropout = dropout
        self.outputs = hidden * (2 if bidirectional else 1)
        self.words = nn.Embedding(words + 1, embed_dim, padding_idx=words)
        self.rnn = ENCODERS[encoder](
            embed_dim, hidden, num_layers=layers, bidirectional=bidirectional, batch_first=True
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens (B, T)` int64, padded on the right with `words`; a question may have no token at all."""
        tokens = tokens[:, : self.question_length]
        lengths = (tokens != self.pad).sum(1)
        dropped = self.training and self.dropout > 0  # a mask for every occurrence: nothing can be shared
        if self.rnn.bidirectional and self.encode_padding:
            return self._plain(tokens, lengths)
        if self.rnn.bidirectional or tokens.is_cuda or dropped:
            return self._packed(tokens, lengths)
        return self._trie(tokens, lengths)

    def _embed(self, tokens: Tensor) -> Tensor:
        return F.dropout(self.words(tokens), self.dropout, self.training)

    def _plain(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        rows = left_pad(tokens, lengths, self.question_length, self.pad)
        return self._top(_final(self.rnn(self._embed(rows))))

    def _packed(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        start = None
        if self.encode_padding:
            start = tuple(state.index_select(1, self.question_length - lengths) for state in self._after_pads())
        # packing needs one token at least; what it makes of an empty question is replaced below
        length = int(lengths.max()) if len(lengths) else 0
        rows = tokens[:, :length] if length else tokens.new_full((len(tokens), 1), self.pad)
        packed = pack_padded_sequence(
            self._embed(rows), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        final = _final(self.rnn(packed, start if start is None or len(start) > 1 else start[0]))
        before = torch.zeros_like(final) if start is None else start[0]
        return self._top(torch.where((lengths > 0)[:, None], final, before.to(final.dtype)))

    def _after_pads(self) -> tuple[Tensor, ...]:
        """The states (layers, question_length + 1, hidden) after 0, 1, ... pads: h, and c of an LSTM."""
        count = self.question_length
        rows = torch.full((count, count), self.pad, device=self.words.weight.device)
        lengths = torch.arange(1, count + 1)
        packed = pack_padded_sequence(self.words(rows), lengths, batch_first=True, enforce_sorted=False)
        states = self.rnn(packed)[1]
        states = states if isinstance(states, tuple) else (states,)
        return tuple(F.pad(state, (0, 0, 1, 0)) for state in states)

    def _top(self, final: Tensor) -> Tensor:
        """The last layer of `final (layers * directions, B, hidden)` as (B, outputs): forward, then backward."""
        return torch.cat(tuple(final[-2:]), dim=1) if self.rnn.bidirectional else final[-1]

    def _trie(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        if self.encode_padding:
            tokens = left_pad(tokens, lengths, self.question_length, self.pad)
            lengths = torch.full_like(lengths, self.question_length)
        trie = question_trie.build(tokens, lengths)
        distinct, row = torch.unique(trie.token, return_inverse=True)
        inputs = self.words(distinct)  # the input gates of a word are computed once, however often it occurs
        amp = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if amp else inputs.dtype
        states = inputs
        for layer in range(self.rnn.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = self.rnn.all_weights[layer]
            if isinstance(self.rnn, nn.LSTM):
                gates = F.linear(inputs, weight_ih, bias_ih + bias_hh).to(weight_hh.dtype)
                states = question_trie.lstm(gates, row, weight_hh, trie, dtype)
            else:
                bias_rz, bias_n = bias_hh.split((2 * self.rnn.hidden_size, self.rnn.hidden_size))
                bias = torch.cat((bias_ih[: len(bias_rz)] + bias_rz, bias_ih[len(bias_rz) :]))
                gates = F.linear(inputs, weight_ih, bias).to(weight_hh.dtype)
                states = question_trie.gru(gates, row, weight_hh, bias_n, trie, dtype)
            inputs, row = states[1:], torch.arange(len(row))
        return states.index_select(0, trie.leaf)


def left_pad(tokens: Tensor, lengths: Tensor, length: int, pad: int) -> Tensor:
    """Rows `(B, T)` padded on the right as rows `(B, length)` padded on the left."""
    source = torch.arange(length, device=tokens.device) - (length - lengths)[:, None]  # [b, length]
    if not tokens.shape[1]:
        return tokens.new_full(source.shape, pad)
    return tokens.gather(1, source.clamp(min=0)).masked_fill(source < 0, pad)


def _final(output: tuple) -> Tensor:
    """The final hidden states (layers * directions, B, hidden) of what an RNN module returns."""
    state = output[1]
    return state[0] if isinstance(state, tuple) else state
