"""One row a caption, word after word, until all have ended: what greedy decoding and sampling share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from limner.decode.decoder import Decoder, region_weights
from limner.decode.result import Decoded, Vocabulary
from limner.decode.rules import edited
from limner.decode.state import Step, first_leaf, select

# choose(t, scores (N,V+1), row (N,)) -> token (N,), its score (N,): -inf where nothing is allowed
Choose = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


def rollout(
    decoder: Decoder,
    step: Step,
    state: Any,
    choose: Choose,
    *,
    words: int,
    vocabulary: Vocabulary | None,
    samples: int = 1,
    share_first: bool = True,
) -> Decoded:
    """`samples` captions an image, each built by `choose`.

    A caption that has ended leaves the batch. The rows that a step is given are, in ascending order, the live ones of
    I x samples (image x samples + sample); with `share_first`, step 0 is given one row an image instead. The step runs
    in the caller's gradient mode, and its state keeps its graph; what is chosen has none.
    """
    eos, bos, pad = words, words + 1, words + 2
    leaf = first_leaf(state)
    images, device, length = len(leaf), leaf.device, decoder.max_length
    rules = decoder.all_rules(words, vocabulary, device)
    every = torch.arange(images, device=device).repeat_interleave(samples)
    rows = len(every)
    tokens = torch.full((rows, length), pad, device=device)
    token_logp: Tensor | None = None
    attention: Tensor | None = None
    late = samples > 1 and share_first
    if samples > 1 and not late:
        state = select(state, every)
    live = torch.arange(rows, device=device)
    word = torch.full((images if late else rows,), bos, device=device)
    steps = 0
    for t in range(length):
        logits, state, weights = step(word, state)
        with torch.no_grad():
            logits, norm = decoder.normalised(logits, words)
            if late and t == 0:
                logits, norm, weights = select((logits, norm, weights), every)
            token, score = choose(t, edited(logits, tokens[live, :t], rules), live)
            token = torch.where(score == -torch.inf, eos, token)  # everything is forbidden: the caption ends
            if token_logp is None:
                token_logp = logits.new_zeros(rows, length)
            tokens[live, t] = token
            token_logp[live, t] = (logits.gather(1, token[:, None]) - norm)[:, 0]
            if decoder.attention:
                weights = region_weights(weights)
                if attention is None:
                    attention = weights.new_zeros(rows, length, weights.shape[1])
                attention[live, t] = weights
        steps = t + 1
        if steps == length:
            break
        on = (token != eos).nonzero().flatten()
        if not len(on):
            break
        if late and t == 0:
            state = select(state, every[on])
        elif len(on) < len(live):
            state = select(state, on)
        live, word = live[on], token[on]
    assert token_logp is not None  # max_length >= 1

    def shaped(values: Tensor) -> Tensor:
        return values[:, :steps].unflatten(0, (images, samples))

    logp = shaped(token_logp).sum(2)
    return Decoded(
        tokens=shaped(tokens),
        logp=logp,
        score=logp,
        lengths=(shaped(tokens) != pad).sum(2),
        token_logp=shaped(token_logp),
        attention=None if attention is None else shaped(attention),
    )
