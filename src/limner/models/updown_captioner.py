"""The Up-Down captioner: two LSTMs, with attention over image regions between them, write a caption word by word.

    word ----> embedding --+                              +--------------------+
    global ----------------+--> attention LSTM --> h1 ----+--> attention --> v --> language LSTM --> h2 --> word layer
    h2 (step before) ------+                                  ^ regions (I, R, D)

Anderson et al. 2018, "Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering", section
3.2; ImageCaptioning.pytorch by Ruotian Luo (the widely used variant: regions, global vector and words pass a ReLU and
dropout, all layers have biases).

Ids: words 0..V-1, EOS = V, BOS = V+1; PAD = V+2 is never embedded. The word layer has V+1 outputs: words and EOS.

Shapes: I images, R regions, D features, N captions, T words, P real tokens of a batch, H hidden, V words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from limner.errors import UserError
from limner.models import captioner_options
from limner.models.captioner_core import Attention, Hidden, Prepared
from limner.models.captioner_packing import PackedStates, pack
from limner.models.captioner_regions import GEOMETRY, Global, Regions, box_geometry
from limner.models.captioner_training import mixed, release_weights
from limner.models.captioner_words import word_logits
from limner.models.dropout import dropped
from limner.models.regions import Groups, group


class CaptionState(NamedTuple):
    """Between two words, for N rows: hidden states and cells `(N, H)`, `image (N,)` the row of each one's image,
    `regions` what is shared by all rows, `started` whether a word has been read."""

    h1: Tensor
    c1: Tensor
    h2: Tensor
    c2: Tensor
    image: Tensor
    regions: Prepared
    started: bool = False


class CaptionStep(NamedTuple):
    """`logits (N, V+1)`, the next state, `attention (N, R)`."""

    logits: Tensor
    state: CaptionState
    attention: Tensor


class HiddenStep(NamedTuple):
    """`hidden (N, H)` after dropout, which the word layer takes; the next state, `attention (N, R)`."""

    hidden: Tensor
    state: CaptionState
    attention: Tensor


class CaptionOutput(NamedTuple):
    """`logits (P, V+1)`, the rest as in `PackedStates`."""

    logits: Tensor
    caption: Tensor
    step: Tensor
    attention: Tensor


class UpDownCaptioner(nn.Module):
    """The Up-Down captioner. Defaults: the widely used variant; `captioner_options.PAPER` has the paper's arguments.

    Args:
        words: V. feature_dim: D.
        embed_dim, hidden, attention_hidden: E, H (both LSTMs), A.
        regions: "embedded" (dropout(ReLU(W v + b)); the global vector too) or "raw" (paper).
        attention_bias: biases in the attention (paper: none).
        word_relu: ReLU after the word embedding (paper: none).
        global_source: "mean" of the real regions' features, or "given" as an argument.
        global_dim: size of a given vector.
        batch_norm: of regions, "none", "before" their layer or on "both" sides; embedded regions only.
        geometry: append x1/w, y1/h, x2/w, y2/h and the area share of its box to each region.
        init: "torch" (the layers' defaults) or "release" (the paper's release: weights from N(0, 0.01), biases 0,
            forget gates' biases 1).
        dropout_words, dropout_global, dropout_regions, dropout_output: after each ReLU, and before the word layer.

    Raises:
        UserError: one line with every option that cannot be.
    """

    # for `limner.build.start_from`: arguments that no shape of a weight shows
    UNSEEN = ("word_relu", "global_source")
    # for `limner.weights.remap`: layers with a row for each word
    VOCABULARY = {"words": ("words", "word_layer")}  # noqa: RUF012

    def __init__(
        self,
        *,
        words: int,
        feature_dim: int,
        embed_dim: int = 1000,
        hidden: int = 1000,
        attention_hidden: int = 512,
        regions: str = "embedded",
        attention_bias: bool = True,
        word_relu: bool = True,
        global_source: str = "mean",
        global_dim: int = 0,
        batch_norm: str = "none",
        geometry: bool = False,
        init: str = "torch",
        dropout_words: float = 0.5,
        dropout_global: float = 0.5,
        dropout_regions: float = 0.5,
        dropout_output: float = 0.5,
    ) -> None:
        super().__init__()
        captioner_options.check(dict(locals()))
        self.eos, self.bos, self.pad = words, words + 1, words + 2
        self.hidden, self.geometry, self.word_relu = hidden, geometry, word_relu
        self.dropout_words, self.dropout_output = dropout_words, dropout_output
        embedded = regions == "embedded"
        self.words = nn.Embedding(words + 2, embed_dim)
        self.region_net = Regions(
            feature_dim + GEOMETRY * geometry, hidden, embedded=embedded, batch_norm=batch_norm, dropout=dropout_regions
        )
        self.global_net = Global(
            feature_dim if global_source == "mean" else global_dim,
            hidden,
            source=global_source,
            embedded=embedded,
            dropout=dropout_global,
        )
        seen = self.region_net.outputs
        self.attention = Attention(seen, hidden, attention_hidden, bias=attention_bias)
        self.attention_lstm = nn.LSTMCell(hidden + self.global_net.outputs + embed_dim, hidden)
        self.language_lstm = nn.LSTMCell(seen + hidden, hidden)
        self.word_layer = nn.Linear(hidden, words + 1)
        if init == "release":
            release_weights(self)

    def begin(
        self,
        feats: Tensor,
        mask: Tensor,
        *,
        boxes: Tensor | None = None,
        size: Tensor | None = None,
        given: Tensor | None = None,
    ) -> CaptionState:
        """The state before the first word, one row an image.

        Args:
            feats: `(I, R, D)` float16 or float32; padded regions may hold any finite value.
            mask: `(I, R)` bool, True where a region is real.
            boxes: `(I, R, 4)` x1, y1, x2, y2 in pixels. size: `(I, 2)` width and height; both with `geometry` only.
            given: `(I, G)` global vectors, with global_source="given" only.
        """
        regions = self._prepare(feats, mask, boxes, size, given)
        zero = regions.gates.new_zeros(len(feats), self.hidden)
        cell = zero if zero.dtype == torch.float64 else zero.float()
        return CaptionState(zero, cell, zero, cell, torch.arange(len(feats), device=feats.device), regions)

    def step(self, tokens: Tensor, state: CaptionState) -> CaptionStep:
        """Reads `tokens (N,)` and says what comes next; gradients flow through it."""
        hidden, state, attention = self.step_hidden(tokens, state)
        return CaptionStep(self.logits(hidden), state, attention)

    def step_hidden(self, tokens: Tensor, state: CaptionState) -> HiddenStep:
        """`step` without the word layer, for those who apply it to the hidden states of many steps at once."""
        prepared, image = state.regions, state.image
        groups = group(image, len(prepared.mask))
        before = Hidden(*state[:4]) if state.started else None
        after, attention = prepared.step(prepared.word_gates(tokens, image), before, image, groups)
        hidden = dropped(after.h2, self.dropout_output, self.training)
        return HiddenStep(hidden, CaptionState(*after, image, prepared, True), attention)

    def logits(self, hidden: Tensor) -> Tensor:
        """The word layer: `(*, H)` to `(*, V+1)`."""
        return word_logits(hidden, self.word_layer.weight, self.word_layer.bias)

    def forward(self, feats, mask, image, tokens, lengths, **options) -> CaptionOutput:
        """Logits of every real token of given captions; arguments as in `states`."""
        packed = self.states(feats, mask, image, tokens, lengths, **options)
        return CaptionOutput(self.logits(packed.hidden), *packed[1:])

    def states(
        self,
        feats: Tensor,
        mask: Tensor,
        image: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        *,
        boxes: Tensor | None = None,
        size: Tensor | None = None,
        given: Tensor | None = None,
        scheduled_sampling: float = 0.0,
    ) -> PackedStates:
        """Hidden states of given captions, for `captioner_words.word_loss`: nothing is computed for padding.

        Args:
            feats, mask, boxes, size, given: as for `begin`.
            image: `(N,)` int64, the row of each caption's image.
            tokens: `(N, T+1)` int64: BOS, words, EOS, PAD.
            lengths: `(N,)` int64, predicted tokens of each caption.
            scheduled_sampling: while training, the probability that from step 1 on a word read is one drawn from the
                model's prediction for it instead (Bengio et al. 2015).
        """
        prepared = self._prepare(feats, mask, boxes, size, given)
        order, counts, place, step = pack(lengths)
        image, tokens = image[order], tokens[order]
        slot, images, most = group(image, len(feats))
        drawn = scheduled_sampling if self.training else 0.0
        known = None if drawn else prepared.word_gates(tokens[place, step], image[place]).split(counts)
        hidden, weights = [prepared.gates.new_zeros(0, self.hidden)], [prepared.gates.new_zeros(0, mask.shape[1])]
        state = None
        for t, n in enumerate(counts):
            rows = image[:n]
            if known is None:  # word by word, since the next one is not known before
                read = mixed(tokens[:n, t], hidden[-1][:n], self.logits, drawn) if t else tokens[:n, t]
                gates = prepared.word_gates(read, rows)
            else:
                gates = known[t]
            before = None if state is None else Hidden(*(x[:n] for x in state))
            state, attention = prepared.step(gates, before, rows, Groups(slot[:n], images, most))
            hidden.append(dropped(state.h2, self.dropout_output, self.training))
            weights.append(attention)
        return PackedStates(torch.cat(hidden), order[place], step, torch.cat(weights))

    def _prepare(self, feats, mask, boxes, size, given) -> Prepared:
        device = feats.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.words.weight.dtype
        vector = self.global_net(feats, mask, given, dtype)
        if self.geometry:
            if boxes is None or size is None:
                raise UserError("boxes and image sizes: none were given, but the model has geometry=true")
            feats = torch.cat((feats.to(dtype), box_geometry(boxes, size).to(dtype)), dim=-1)
        return Prepared(
            self.region_net(feats, mask, dtype),
            mask,
            vector,
            words=self.words,
            attention=self.attention,
            lstm1=self.attention_lstm,
            lstm2=self.language_lstm,
            word_relu=self.word_relu,
            dropout=self.dropout_words if self.training else 0.0,
        )
