"""Samplers: captions of each training image, with what their log-probabilities can be computed from.

`multinomial` draws from the model's distribution while the model trains (dropout on). The graph of the hidden states is
kept, captions that have ended leave the batch, and the word layer's log-probabilities are made afterwards, for the
chosen words only. `beam` takes the captions of a beam search (Anderson et al. 2018, section 3.2: "sampling only from
those captions in the decoded beam"): searched without gradient and dropout, then read again by the training model.

Shapes: I images, n samples each, T = tokens of the longest one, M = all tokens of all samples, ends included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from limner.decode import Beam, Decoded, Greedy, Sample, live_rows

NEVER = -1e4
"""a logit that is no probability in any precision, and finite in half precision"""


class Samples(NamedTuple):
    """Sampled captions. `hidden` has a gradient; nothing else has one.

    tokens (I, n, T): words, EOS where a caption ended, PAD. lengths (I, n): tokens, EOS included.
    hidden (M, H): the state from which each token is predicted. targets (M,): the tokens. sample (M,): i * n + k.
    """

    tokens: Tensor
    lengths: Tensor
    hidden: Tensor
    targets: Tensor
    sample: Tensor


def images_of(batch: dict[str, Any]) -> dict[str, Tensor | None]:
    """What a captioner's `begin` and `states` take of a batch beside `feats` and `mask`."""
    return {"boxes": batch.get("boxes"), "size": batch.get("size"), "given": batch.get("global")}


class WordLayer(NamedTuple):
    """What a word layer multiplies with and adds: `weight (V+1, H)`, `bias (V+1,)`."""

    weight: Tensor
    bias: Tensor


def as_drawn(
    samples: Samples, layer: nn.Linear, *, unknown: int | None, temperature: float
) -> tuple[Samples, WordLayer]:
    """Hidden states and word layer of the distribution that samples are drawn from: softmax((W h + b) / T).

    That is the model's at the temperature, without `<unk>`, which is never drawn. Left in, `<unk>` would take up all
    that samples with a negative advantage give away and nothing would ever push it back: where 4 % of the words are
    unknown, captions fall to pieces after 200 steps.
    """
    bias: Tensor = layer.bias
    if temperature != 1:
        samples, bias = samples._replace(hidden=samples.hidden / temperature), bias / temperature
    if unknown is not None:
        bias = bias.index_fill(0, torch.tensor([unknown], device=bias.device), NEVER)
    return samples, WordLayer(layer.weight, bias)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradient; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def multinomial(model: Any, batch: dict[str, Any], decoder: Sample, vocabulary: Any) -> Samples:
    """Draws captions from the model as it is, keeping the graph of the hidden states.

    What is learned from must be the distribution that is drawn from: see `as_drawn`.
    """
    kept: list[Tensor] = []

    def step(tokens: Tensor, state: Any) -> tuple[Tensor, Any, Tensor]:
        hidden, state, attention = model.step_hidden(tokens, state)
        kept.append(hidden)
        with torch.no_grad():
            return model.logits(hidden), state, attention

    state = model.begin(batch["feats"], batch["mask"], **images_of(batch))
    decoded = decoder(step, state, words=len(vocabulary), vocabulary=vocabulary)
    rows = live_rows(decoded.lengths)
    flat = decoded.tokens.flatten(0, 1)
    targets = [flat[row, t] for t, row in enumerate(rows)]
    return Samples(decoded.tokens, decoded.lengths, torch.cat(kept), torch.cat(targets), torch.cat(rows))


def beam(model: Any, batch: dict[str, Any], decoder: Beam, vocabulary: Any) -> Samples:
    """The captions of a beam search, teacher-forced through the training model."""
    found = decoded_by(decoder, model, batch, vocabulary)
    tokens, lengths = found.tokens.flatten(0, 1), found.lengths.flatten()
    there = (lengths > 0).nonzero().flatten()  # a tiny vocabulary has fewer captions than the beam is wide
    begin = tokens.new_full((len(there), 1), vocabulary.bos)
    given = torch.cat([begin, tokens[there]], 1)
    image = there // found.lengths.shape[1]
    packed = model.states(batch["feats"], batch["mask"], image, given, lengths[there], **images_of(batch))
    return Samples(found.tokens, found.lengths, packed.hidden, packed.targets(given), there[packed.caption])


def decoded_by(decoder: Greedy | Beam, model: Any, batch: dict[str, Any], vocabulary: Any) -> Decoded:
    """What a decoder writes with the model as it is used: in evaluation mode."""
    with evaluating(model):
        state = model.begin(batch["feats"], batch["mask"], **images_of(batch))
        return decoder(model.step, state, words=len(vocabulary), vocabulary=vocabulary)
