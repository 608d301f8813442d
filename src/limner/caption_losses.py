"""Losses of given captions: sums over tokens and how many tokens they are sums over.

A caption's tokens are its words and its end; padding is not there to be left out. Shapes: P tokens, W outputs.
"""

from __future__ import annotations

from torch import Tensor, nn

from limner.losses import Loss
from limner.models.captioner_words import word_loss
from limner.models.updown_captioner import PackedStates


def cross_entropy(states: PackedStates, layer: nn.Linear, tokens: Tensor, *, smoothing: float = 0.0) -> Loss:
    """Cross-entropy of the next token, its mean over the tokens of the whole batch (as published).

    Args:
        states: of `UpDownCaptioner.states`.
        layer: the model's word layer.
        tokens: `(N, T+1)` int64, as given to the model.
        smoothing: s; the target distribution has 1 - s at the token and s / (W - 1) at each other output, and the loss
            is the divergence from it, which is 0 for a perfect model. 0: -log p.
    """
    found = word_loss(states.hidden, layer.weight, layer.bias, states.targets(tokens), smoothing=smoothing)
    return Loss(found.total, len(states.step))
